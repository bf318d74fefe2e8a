"""From the card of weights to the network that they belong to: which kinds there are, and which sizes each needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from napari_synthseg.errors import InputError
from napari_synthseg.networks.denoiser import Denoiser
from napari_synthseg.networks.locate_refine import LocateRefine
from napari_synthseg.networks.regressor import QualityRegressor
from napari_synthseg.networks.robust import Hierarchy
from napari_synthseg.networks.robust_fast import RobustLocateRefine
from napari_synthseg.networks.transformers import SwinUnetr, Transformer, Unetr
from napari_synthseg.networks.unet import UNet3d

Card = Mapping[str, Any]


def build(card: Card) -> nn.Module:
    """The untrained network that a card describes.

    Raises:
        InputError: the kind of network is unknown.
        KeyError: the card lacks a size.
    """
    kind = card.get("network")
    if kind not in BUILDERS:
        raise InputError(f"The weights {card.get('name')!r} are for a network of unknown kind {kind!r}: update it.")
    return BUILDERS[kind](card)


def _unet(card: Card) -> nn.Module:
    return UNet3d(card["labels"], card.get("features", 24), card.get("levels", 5), card.get("in_channels", 1))


def _denoiser(card: Card) -> nn.Module:
    sizes = {name: card[name] for name in ("growth", "convolutions", "kernel", "unconnected") if name in card}
    return Denoiser(card["labels"], card.get("features", 16), card.get("levels", 5), **sizes)


def _robust(card: Card) -> nn.Module:
    parts = card["parts"]
    if parts["s2"]["network"] == "locate-refine":
        s2, s1, denoiser = parts["s2"], parts["s1"], parts["denoiser"]
        sizes = (s2["locator_features"], s2["refiner_features"], s1["features"], denoiser["features"])
        return RobustLocateRefine(card["labels"], *sizes)
    return Hierarchy(build(parts["s1"]), build(parts["denoiser"]), build(parts["s2"]), card["labels"])


def _quality(card: Card) -> nn.Module:
    return QualityRegressor(len(card["labels"]), card.get("features", 24), card.get("levels", 4), card.get("kernel", 5))


def _locate_refine(card: Card) -> nn.Module:
    return LocateRefine(card["labels"], card["locator_features"], card["refiner_features"])


def _transformer(card: Card) -> Transformer:
    kind, names = TRANSFORMERS[card["network"].removesuffix(ENCODER)]
    sizes = {name: card[name] for name in names if name in card}
    return kind(card["labels"] or 1, **sizes)


def _encoder(card: Card) -> nn.Module:
    return _transformer(card).encoder


ENCODER = "-encoder"
"""Ends the kind of network, on the card of an encoder alone, that was trained to be fine-tuned."""

TRANSFORMERS: dict[str, tuple[Callable[..., Transformer], tuple[str, ...]]] = {
    "unetr": (Unetr, ("edge", "hidden", "mlp", "heads", "layers", "features", "field", "spacing")),
    "swin-unetr": (SwinUnetr, ("edge", "features", "depths", "heads", "window", "field", "spacing")),
}
"""Networks of transformers: their class, and the sizes that their card may say (the paper's where it does not)."""

SMALL: dict[str, dict[str, Any]] = {
    "unetr": {"edge": 96, "field": 96, "spacing": 2, "hidden": 192, "mlp": 768, "heads": 6, "layers": 8, "features": 8},
    "swin-unetr": {"edge": 96, "field": 96, "spacing": 2, "features": 12, "depths": [2, 2, 2, 2]},
}
"""Sizes of networks of transformers for a CPU, which see whole heads of 192 mm at 2 mm."""

BUILDERS: dict[str, Callable[[Card], nn.Module]] = {
    "locate-refine": _locate_refine,
    "unet": _unet,
    "denoiser": _denoiser,
    "robust": _robust,
    "parcellation": _unet,
    "quality": _quality,
    **dict.fromkeys(TRANSFORMERS, _transformer),
    **dict.fromkeys((kind + ENCODER for kind in TRANSFORMERS), _encoder),
}
