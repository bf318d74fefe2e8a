"""Prompts on one slice, also from scribbles, lassos and masks; a volume as slices along any axis. No torch here.

On the next slice an object probably lies where the optical flow between both slices moves its shape. A decoder alone
answers a slice worse than a copy of the neighbor's mask would; a mask that is only moved loses the edges after some
slices. So the moved shape is evidence beside the decoder's answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import cc3d
import edt
import numpy as np
from PIL import Image, ImageDraw

from napari_synthseg.errors import InputError

Point = tuple[float, float]
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Prompts:
    """Prompts of one object on one image; positions are (row, column)."""

    points: tuple[Point, ...] = ()
    positive: tuple[bool, ...] = ()
    """For each point, whether it is inside."""
    box: Box | None = None
    """Two corners: row0, column0, row1, column1."""
    mask: np.ndarray | None = field(default=None, compare=False)
    """(rows, columns), bool; or the probability of inside, 0-1."""

    def with_points(self, points: Iterable[Point], positive: bool) -> Prompts:
        """Return these prompts with further points, all inside or all outside."""
        added = tuple(points)
        return replace(self, points=(*self.points, *added), positive=(*self.positive, *(bool(positive) for _ in added)))

    @property
    def ask(self) -> bool:
        """Whether there is an object to answer: points outside alone name none."""
        return any(self.positive) or self.box is not None or self.mask is not None


@dataclass(frozen=True, eq=False)
class Anchor:
    """A slice of a volume that the user marked."""

    mask: np.ndarray
    """(rows, columns), bool. Empty: the object is not there, and propagation stops before this slice."""
    prompts: Prompts = field(default_factory=Prompts)
    """The prompts that led to the mask."""


WINDOW = (0.5, 99.5)
"""Percentiles of the finite values that become black and white."""
MOST_VALUES = 2**22
"""Voxels of a volume, evenly chosen, that its percentiles are estimated from."""


def percentiles(values: np.ndarray) -> tuple[float, float]:
    """Return black and white of finite values; the extremes if the percentiles are equal."""
    low, high = (float(value) for value in np.percentile(values, WINDOW))
    return (low, high) if high > low else (float(values.min()), float(values.max()))


def window_of(volume: np.ndarray) -> tuple[float, float] | None:
    """Return the values that become black and white in all slices of a volume, or in a slice: percentiles of the whole.

    None for bytes, which are shown as they are.
    """
    if volume.dtype == np.uint8:
        return None
    step = max(1, round((volume.size / MOST_VALUES) ** (1 / 3)))
    values = volume[(slice(None, None, step),) * min(3, volume.ndim)].astype(np.float32)
    values = values[np.isfinite(values)]
    return percentiles(values) if values.size else None


def brightness(image: np.ndarray, window: tuple[float, float] | None) -> np.ndarray:
    """Return (rows, columns) float64 with black 0 and white 1 (0 and 255 without a window); colors are averaged."""
    gray = image.astype(np.float64) if image.ndim == 2 else image[..., :3].mean(-1, dtype=np.float64)
    low, high = window or (0.0, 255.0)
    return (gray - low) / max(high - low, float(np.finfo(np.float32).tiny))


Window = tuple[float, float] | Literal["each"] | None
"""Values that become black and white in all slices; None: percentiles of the whole volume; "each": of each slice."""


@dataclass(frozen=True, eq=False)
class Planes:
    """A volume as slices across one of its axes.

    A slice's rows and columns are the two other axes, in their order: across axis 1 of (X, Y, Z) they are X and Z.

    Raises:
        InputError: it is no volume, or has no such axis.
    """

    volume: np.ndarray
    """(X, Y, Z), or (X, Y, Z, 3 or 4) in color; any kind of numbers."""
    axis: int
    """Axis across which the slices lie, 0-2."""
    spacing: Sequence[float] = (1.0, 1.0, 1.0)
    """Distances between voxels along each axis, in any unit."""
    window: Window = None
    """Values that become black and white; by default those of `window_of`."""

    def __post_init__(self) -> None:
        shape = self.volume.shape
        if len(shape) not in {3, 4} or (len(shape) == 4 and shape[3] not in {3, 4}) or 0 in shape:
            raise InputError(f"A volume of the shape {shape} has no slices to prompt: give a 3D one.")
        if self.axis not in {0, 1, 2}:
            raise InputError(f"A volume has the axes 0, 1 and 2, not {self.axis}.")
        if self.window is None:
            object.__setattr__(self, "window", window_of(self.volume))

    def __len__(self) -> int:
        return self.volume.shape[self.axis]

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of a slice."""
        rows, columns = (self.volume.shape[axis] for axis in self._others)
        return rows, columns

    @property
    def pixel(self) -> tuple[float, float]:
        """Height and width of a pixel."""
        height, width = (float(self.spacing[axis]) for axis in self._others)
        return height, width

    @property
    def step(self) -> float:
        """Distance between slices."""
        return float(self.spacing[self.axis])

    @property
    def common_window(self) -> tuple[float, float] | None:
        """Values that become black and white in all slices; None if each has its own, and for bytes."""
        return None if self.window == "each" else self.window

    def window_at(self, index: int) -> tuple[float, float] | None:
        """Values that become black and white on a slice; None for bytes, which are shown as they are."""
        return window_of(self.image(index)) if self.window == "each" else self.window

    def image(self, index: int) -> np.ndarray:
        """A slice (rows, columns), or (rows, columns, 3 or 4) in colour: a view."""
        return self.volume[(slice(None),) * self.axis + (index,)]

    def stack(self, masks: dict[int, np.ndarray]) -> np.ndarray:
        """Stack masks of slices (rows, columns) to an object (X, Y, Z), bool."""
        whole = np.zeros(self.volume.shape[:3], bool)
        for index, mask in masks.items():
            whole[(slice(None),) * self.axis + (index,)] = mask
        return whole

    @property
    def _others(self) -> list[int]:
        return [axis for axis in range(3) if axis != self.axis]


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
    """Add a scribble with these corners: points along it, and the stroke in the mask prompt if there is one."""
    added = prompts.with_points(points_along(path), positive)
    if prompts.mask is None:
        return added
    drawn = Image.new("L", prompts.mask.shape[::-1])
    ImageDraw.Draw(drawn).line([(column, row) for row, column in path], fill=1, width=3)
    return replace(added, mask=np.where(np.array(drawn) > 0, np.float32(positive), prompts.mask))


