"""The network that fine-tuning starts from, and how it looks at scans."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from napari_synthseg import anatomy
from napari_synthseg.errors import InputError
from napari_synthseg.inference.config import config_for
from napari_synthseg.inference.options import SegmentOptions
from napari_synthseg.networks.hierarchy import Hierarchy
from napari_synthseg.networks.locate_refine import LocateRefine
from napari_synthseg.networks.registry import ENCODER, build
from napari_synthseg.networks.transformers import SMALL, Transformer
from napari_synthseg.networks.unet import UNet3d
from napari_synthseg.training.finetune.scans import Look
from napari_synthseg.training.options.finetune import ANEW
from napari_synthseg.training.pretrain.start import encoder_of, load_pretrained
from napari_synthseg.weights import catalogue, store

KEPT = ("path", "sha256", "bytes", "scores", "steps", "recipe", "data", "licence", "license", "trained with", "summary",
        "description", "confident_score", "hint", "title")  # fmt: skip
"""What the card of a fine-tuned network does not take over from the one it started from."""


def starting_network(start: str, task: str, size: str = "paper") -> tuple[nn.Module, dict[str, Any]]:
    """The network to fine-tune, and the part of its card that says how it is built and run.

    Args:
        start: name or file of a segmentation network or of a pre-trained encoder, the folder of a run of
            `train pretrain`, or one of `ANEW`.
        task: one of `anatomy.TASKS`; it sets the labels of a network that has none yet.
        size: "paper" or "small", of a network that is trained anew.

    Raises:
        InputError: there are no such weights, or they segment nothing.
    """
    if start in ANEW:
        card = {
            "network": start,
            "labels": list(anatomy.task_values(task)),
            **(SMALL[start] if size == "small" else {}),
        }
        return build(card), card
    path = Path(start).expanduser()
    if path.is_dir() or _is_encoder(start):
        _, found = encoder_of(start)
        card = {k: v for k, v in found.items() if k not in KEPT}
        card |= {"network": found["network"].removesuffix(ENCODER), "labels": list(anatomy.task_values(task))}
        whole = build(card)
        assert isinstance(whole, Transformer)
        load_pretrained(whole, start)
        return whole, card
    model = store.load_model(start)
    found = model.card  # type: ignore[assignment]
    if not isinstance(model, LocateRefine | UNet3d | Hierarchy | Transformer) or found["network"] == "parcellation":
        raise InputError(f"The weights {found.get('name')!r} segment no scan by themselves: start from others.")
    if "organ" in found:  # its labels are not those of the label table
        raise InputError(f"The weights {found.get('name')!r} are not of the brain: go on with `train organ` instead.")
    if isinstance(model, Transformer) and task != "all" and tuple(model.labels) != anatomy.task_values(task):
        raise InputError(f"The weights {found.get('name')!r} segment something else than the task {task!r}.")
    return model, {k: v for k, v in found.items() if k not in KEPT}


def _is_encoder(start: str) -> bool:
    """Whether weights are of an encoder alone."""
    file = catalogue.find(start)
    return file.suffix == ".safetensors" and str(catalogue.read_card(file)["network"]).endswith(ENCODER)


def pretrained(start: str) -> str | None:
    """What a card says the network started from; a path says nothing to others."""
    return None if start in ANEW else Path(start).stem


def look_of(model: nn.Module, card: dict[str, Any]) -> Look:
    """How prediction with these weights looks at scans."""
    how = config_for(SegmentOptions(), card)
    if isinstance(model, LocateRefine):
        return Look(how, whole=False, pool=2)
    if isinstance(model, Transformer):
        return Look(how, pool=model.spacing, guess=True)
    return Look(how)


def crop_of(model: nn.Module, crop: int | None) -> int:
    """Voxels along each side of the crops that a network learns from.

    Raises:
        InputError: the network cannot take crops of the size asked for.
    """
    if isinstance(model, Transformer):
        if crop not in (None, model.edge):
            raise InputError(f"This network takes crops of {model.edge} voxels and no others: leave --crop out.")
        return model.edge
    multiple = int(getattr(model, "multiple", 1))
    side = crop or 160
    if side % multiple or side < 2 * multiple:
        raise InputError(
            f"The crop of {side} voxels must be a multiple of {multiple} for this network, and at least {2 * multiple}."
        )
    return side


def labels_of(model: nn.Module) -> Sequence[int]:
    """The network's values, sorted, background first."""
    return tuple(int(v) for v in model.labels)  # type: ignore[union-attr, arg-type]
