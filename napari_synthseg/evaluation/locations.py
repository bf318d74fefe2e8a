"""Where structures lie, and where two label maps differ: voxels to look at, and a map of errors."""

from __future__ import annotations

from collections.abc import Generator, Sequence

import numpy as np
from scipy.ndimage import find_objects

from napari_synthseg.evaluation.metrics import boxes_of
from napari_synthseg.jobs import Progress, checkpoint

MISSED, ADDED, OTHER = 1, 2, 3
ERRORS = {MISSED: "missed", ADDED: "added", OTHER: "other label"}
"""Classes of errors: false negative, false positive, wrong label."""

Voxel = tuple[int, int, int]


def error_map(pred: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(X, Y, Z) uint8: 0 where two label arrays agree, else one of `ERRORS`."""
    errors = np.zeros(truth.shape, np.uint8)
    for plane, a, b in zip(errors, pred, truth, strict=True):  # a plane at a time: masks of a head take memory
        checkpoint()
        plane[a != b] = OTHER
        plane[(a == 0) & (b != 0)] = MISSED
        plane[(a != 0) & (b == 0)] = ADDED
    return errors


def worst_voxels(
    pred: np.ndarray, truth: np.ndarray, values: Sequence[int]
) -> Generator[Progress, None, dict[int, tuple[Voxel, Voxel, Voxel]]]:
    """A voxel to look at for every structure and each of the three ways to slice.

    It lies in the slice that holds most wrong voxels of the structure (missed or added), on the wrong one nearest to
    their middle. Of a structure without errors it lies in its largest slice.

    Args:
        pred: (X, Y, Z) labels.
        truth: likewise.
        values: structures; those that neither holds are left out.

    Returns:
        By value, the voxel for slices across the first, second and third axis.
    """
    boxes = boxes_of(pred, truth, list(values))
    found = {}
    for done, (value, box) in enumerate(boxes.items()):
        yield Progress("Looking for the worst slices", done, len(boxes))
        a, b = pred[box] == value, truth[box] == value
        wrong = a != b
        mask = wrong if wrong.any() else b
        start = [one.start for one in box]
        first, second, third = (_in_fullest_slice(mask, axis, start) for axis in range(3))
        found[value] = (first, second, third)
    return found


def _in_fullest_slice(mask: np.ndarray, axis: int, start: Sequence[int]) -> Voxel:
    counts = np.count_nonzero(mask, axis=tuple(other for other in range(3) if other != axis))
    fullest = int(counts.argmax())
    points = np.argwhere(mask.take(fullest, axis))
    middle = points[((points - points.mean(axis=0)) ** 2).sum(axis=1).argmin()]
    voxel = np.insert(middle, axis, fullest) + start
    return int(voxel[0]), int(voxel[1]), int(voxel[2])


def middle_voxel(labels: np.ndarray, values: Sequence[int]) -> tuple[int, ...] | None:
    """Return the index of the voxel of some labels nearest to their center of mass, in an array of any number of axes.

    None if none of the labels occurs.
    """
    wanted = np.isin(labels, values)
    box = next(iter(find_objects(wanted.view(np.uint8))), None)
    if box is None:
        return None
    mask, axes = wanted[box], range(labels.ndim)
    counts = [np.count_nonzero(mask, axis=tuple(other for other in axes if other != axis)) for axis in axes]
    middle = np.array([np.average(np.arange(len(one)), weights=one) for one in counts])
    inside = np.rint(middle).astype(int)
    if not mask[tuple(inside)]:
        points = np.argwhere(mask)
        inside = points[((points - middle) ** 2).sum(axis=1).argmin()]
    return tuple(side.start + int(one) for side, one in zip(box, inside, strict=True))
