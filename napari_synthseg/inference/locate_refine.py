"""The fast network on a prepared scan: its locator on a fixed field of view at 2 mm, its refiner in patches at 1 mm."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from napari_synthseg import anatomy
from napari_synthseg.devices import half_precision
from napari_synthseg.errors import InputError
from napari_synthseg.inference.options import InferenceConfig
from napari_synthseg.inference.patches import blend_steps, crop_with_padding, patch_grid
from napari_synthseg.inference.postprocess import largest_component
from napari_synthseg.inference.preprocess import between_limits, brain_center, limits
from napari_synthseg.inference.state import Prediction, TissueMaps, values_of
from napari_synthseg.inference.whole_volume import NO_BRAIN
from napari_synthseg.jobs import Progress
from napari_synthseg.volume import bounding_box

BRAIN_MARGIN_MM = 20
CSF_MARGIN_MM = 4
CSF = 24
RECENTER_MM = 6.0


@dataclass(frozen=True)
class LocatorResult:
    """What the locator found."""

    posteriors: torch.Tensor
    """(K, 96, 112, 96) float16 at 2 mm, on the device."""
    image: torch.Tensor
    """(1, 1, 96, 112, 96) in [0, 1], the input, on the device."""
    start: np.ndarray
    """(3,) voxel of the prepared image where their grid starts; may lie outside of it."""
    limits: tuple[float, float]
    """Intensities of the prepared image that became 0 and 1."""
    spacing: int = 2
    tissues: Mapping[str, torch.Tensor] = field(default_factory=dict)
    """(96, 112, 96) uint8 tissue classes of a hierarchy's inner networks (`TISSUE_MAPS`), on the CPU."""

    def middle(self, values: Sequence[int]) -> np.ndarray | None:
        """(3,) voxel of the prepared image in the middle of the brain; None where no brain was found."""
        box = brain_box(self.posteriors, values)
        if box is None:
            return None
        return self.start + np.array([side.start + side.stop for side in box]) * self.spacing / 2


def locate_steps(
    model: nn.Module, image: np.ndarray, device: torch.device, *, flip: bool = True
) -> Generator[Progress, None, LocatorResult]:
    """Find the structures at 2 mm: once around a guess, and once more around what was found if that is far off."""
    yield Progress("Finding the brain", 0, 2)
    guess = brain_center(image)
    first = locate(model, image, guess, device, flip=False)
    yield Progress("Finding the brain", 1, 2)
    middle = first.middle(model.labels)  # type: ignore[arg-type]
    if middle is None or np.linalg.norm(middle - guess) <= RECENTER_MM:
        middle = guess
    found = first if middle is guess and not flip else locate(model, image, middle, device, flip)
    yield Progress("Finding the brain", 2, 2)
    return found


def locate(model: nn.Module, image: np.ndarray, center: np.ndarray, device: torch.device, flip: bool) -> LocatorResult:
    """Compute the locator's posteriors in its fixed field of view around a voxel of the image."""
    seen, start, ends = field_of_view(model, image, center)
    order = anatomy.flip_channels(model.labels) if flip else None  # type: ignore[arg-type]
    seen = seen.to(device)
    with torch.inference_mode(), half_precision(device):
        posteriors, tissues = model.locate_averaged(seen, order)  # type: ignore[operator]
    return LocatorResult(posteriors, seen, start, ends, tissues=tissues)


