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
    places = np.flatnonzero(wanted)
    if not len(places):
        return None
    index = np.stack(np.unravel_index(places, labels.shape)).astype(np.float32)
    middle = index.mean(axis=1, dtype=np.float64, keepdims=True)
    nearest = int(((index - middle) ** 2).sum(axis=0).argmin())
    return tuple(int(i) for i in np.unravel_index(places[nearest], labels.shape))
