"""What one slice's mask says about the next slice: the prompts for it, and which parts of the answer go on."""

from __future__ import annotations

import cc3d
import edt
import numpy as np

from napari_synthseg.prompting.prompts import Prompts

MOST_POINTS = 3


def carried(mask: np.ndarray, pixel: tuple[float, float] = (1.0, 1.0)) -> Prompts:
    """Prompts for the next slice: the mask itself, and points deep inside it.

    Args:
        mask: (rows, columns) of the slice before, bool, not empty.
        pixel: height and width of a pixel, in any unit.
    """
    points = deep_points(mask, pixel)
    return Prompts(points, (True,) * len(points), None, mask)


def deep_points(mask: np.ndarray, pixel: tuple[float, float] = (1.0, 1.0)) -> tuple[tuple[float, float], ...]:
    """Points (row, column) in the middle of the mask's parts, the largest part first; at most `MOST_POINTS`."""
    parts = cc3d.connected_components(mask, connectivity=8)
    sizes = np.bincount(parts.ravel())[1:]
    depth = edt.edt(np.ascontiguousarray(mask), anisotropy=pixel, black_border=False)
    points = []
    for part in np.argsort(-sizes, kind="stable")[:MOST_POINTS]:
        row, column = np.unravel_index(int(np.where(parts == part + 1, depth, -1).argmax()), mask.shape)
        points.append((float(row), float(column)))
    return tuple(points)


def connected(mask: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Those parts of a mask that overlap with the slice before: (rows, columns), bool."""
    parts = cc3d.connected_components(mask, connectivity=8)
    going_on = np.unique(parts[before & mask])
    return np.isin(parts, going_on[going_on > 0])