def glance(model: nn.Module, image: np.ndarray, center: np.ndarray, device: torch.device) -> LocatorResult:
    """Locate without flips and at 4 mm if the network can, to look at many orientations."""
    seen, start, ends = field_of_view(model, image, center)
    with torch.inference_mode(), half_precision(device):
        posteriors = model.glance(seen.to(device))  # type: ignore[operator]
    return LocatorResult(posteriors, seen, start, ends, 2 * seen.shape[2] // posteriors.shape[1])


def field_of_view(
    model: nn.Module, image: np.ndarray, center: np.ndarray
) -> tuple[torch.Tensor, np.ndarray, tuple[float, float]]:
    """Return the locator's input (1, 1, X, Y, Z) around a voxel, its first voxel, and its limits of intensity.

    Intensities are rescaled by the percentiles of that field of view at 2 mm, as in training.
    """
    shape = np.array(getattr(model, "head_shape", (96, 112, 96)))
    start = np.round(np.asarray(center, float)).astype(int) - shape
    seen = crop_with_padding(torch.from_numpy(image), start.tolist(), (2 * shape).tolist())
    seen = F.avg_pool3d(seen[None, None], 2)
    ends = limits(seen.numpy(), 1.0, 99.0)
    return torch.from_numpy(between_limits(seen.numpy(), ends)), start, ends


def brain_box(coarse: torch.Tensor, values: Sequence[int], margin: int = 0) -> tuple[slice, slice, slice] | None:
    """Return the box of the brain without CSF (it follows the spine) in (K, X, Y, Z); None without any."""
    outside = coarse[0] + coarse[list(values).index(CSF)] if CSF in values else coarse[0]
    return bounding_box(largest_component((outside < 0.5).cpu().numpy()), margin)


def refine_box(coarse: torch.Tensor, values: Sequence[int]) -> tuple[slice, slice, slice] | None:
    """Return the box to refine: brain and CSF with a small margin, but not CSF far from the brain."""
    brain = brain_box(coarse, values, BRAIN_MARGIN_MM // 2)
    whole = bounding_box(largest_component((coarse[0] < 0.5).cpu().numpy()), CSF_MARGIN_MM // 2)
    if brain is None or whole is None:
        return None
    x, y, z = (slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(brain, whole, strict=True))
    return x, y, z


def locate_refine_steps(
    model: nn.Module, image: np.ndarray, device: torch.device, max_voxels: int | None, config: InferenceConfig
) -> Generator[Progress, None, Prediction]:
    """Locate at 2 mm, then refine at 1 mm in patches of at most `max_voxels`; arguments as for `predict_steps`."""
    assert max_voxels is not None
    if device.type != "mps":
        model = model.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    located = yield from locate_steps(model, image, device, flip=config.flip)
    coarse, start = located.posteriors, located.start
    box = refine_box(coarse, model.labels)  # type: ignore[arg-type]
    if box is None:
        raise InputError(NO_BRAIN)
    low = np.maximum(start + [2 * side.start for side in box], 0)
    low += (low - start) % 2
    high = np.minimum(start + [2 * side.stop for side in box], image.shape)
    if (high <= low).any():  # what was taken for a brain lies beyond the scan
        raise InputError(NO_BRAIN)
    grid = patch_grid((high - low).tolist(), max_voxels=max_voxels, multiple=int(getattr(model, "multiple", 16)))
    source = torch.from_numpy(image)
    order = anatomy.flip_channels(model.labels) if config.flip else None  # type: ignore[arg-type]
    with torch.inference_mode():
        appearance = model.appearance(located.image, coarse[None])  # type: ignore[operator]

    def seen(at: np.ndarray, size: Sequence[int]) -> torch.Tensor:
        part = crop_with_padding(source, at.tolist(), size).numpy()
        return torch.from_numpy(between_limits(part, located.limits))[None, None]

    def one(first: Sequence[int]) -> torch.Tensor:
        at = low + first
        half = ((at - start) // 2).tolist()
        prior = _certain_outside(crop_with_padding(coarse, half, [n // 2 for n in grid.size])[None].float())
        with torch.inference_mode(), half_precision(device):
            return model.refine_averaged(seen(at, grid.size).to(device), prior, appearance, order)  # type: ignore[operator]

    logits = yield from blend_steps("Refining", one, grid, len(model.labels))  # type: ignore[arg-type]
    with torch.inference_mode():
        posteriors = model.posteriors(logits, seen(low, grid.shape), appearance)  # type: ignore[operator]
    begin = tuple(start.tolist())
    tissues = TissueMaps({k: _doubled(v) for k, v in located.tissues.items()}, begin) if located.tissues else None
    return Prediction(
        posteriors,
        values_of(model),
        tuple(low.tolist()),
        coarse.cpu(),
        str(device),
        tissues=tissues,
        coarse_start=begin,
    )


def _doubled(classes: torch.Tensor) -> torch.Tensor:
    """Return (X, Y, Z) classes at 2 mm as (2X, 2Y, 2Z) at 1 mm, as the voxels of 2 mm lie."""
    for axis in range(3):
        classes = classes.repeat_interleave(2, axis)
    return classes


def _certain_outside(prior: torch.Tensor) -> torch.Tensor:
    """Set the prior to background where the locator did not look."""
    missing = prior.sum(1) == 0
    if missing.any():
        prior = prior.clone()
        prior[:, 0][missing] = 1
    return prior
