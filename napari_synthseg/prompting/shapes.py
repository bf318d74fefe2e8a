"""Prompts from shapes: the mask of a neighboring slice, scribbles and lassos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cc3d
import edt
import numpy as np
from PIL import Image, ImageDraw

from napari_synthseg.prompting.prompts import Point, Prompts

MOST_INSIDE = 3
"""Points inside a mask: one for each of the largest parts."""
AROUND = 4
"""Points outside a mask."""
GAP_PIXELS, GAP_RADII = 2.0, 0.6
"""From a mask to the points outside: pixels, and radii of the disc of its area; the larger of both."""
DOUBT_RADII = 0.5
"""Radii from the edge at which a mask prompt is sure of inside or outside; at the edge it is undecided."""
ALONG = 6
"""Points along a scribble."""


def mask_prompts(
    mask: np.ndarray, pixel: tuple[float, float] = (1.0, 1.0), step: float = 1.0, outside: Sequence[Point] = ()
) -> Prompts:
    """Make prompts for something like a mask: the blurred mask, points deep inside it, and points all around it.

    Args:
        mask: (rows, columns) bool, not empty: of the slice before, or drawn roughly.
        pixel: height and width of a pixel, in any unit.
        step: distance by which edges may differ, in the same unit, such as the one to the next slice.
        outside: further points outside; those that the mask has not come close to are kept.
    """
    depth = signed_distance(mask, pixel)
    distance = np.maximum(-depth, 0)
    radius = float(np.sqrt(mask.sum() * pixel[0] * pixel[1] / np.pi))
    gap = max(GAP_PIXELS * max(pixel), GAP_RADII * radius, step)
    around = spread_points((distance >= gap) & (distance < gap + 1.5 * max(pixel)), pixel)
    given = tuple(point for point in outside if distance[round(point[0]), round(point[1])] >= gap)
    probable = np.clip(0.5 + depth / (2 * DOUBT_RADII * radius), 0, 1).astype(np.float32)
    return Prompts(mask=probable).with_points(deep_points(mask, pixel), True).with_points([*around, *given], False)


def with_scribble(prompts: Prompts, path: Sequence[Point], positive: bool) -> Prompts:
    """Add a scribble: points evenly along it, and the stroke drawn into the mask prompt if there is one.

    Args:
        prompts: so far.
        path: (row, column) positions of its corners.
        positive: whether it lies inside the object.
    """
    added = prompts.with_points(points_along(path), positive)
    if prompts.mask is None:
        return added
    drawn = Image.new("L", prompts.mask.shape[::-1])
    ImageDraw.Draw(drawn).line([(column, row) for row, column in path], fill=1, width=3)
    return replace(added, mask=np.where(np.array(drawn) > 0, np.float32(positive), prompts.mask))


def with_lasso(prompts: Prompts, polygon: Sequence[Point], positive: bool, shape: tuple[int, int]) -> Prompts:
    """Add a lasso: the object is about as large as the polygon, or has no part in it.

    Args:
        prompts: so far; a lasso inside replaces a mask prompt.
        polygon: (row, column) positions of its corners.
        positive: whether it lies around the object, or around something else.
        shape: of the image.
    """
    drawn = Image.new("L", shape[::-1])
    ImageDraw.Draw(drawn).polygon([(column, row) for row, column in polygon], fill=1, outline=1)
    inside = np.array(drawn) > 0
    if positive:
        like = mask_prompts(inside)
        points = [point for point, sign in zip(like.points, like.positive, strict=True) if sign]
        outside = [point for point, sign in zip(like.points, like.positive, strict=True) if not sign]
        return replace(prompts, mask=like.mask).with_points(points, True).with_points(outside, False)
    added = prompts.with_points([*deep_points(inside), *spread_points(inside)], False)
    return added if prompts.mask is None else replace(added, mask=np.where(inside, np.float32(0), prompts.mask))


def points_along(path: Sequence[Point], count: int = ALONG) -> tuple[Point, ...]:
    """Return points evenly along a path, its ends included; one if it has no length."""
    corners = np.asarray(path, float)
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(corners, axis=0), axis=1))])
    if length[-1] == 0:
        return ((float(corners[0, 0]), float(corners[0, 1])),)
    at = np.linspace(0, length[-1], count)
    return tuple(zip(*(np.interp(at, length, corners[:, axis]).tolist() for axis in (0, 1)), strict=True))


def signed_distance(mask: np.ndarray, pixel: tuple[float, float] = (1.0, 1.0)) -> np.ndarray:
    """Return the distance of each pixel (rows, columns) from the mask's edge, negative outside, float32."""
    inside, outside = (np.ascontiguousarray(one) for one in (mask, ~mask))
    return edt.edt(inside, pixel, black_border=False) - edt.edt(outside, pixel, black_border=False)


def deep_points(mask: np.ndarray, pixel: tuple[float, float] = (1.0, 1.0)) -> tuple[Point, ...]:
    """Return points (row, column) in the middle of the mask's parts, the largest first; at most `MOST_INSIDE`."""
    parts = cc3d.connected_components(mask, connectivity=8)
    sizes = np.bincount(parts.ravel())[1:]
    depth = edt.edt(np.ascontiguousarray(mask), anisotropy=pixel, black_border=False)
    chosen = np.argsort(-sizes, kind="stable")[:MOST_INSIDE]
    return tuple(_at(int(np.where(parts == part + 1, depth, -1).argmax()), mask.shape) for part in chosen)


def spread_points(where: np.ndarray, pixel: tuple[float, float] = (1.0, 1.0), count: int = AROUND) -> tuple[Point, ...]:
    """Return points (row, column) of a mask, each as far as possible from those before; fewer if it is small."""
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


def _at(flat: int, shape: tuple[int, ...]) -> Point:
    row, column = np.unravel_index(flat, shape)
    return float(row), float(column)
