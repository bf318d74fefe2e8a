"""What one slice's mask says about the next slice: the prompts for it, and which parts of the answer go on.

A mask with a sharp edge is copied rather than followed, one without points around it spreads into neighbours that look
alike, and a box moves outwards from slice to slice. So the mask says little near its edge, and points outside lie all
around it.
"""

from __future__ import annotations

from collections.abc import Sequence

import cc3d
import edt
import numpy as np

from napari_synthseg.prompting.prompts import Prompts

Point = tuple[float, float]

MOST_INSIDE = 3
"""Points inside: one for each of the largest parts."""
AROUND = 4
"""Points outside."""
GAP_PIXELS, GAP_RADII = 2.0, 0.6
"""From the mask to the points outside: pixels, and radii of the disc of its area; the larger of both."""
DOUBT_RADII = 0.5
"""Half a radius inside the edge the mask is sure, and as far outside the contrary; at the edge it says nothing."""


def carried(
    mask: np.ndarray, pixel: tuple[float, float] = (1.0, 1.0), step: float = 1.0, outside: Sequence[Point] = ()
) -> Prompts:
    """Prompts for the next slice: the mask, blurred, points deep inside it, and points outside all around it.

    Args:
        mask: (rows, columns) of the slice before, bool, not empty.
        pixel: height and width of a pixel, in any unit.
        step: to the next slice, in the same unit: an edge may move as far as that.
        outside: points outside that a user gave on a slice nearby; those that the mask has not come close to are kept.
    """
    distance = edt.edt(np.ascontiguousarray(~mask), anisotropy=pixel, black_border=False)
    radius = float(np.sqrt(mask.sum() * pixel[0] * pixel[1] / np.pi))
    gap = max(GAP_PIXELS * max(pixel), GAP_RADII * radius, step)
    inside = deep_points(mask, pixel)
    around = spread_points((distance >= gap) & (distance < gap + 1.5 * max(pixel)), pixel)
    given = tuple(point for point in outside if distance[round(point[0]), round(point[1])] >= gap)
    points = (*inside, *around, *given)
    signs = (True,) * len(inside) + (False,) * (len(points) - len(inside))
    depth = edt.edt(np.ascontiguousarray(mask), anisotropy=pixel, black_border=False)
    probable = np.clip(0.5 + (depth - distance) / (2 * DOUBT_RADII * radius), 0, 1)
    return Prompts(points, signs, None, probable.astype(np.float32))


def deep_points(mask: np.ndarray, pixel: tuple[float, float] = (1.0, 1.0)) -> tuple[Point, ...]:
    """Points (row, column) in the middle of the mask's parts, the largest part first; at most `MOST_INSIDE`."""
    parts = cc3d.connected_components(mask, connectivity=8)
    sizes = np.bincount(parts.ravel())[1:]
    depth = edt.edt(np.ascontiguousarray(mask), anisotropy=pixel, black_border=False)
    chosen = np.argsort(-sizes, kind="stable")[:MOST_INSIDE]
    return tuple(_at(int(np.where(parts == part + 1, depth, -1).argmax()), mask.shape) for part in chosen)


def spread_points(where: np.ndarray, pixel: tuple[float, float] = (1.0, 1.0), count: int = AROUND) -> tuple[Point, ...]:
    """Points (row, column) of a mask, each as far as can be from those before; fewer where it has fewer pixels."""
    pixels = np.argwhere(where)
    if len(pixels) == 0:
        return ()
    places = pixels * np.array(pixel)
    nearest = np.linalg.norm(places - places.mean(0), axis=1)  # the first one is an end of it
    chosen: list[Point] = []
    for _ in range(min(count, len(pixels))):
        one = int(nearest.argmax())
        away = np.linalg.norm(places - places[one], axis=1)
        nearest = np.minimum(nearest, away) if chosen else away
        chosen.append((float(pixels[one][0]), float(pixels[one][1])))
    return tuple(chosen)


def connected(mask: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Those parts of a mask that overlap with the slice before: (rows, columns), bool."""
    parts = cc3d.connected_components(mask, connectivity=8)
    going_on = np.unique(parts[before & mask])
    return np.isin(parts, going_on[going_on > 0])


def _at(flat: int, shape: tuple[int, ...]) -> Point:
    row, column = np.unravel_index(flat, shape)
    return float(row), float(column)
