"""Where structures lie, and where two label maps differ: voxels to look at, and a map of errors."""

from __future__ import annotations

from collections.abc import Generator, Sequence

import numpy as np

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
    """The voxel of some labels that is closest to their centre of mass, so that it lies inside a curved structure too.

    Args:
        labels: array of any number of axes.
        values: the labels, taken together.

    Returns:
        Its index, or None where none of the labels occurs.
    """
    wanted = labels == values[0]
    for value in values[1:]:
        wanted |= labels == value
    start, mask = _cropped(wanted)
    if not mask.size:
        return None
    middle = [_mean_index(mask, axis) for axis in range(mask.ndim)]
    if not mask[tuple(int(round(one)) for one in middle)]:
        middle = list(_nearest(mask, np.array(middle)))
    return tuple(first + int(round(one)) for first, one in zip(start, middle, strict=True))


def _cropped(mask: np.ndarray) -> tuple[list[int], np.ndarray]:
    """The smallest box around a mask, and where it begins."""
    start = []
    for axis in range(mask.ndim):
        along = np.flatnonzero(mask.any(axis=_others(mask, axis)))
        first, last = (int(along[0]), int(along[-1]) + 1) if len(along) else (0, 0)
        start.append(first)
        mask = mask[(slice(None),) * axis + (slice(first, last),)]
    return start, mask


def _mean_index(mask: np.ndarray, axis: int) -> float:
    counts = np.count_nonzero(mask, axis=_others(mask, axis))
    return float(np.average(np.arange(mask.shape[axis]), weights=counts))


def _nearest(mask: np.ndarray, point: np.ndarray) -> np.ndarray:
    """The voxel of a mask nearest to a point: looked for around it, in boxes that grow until they must hold it."""
    reach = 4.0
    while True:
        low = np.maximum(np.floor(point - reach).astype(int), 0)
        box = tuple(slice(a, int(np.ceil(b)) + 1) for a, b in zip(low, point + reach, strict=True))
        found = np.argwhere(mask[box]) + low
        if len(found):
            squares = ((found - point) ** 2).sum(axis=1)
            best = int(squares.argmin())
            if squares[best] <= reach**2:
                return found[best]
        reach *= 2


def _others(mask: np.ndarray, axis: int) -> tuple[int, ...]:
    return tuple(other for other in range(mask.ndim) if other != axis)
