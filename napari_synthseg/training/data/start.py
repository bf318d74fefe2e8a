"""Networks to start fine-tuning from: weights of a segmentation network, a pre-trained encoder, or random ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from napari_synthseg import anatomy
from napari_synthseg.errors import InputError
from napari_synthseg.inference.options import SegmentOptions, config_for
from napari_synthseg.networks.registry import ENCODER, build, entries, from_scratch, segments, spec_of
from napari_synthseg.networks.transformers import SMALL
from napari_synthseg.training.data.scan_sampler import InputSpec
from napari_synthseg.weights import catalogue, store

KEPT = ("path", "sha256", "bytes", "scores", "steps", "recipe", "data", "licence", "license", "trained with", "summary",
        "description", "confident_score", "hint", "title")  # fmt: skip
"""Facts of a card that a fine-tuned network does not inherit."""


def starting_network(start: str, task: str, size: str = "paper") -> tuple[nn.Module, dict[str, Any]]:
    """Return the network to fine-tune, and the part of its card that describes how it is built and run.

    Args:
        start: name or file of a segmentation network or of a pre-trained encoder, the folder of a run of
            `train pretrain`, or a network that trains `from_scratch`.
        task: one of `anatomy.TASKS`; sets the labels of a new network.
        size: "paper" or "small", of a network trained from scratch.

    Raises:
        InputError: the weights do not exist, or segment nothing.
    """
    labels = anatomy.task_values(task)
    if from_scratch(start):
        card = {"network": start, "labels": list(labels), **(SMALL[start] if size == "small" else {})}
        return build(card), card
    path = Path(start).expanduser()
    if path.is_dir() or _is_encoder(start):
        _, found = encoder_of(start)
        card = {k: v for k, v in found.items() if k not in KEPT}
        card |= {"network": found["network"].removesuffix(ENCODER), "labels": list(labels)}
        whole = build(card)
        load_pretrained(whole, start)
        return whole, card
    model: Any = store.load_model(start)
    found, name = model.card, model.card.get("name")
    if not segments(found):
        raise InputError(f"The weights {name!r} segment no scan by themselves: start from others.")
    if "organ" in found:  # its labels are not those of the label table
        raise InputError(f"The weights {name!r} are not of the brain: continue with `train organ` instead.")
    pretrained = from_scratch(str(found.get("network")))
    if pretrained and task != "all" and tuple(model.labels) != labels:
        raise InputError(f"The weights {name!r} segment something else than the task {task!r}.")
    return model, {k: v for k, v in found.items() if k not in KEPT}


def _is_encoder(start: str) -> bool:
    file = catalogue.find(start)
    return file.suffix == ".safetensors" and spec_of(catalogue.read_card(file)).role == "encoder"


def input_spec(model: nn.Module, card: dict[str, Any]) -> InputSpec:
    """Return how prediction with these weights gets scans."""
    how = config_for(SegmentOptions(), card)
    predictor = spec_of(card).predictor
    if predictor == "locate_refine":
        return InputSpec(how, whole=False, pool=2)
    if predictor == "sliding_window":
        return InputSpec(how, pool=model.spacing, guess=True)  # type: ignore[arg-type]
    return InputSpec(how)


def crop_of(model: nn.Module, crop: int | None) -> int:
    """Return the side, in voxels, of the crops to train a network on.

    Raises:
        InputError: the network cannot take crops of this size.
    """
    edge: Any = getattr(model, "edge", None)
    if edge is not None:  # it takes no others
        if crop not in (None, edge):
            raise InputError(f"This network takes crops of {edge} voxels and no others: leave --crop out.")
        return edge
    return checked_crop(crop or 160, int(getattr(model, "multiple", 1)), least=2)


def checked_crop(crop: int, multiple: int, least: int = 1) -> int:
    """Return the side of the crops to train a network on.

    Raises:
        InputError: it is no multiple that the network can take, or a smaller one than the `least`.
    """
    if crop % multiple or crop < least * multiple:
        limit = f", and at least {least * multiple}" if least > 1 else ""
        raise InputError(f"The crop of {crop} voxels must be a multiple of {multiple}{limit}.")
    return crop


def labels_of(model: nn.Module) -> Sequence[int]:
    """Return the network's values, sorted, background first."""
    return tuple(int(v) for v in model.labels)  # type: ignore[union-attr]


def load_pretrained(model: Any, source: str | Path) -> dict:
    """Load a pre-trained encoder into a network; its decoder stays unchanged.

    Args:
        model: one that trains `from_scratch`.
        source: name or file of weights of an encoder or a whole network, or the folder of a run that has exported some.

    Returns:
        The card of the weights.

    Raises:
        InputError: the weights do not exist, or belong to another network or other sizes.
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
    """Return the state of the encoder, and the card, of weights.

    Raises:
        InputError: the weights do not exist, or have no such encoder.
    """
    path = Path(source).expanduser()
    file = catalogue.find(exported(path) if path.is_dir() else source)
    card = catalogue.read_card(file)
    if not from_scratch(card["network"].removesuffix(ENCODER)):
        raise InputError(
            f"The weights {card['name']!r} have no encoder of transformers: give those of `train pretrain`."
        )
    found = store.load_model(file)
    state: Any = getattr(found, "encoder_state", found.state_dict)  # of a whole network, or the encoder alone
    return dict(state()), card


def exported(run: Path) -> Path:
    """Return the newest weights that a run exported.

    Raises:
        InputError: it has exported none yet.
    """
    files = sorted(run.glob("*.safetensors"), key=lambda file: file.stat().st_mtime)
    if not files:
        raise InputError(f"The run {run} has exported no weights yet: wait for its end, or export them first.")
    return files[-1]
