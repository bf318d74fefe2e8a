"""Arrays of SynthSeg's Keras files into our networks, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from napari_synthseg.errors import InputError
from napari_synthseg.networks.hierarchy import Hierarchy
from napari_synthseg.networks.qc_regressor import QualityRegressor
from napari_synthseg.networks.registry import build
from napari_synthseg.networks.unet import EncoderDecoder, Level
from napari_synthseg.weights.keras import Layers, recognize

NORM = (("gamma", "weight"), ("beta", "bias"), ("moving_mean", "running_mean"), ("moving_variance", "running_var"))
"""What Keras and torch call the four arrays of a batch norm."""

PREFIXES = {"unet": "unet", "denoiser": "l2l", "parcellation": "unet_parc"}
"""How the names of a network's layers begin, by its kind."""


def load(path: Path, labels: Sequence[int] | None = None) -> tuple[nn.Module, dict[str, Any]]:
    """Load the network in a file, in evaluation mode, and its card; see `store.load_keras_h5`."""
    with Layers(path) as layers:
        card = recognize(layers, labels)
        model = build(card).eval()
        try:
            with torch.no_grad():
                if isinstance(model, Hierarchy):
                    for part, prefix in ((model.s1, "unet"), (model.denoiser, "l2l"), (model.s2, "unet2")):
                        fill_encoder_decoder(part, layers, prefix)  # type: ignore[arg-type]
                elif isinstance(model, QualityRegressor):
                    fill_regressor(model, layers)
                else:
                    fill_encoder_decoder(model, layers, PREFIXES[card["network"]])  # type: ignore[arg-type]
        except RuntimeError as error:
            raise InputError(
                f"{path.name} has layers of unexpected size: it does not hold weights of SynthSeg."
            ) from error
    return model, card


def fill_encoder_decoder(model: EncoderDecoder, layers: Layers, prefix: str) -> None:
    """Fill a U-Net or a denoiser."""
    for i, level in enumerate(model.down):
        _fill_level(level, layers, f"{prefix}_conv_downarm_{i}", f"{prefix}_bn_down_{i}")  # type: ignore[arg-type]
    for k, level in enumerate(model.up):
        norm = f"{prefix}_bn_up_{k}"
        if f"{norm}/gamma" not in layers:
            norm = f"{prefix}_bn_up_{model.levels + k}"  # a converter in the wild counts on from the encoder's
        _fill_level(level, layers, f"{prefix}_conv_uparm_{model.levels + k}", norm)  # type: ignore[arg-type]
    _fill_convolution(model.likelihood, layers, f"{prefix}_likelihood")


def fill_regressor(model: QualityRegressor, layers: Layers, prefix: str = "qc") -> None:
    """Fill a quality regressor."""
    for i, level in enumerate(model.down):
        _fill_convolution(level.conv0, layers, f"{prefix}_conv_downarm_{i}_0")  # type: ignore[arg-type]
        _fill_convolution(level.conv1, layers, f"{prefix}_conv_downarm_{i}_1")  # type: ignore[arg-type]
        _fill_convolution(level.expand, layers, f"{prefix}_expand_down_merge_{i}")  # type: ignore[arg-type]
        _fill_norm(level.norm, layers, f"{prefix}_bn_down_{i}")  # type: ignore[arg-type]
    _fill_convolution(model.final0, layers, f"{prefix}_final_conv_0")
    _fill_convolution(model.final1, layers, f"{prefix}_final_conv_1")


def _fill_level(level: Level, layers: Layers, convolution: str, norm: str) -> None:
    for i, module in enumerate(level.convolutions):
        _fill_convolution(module, layers, f"{convolution}_{i}")
    _fill_norm(level.norm, layers, norm)


def _fill_convolution(module: nn.Conv3d, layers: Layers, name: str) -> None:
    _copy(module.weight, layers, f"{name}/kernel")
    _copy(module.bias, layers, f"{name}/bias")  # type: ignore[arg-type]


def _fill_norm(module: nn.BatchNorm3d, layers: Layers, name: str) -> None:
    for theirs, ours in NORM:
        _copy(getattr(module, ours), layers, f"{name}/{theirs}")


def _copy(to: torch.Tensor, layers: Layers, name: str) -> None:
    array = torch.from_numpy(layers.get(name))
    if to.shape != array.shape:  # copy_ would broadcast
        raise InputError(
            f"{layers.path.name} has {name} of shape {tuple(array.shape)} where {tuple(to.shape)} is expected: "
            "it does not hold weights of SynthSeg."
        )
    to.copy_(array)
