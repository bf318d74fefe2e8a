"""From posteriors to labels: largest components, holes, hard labels, volumes (SynthSeg, section 3.3).

Posteriors are torch tensors (K, X, Y, Z) on the CPU, float16 or float32, background first, about one head of 1 mm
voxels cropped to the brain; they are changed in place, because a second copy is what memory has no room for.
"""

from __future__ import annotations

from collections.abc import Sequence

import cc3d
import fill_voids
import numpy as np
import torch

from napari_synthseg import anatomy

COMPONENT_THRESHOLD = 0.25
"""Posterior above which a voxel belongs to a component (as in the reference implementation)."""

WITHOUT_HOLES = frozenset({4, 10, 11, 12, 13, 14, 15, 16, 17, 18, 26, 28, 43, 49, 50, 51, 52, 53, 54, 58, 60})
"""Structures without holes (Euler characteristic 2); white matter, cortex and cerebellum enclose others."""

Box = tuple[slice, slice, slice]


def largest_component(mask: np.ndarray) -> np.ndarray:
    """The largest component (6-connectivity) of a mask (X, Y, Z); an empty mask stays empty."""
    box = bounding_box(mask)
    out = np.zeros(mask.shape, bool)
    if box is None:
        return out
    labels, count = cc3d.connected_components(np.ascontiguousarray(mask[box]), connectivity=6, return_N=True)
    if count < 2:
        out[box] = mask[box]
        return out
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    sizes[0] = 0
    out[box] = labels == sizes.argmax()
    return out


def bounding_box(mask: np.ndarray, margin: int = 0) -> Box | None:
    """The smallest box around a mask (X, Y, Z), grown by `margin` voxels inside the array; None for an empty mask."""
    slices = []
    for axis in range(3):
        inside = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
        if not len(inside):
            return None
        slices.append(slice(max(0, int(inside[0]) - margin), min(mask.shape[axis], int(inside[-1]) + 1 + margin)))
    return slices[0], slices[1], slices[2]


def keep_brain(posteriors: torch.Tensor, threshold: float = COMPONENT_THRESHOLD) -> None:
    """Reset every foreground posterior outside the largest component of "sum over the foreground > threshold"."""
    mask = (foreground(posteriors) > threshold).numpy()
    drop = torch.from_numpy(~largest_component(mask))
    posteriors[1:].masked_fill_(drop, 0)


def keep_classes(posteriors: torch.Tensor, classes: Sequence[int], threshold: float = COMPONENT_THRESHOLD) -> None:
    """Keep the largest component of each topological class.

    Args:
        posteriors: (K, X, Y, Z), changed in place.
        classes: topological class of each channel; channels of class 0 are left alone.
        threshold: a voxel belongs to a class where any of its channels is above this.
    """
    for number in sorted(set(classes) - {0}):
        channels = [k for k, one in enumerate(classes) if one == number]
        mask = posteriors[channels[0]] > threshold
        for k in channels[1:]:
            mask |= posteriors[k] > threshold
        drop = torch.from_numpy(~largest_component(mask.numpy()))
        for k in channels:
            posteriors[k].masked_fill_(drop, 0)


def normalise(posteriors: torch.Tensor) -> None:
    """Make the posteriors of each voxel sum to one again, in place; where nothing is left, background becomes 1."""
    for plane in range(posteriors.shape[1]):
        part = posteriors[:, plane]
        total = part.sum(0, dtype=torch.float32)
        empty = total <= 0
        if empty.any():
            part[0].masked_fill_(empty, 1)
            total.masked_fill_(empty, 1)
        part.div_(total.to(part.dtype))


