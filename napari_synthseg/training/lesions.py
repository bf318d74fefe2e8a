"""White matter lesions as one more class (label 77): which labels and priors that means, and a warm start for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import nn

from napari_synthseg.anatomy import LESION, WHITE_MATTER
from napari_synthseg.generator.priors import Priors
from napari_synthseg.networks.locate_refine import LocateRefine
from napari_synthseg.networks.unet import UNet3d

LOAD_ML = (0.0, 60.0)
"""Of the lesions painted into label maps, where the priors name none."""
TYPICAL_MM3 = 15_000.0
"""Mean load of these priors: what a label map would hold if its lesions were in it."""
LOWER = 2.0
"""How much the new class's logits lie below white matter's to begin with."""


def labels_with(labels: Sequence[int], lesions: bool) -> tuple[int, ...]:
    """The sorted labels a network predicts, with that of lesions if asked for."""
    return tuple(sorted({*labels, LESION})) if lesions else tuple(labels)


def priors_with(priors: Priors, lesions: bool) -> Priors:
    """Priors that paint lesions, if asked for; their own load stays if they have one."""
    if not lesions or priors.lesion_load_ml[1] > 0:
        return priors
    return replace(priors, lesion_load_ml=LOAD_ML)


@torch.no_grad()
def grown(source: nn.Module, labels: Sequence[int]) -> nn.Module:
    """A trained network with a class of lesions added, to start training from.

    The new class begins as the mean of left and right white matter, a little less likely, so that the network labels
    what it labelled before.

    Args:
        source: a fast network or a U-Net, with `labels`.
        labels: those wanted; where they are not the source's and lesions, the source comes back as it is.
    """
    old = tuple(source.labels)  # type: ignore[arg-type]
    if LESION in old or labels_with(old, True) != tuple(labels) or not set(WHITE_MATTER) <= set(old):
        return source
    if type(source) is LocateRefine:
        model: nn.Module = LocateRefine(labels, source.locator.features, source.refiner.features)
    elif type(source) is UNet3d:
        model = UNet3d(labels, source.features, source.levels, source.in_channels)
    else:
        return source
    model.load_state_dict({name: _with_class(name, one, old) for name, one in source.state_dict().items()})
    return model.to(next(source.parameters()).device).train(source.training)


def _with_class(name: str, tensor: torch.Tensor, old: Sequence[int]) -> torch.Tensor:
    """One tensor of a network's state with the class of lesions in it, where it has classes."""
    k = len(old)
    if name.endswith(("head.weight", "head.bias")):  # eight sub-voxel positions of K
        return _inserted(tensor.unflatten(0, (8, k)), 1, old, bias=name.endswith("bias")).flatten(0, 1)
    if name.startswith("likelihood."):
        return _inserted(tensor, 0, old, bias=name.endswith("bias"))
    if name.endswith("prior.weight"):  # the locator's posteriors, twice
        return _inserted(tensor.unflatten(1, (2, k)), 2, old).flatten(1, 2)
    if name.endswith("position"):
        left, right = (tensor[:, old.index(v)] for v in WHITE_MATTER)
        return _put(tensor, 1, torch.logaddexp(left, right), old)
    return tensor


def _inserted(tensor: torch.Tensor, axis: int, old: Sequence[int], bias: bool = False) -> torch.Tensor:
    """The mean of white matter's entries along an axis put where lesions belong."""
    own = torch.stack([tensor.select(axis, old.index(v)) for v in WHITE_MATTER]).mean(0)
    return _put(tensor, axis, own - LOWER if bias else own, old)


def _put(tensor: torch.Tensor, axis: int, own: torch.Tensor, old: Sequence[int]) -> torch.Tensor:
    at = labels_with(old, True).index(LESION)
    low, high = tensor.split([at, len(old) - at], axis)
    return torch.cat([low, own.unsqueeze(axis), high], axis)
