"""Starting from a pre-trained encoder: of weights, or of a run of `train pretrain`."""

from __future__ import annotations

from pathlib import Path

import torch

from napari_synthseg.errors import InputError
from napari_synthseg.networks.registry import ENCODER, entries
from napari_synthseg.networks.transformers import Transformer
from napari_synthseg.weights import catalogue, store


def load_pretrained(model: Transformer, source: str | Path) -> dict:
    """Give a network a pre-trained encoder; its decoder stays as it is.

    Args:
        model: a UNETR or Swin UNETR.
        source: name or file of weights, of an encoder or of a whole network; or the folder of a run, which holds what
            it exported.

    Returns:
        The card of the weights.

    Raises:
        InputError: there are no such weights, or they belong to another network or other sizes.
    """
    state, card = encoder_of(source)
    kind = card["network"].removesuffix(ENCODER)
    if entries()[kind].class_name != type(model).__name__:
        raise InputError(
            f"The weights {card['name']!r} are of a {kind}, not of the network to be trained: choose others."
        )
    model.load_encoder(state, card["name"])
    return card


def encoder_of(source: str | Path) -> tuple[dict[str, torch.Tensor], dict]:
    """The encoder's state and the card of weights.

    Raises:
        InputError: there are no such weights, or they have no such encoder.
    """
    path = Path(source).expanduser()
    file = catalogue.find(exported(path) if path.is_dir() else source)
    card = catalogue.read_card(file)
    if card["network"].removesuffix(ENCODER) + ENCODER not in entries():
        raise InputError(
            f"The weights {card['name']!r} have no encoder of transformers: give those of `train pretrain`."
        )
    found = store.load_model(file)
    state = found.encoder_state() if isinstance(found, Transformer) else found.state_dict()
    return dict(state), card


def exported(run: Path) -> Path:
    """The weights that a run exported, the newest of them.

    Raises:
        InputError: it has exported none yet.
    """
    files = sorted(run.glob("*.safetensors"), key=lambda file: file.stat().st_mtime)
    if not files:
        raise InputError(f"The run {run} has exported no weights yet: let it end, or export it first.")
    return files[-1]