def fill_holes(posteriors: torch.Tensor, values: Sequence[int], best: np.ndarray | None = None) -> int:
    """Give enclosed voxels to what encloses them, in place.

    First the structures of `WITHOUT_HOLES`, each on its own; then, where the network predicts CSF (value 24),
    background enclosed by the brain takes the best posterior among the structures, or CSF where there is none.

    Args:
        posteriors: (K, X, Y, Z).
        values: FreeSurfer value of each channel.
        best: (X, Y, Z) what `best_channel` gives, if known already; changed in place too.

    Returns:
        How many voxels changed.
    """
    labels = best_channel(posteriors) if best is None else best
    changed = 0
    for k, value in enumerate(values):
        if value in WITHOUT_HOLES:
            changed += _assign(posteriors, labels, _holes(labels == k), k)
    if 24 in values:
        holes = _holes(labels > 0)
        if len(holes[0]):
            inside = posteriors[1:, holes[0], holes[1], holes[2]].float()
            best = torch.where(inside.amax(0) > 0, inside.argmax(0) + 1, values.index(24))
            changed += _assign(posteriors, labels, holes, best)
    return changed


def _holes(mask: np.ndarray) -> tuple[np.ndarray, ...]:
    """Indices of the voxels enclosed by a mask."""
    box = bounding_box(mask)
    if box is None:
        return (np.empty(0, int),) * 3
    inside = np.ascontiguousarray(mask[box])
    found = np.nonzero(fill_voids.fill(inside).astype(bool) & ~inside)
    return tuple(index + side.start for index, side in zip(found, box, strict=True))


def _assign(posteriors: torch.Tensor, labels: np.ndarray, where: tuple[np.ndarray, ...], k: int | torch.Tensor) -> int:
    if not len(where[0]):
        return 0
    index = tuple(torch.from_numpy(axis) for axis in where)
    posteriors[(slice(None), *index)] = 0
    posteriors[(torch.as_tensor(k).expand(len(where[0])), *index)] = 1
    labels[where] = k
    return len(where[0])


def clean(
    posteriors: torch.Tensor, values: Sequence[int], *, keep_largest: bool = True, holes: bool = True
) -> np.ndarray:
    """All of the post-processing, in place and in the reference's order; filling holes is the paper's.

    Args:
        posteriors: (K, X, Y, Z).
        values: FreeSurfer value of each channel.
        keep_largest: keep only the largest component of the brain and of each topological class.
        holes: fill holes.

    Returns:
        (X, Y, Z) int16 FreeSurfer values.
    """
    if keep_largest:
        keep_brain(posteriors)
        keep_classes(posteriors, [anatomy.structure(value).topology for value in values])
    normalise(posteriors)
    best = best_channel(posteriors)
    if holes:
        fill_holes(posteriors, values, best)
    return np.asarray(values, np.int16)[best]


def foreground(posteriors: torch.Tensor) -> torch.Tensor:
    """Sum of all channels but the background, (X, Y, Z) float32."""
    total = torch.zeros(posteriors.shape[1:], dtype=torch.float32)
    for channel in posteriors[1:]:
        total += channel
    return total


def best_channel(posteriors: torch.Tensor) -> np.ndarray:
    """(X, Y, Z) int16: the channel of the largest posterior, the first of equals; five times as fast as argmax."""
    highest = posteriors[0].clone()
    best = torch.zeros(highest.shape, dtype=torch.int16)
    for k, channel in enumerate(posteriors[1:], 1):
        best.masked_fill_(channel > highest, k)
        torch.maximum(highest, channel, out=highest)
    return best.numpy()


def hard_labels(posteriors: torch.Tensor, values: Sequence[int]) -> np.ndarray:
    """(X, Y, Z) int16: the FreeSurfer value of the largest posterior of each voxel."""
    return np.asarray(values, np.int16)[best_channel(posteriors)]


def soft_volumes(posteriors: torch.Tensor, values: Sequence[int], voxel_mm3: float) -> dict[int, float]:
    """Volume of every structure in mm^3: sums of posteriors (in float64) times the volume of a voxel, no background."""
    pairs = zip(values[1:], posteriors[1:], strict=True)
    return {int(value): float(channel.sum(dtype=torch.float64)) * voxel_mm3 for value, channel in pairs}
