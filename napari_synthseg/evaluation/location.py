"""Where a structure lies in a label map: one voxel to look at."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


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