def with_lasso(prompts: Prompts, polygon: Sequence[Point], positive: bool, shape: tuple[int, int]) -> Prompts:
    """Add a lasso on an image: the object is about as large as the polygon, or has no part in it.

    A lasso around the object replaces a mask prompt.
    """
    drawn = Image.new("L", shape[::-1])
    ImageDraw.Draw(drawn).polygon([(column, row) for row, column in polygon], fill=1, outline=1)
    inside = np.array(drawn) > 0
    if positive:
        like = mask_prompts(inside)
        points, signs = (*prompts.points, *like.points), (*prompts.positive, *like.positive)
        return replace(prompts, points=points, positive=signs, mask=like.mask)
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
    found = []
    for part in np.argsort(-sizes, kind="stable")[:MOST_INSIDE]:
        row, column = np.unravel_index(int(np.where(parts == part + 1, depth, -1).argmax()), mask.shape)
        found.append((float(row), float(column)))
    return tuple(found)


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


MARGIN_EXTENTS, MARGIN_PIXELS = 1.0, 8
"""How far beyond an object the flow is estimated: its largest extents, and pixels; the larger of both."""
FLOW_SIDE = 128
"""Larger parts of a slice are shrunk to so many pixels a side first."""
ATTACHMENT = 30.0
"""Weight of the images beside the smoothness of the flow (`skimage.registration.optical_flow_tvl1`)."""
PRIOR, FAR = 2.0, 4.0
"""Log-odds of a pixel that is one step inside the moved shape, and steps from which they grow no further."""


def moved(
    mask: np.ndarray, before: np.ndarray, image: np.ndarray, pixel: tuple[float, float] = (1.0, 1.0)
) -> np.ndarray:
    """Move a mask (rows, columns) from one slice to the next by the optical flow between them (TV-L1).

    `before` and `image` are the brightness of both, 0 black to 1 white. The result is the distance from the moved edge,
    float32, in the unit of the pixel's height and width, negative outside.
    """
    from scipy import ndimage
    from skimage.registration import optical_flow_tvl1

    farthest = float(np.hypot(*mask.shape)) * max(pixel)
    depth = np.clip(signed_distance(mask, pixel), -farthest, farthest)  # infinite if all is inside, or outside
    if not mask.any() or min(mask.shape) < 2:
        return depth
    part = _part_around(mask)
    looks = [np.clip(np.nan_to_num(one[part]), 0, 1).astype(np.float32) for one in (image, before)]
    shrunk = min(1.0, FLOW_SIDE / max(looks[0].shape))
    if shrunk < 1:
        looks = [ndimage.zoom(ndimage.gaussian_filter(one, 0.5 / shrunk), shrunk, order=1) for one in looks]
    flow = optical_flow_tvl1(*looks, attachment=ATTACHMENT)
    size = depth[part].shape
    factors = [large / small for large, small in zip(size, looks[0].shape, strict=True)]
    shifts = [ndimage.zoom(one, factors, order=1) * factor for one, factor in zip(flow, factors, strict=True)]
    places = np.indices(size, np.float32) + np.stack(shifts)
    depth[part] = ndimage.map_coordinates(depth[part], places, order=1, mode="nearest")
    return depth


def shape_evidence(depth: np.ndarray, step: float) -> np.ndarray:
    """Return log-odds of inside, float32, from the distance to an expected edge that may move by `step` of its unit."""
    return (PRIOR * np.clip(depth / step, -FAR, FAR)).astype(np.float32)


def _part_around(mask: np.ndarray) -> tuple[slice, slice]:
    """Return the part of a slice that holds a mask, not empty, and its surroundings."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    margin = max(MARGIN_PIXELS, round(MARGIN_EXTENTS * max(np.ptp(rows), np.ptp(columns))))
    ends = [(max(0, at[0] - margin), min(count, at[-1] + 1 + margin)) for at, count in
            zip((rows, columns), mask.shape, strict=True)]  # fmt: skip
    return slice(*ends[0]), slice(*ends[1])


def connected(mask: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Return the parts of a mask (rows, columns) that overlap with the slice before."""
    parts = cc3d.connected_components(mask, connectivity=8)
    going_on = np.unique(parts[before & mask])
    return np.isin(parts, going_on[going_on > 0])


def overlap(mask: np.ndarray, other: np.ndarray) -> float:
    """Return the Dice score of two masks, not both empty."""
    return 2 * int((mask & other).sum()) / int(mask.sum() + other.sum())


AROUND_RADII, AROUND_PIXELS = 1.5, 4.0
"""How far surroundings reach from the object: radii of the disc of its area, and pixels; the larger of both."""


def around(mask: np.ndarray) -> np.ndarray:
    """Return a mask (rows, columns) with its surroundings."""
    reach = max(AROUND_PIXELS, AROUND_RADII * float(np.sqrt(mask.sum() / np.pi)))
    return edt.edt(np.ascontiguousarray(~mask), black_border=False) <= reach
