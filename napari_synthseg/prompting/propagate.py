"""Propagation: an object marked on one slice or several is followed to the neighbouring slices, one after another.

Every slice is prompted by the answer on the slice before (`next_prompts`). Slices that the user marked, the anchors,
are taken as they are; between two of them each slice is answered from the nearer one. A new anchor is how a result is
corrected.

A mask with a sharp edge is copied rather than followed, one without points around it spreads into neighbours that look
alike, and a box moves outwards from slice to slice. So the mask prompt says little near its edge, and points outside
lie all around it.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from heapq import heapify, heappop, heappush

import cc3d
import edt
import numpy as np

from napari_synthseg.errors import InputError
from napari_synthseg.jobs import Progress, checkpoint
from napari_synthseg.prompting.options import PropagateOptions
from napari_synthseg.prompting.prompts import Anchor, Planes, Prompts, Window
from napari_synthseg.prompting.session import Session
from napari_synthseg.prompting.stopping import Look, compare, least_change

Point = tuple[float, float]

MOST_INSIDE = 3
"""Points inside: one for each of the largest parts."""
AROUND = 4
"""Points outside."""
GAP_PIXELS, GAP_RADII = 2.0, 0.6
"""From the mask to the points outside: pixels, and radii of the disc of its area; the larger of both."""
DOUBT_RADII = 0.5
"""Radii from the edge at which the mask prompt is sure of inside or outside; at the edge it is undecided."""
STAGE = "Through the slices"
AHEAD = 3
"""Slices that are encoded in the background while one is being answered."""


@dataclass(frozen=True, eq=False)
class SliceAnswer(Progress):
    """Report of a slice that was answered; `done` counts them.

    Attributes:
        index: of the slice.
        mask: (rows, columns), bool; empty if the object ends.
        score: IoU with the truth that the model expects, 0-1.
        overlap: Dice with the mask of the slice before, 0-1.
        ended: why propagation stops here, as a part of a sentence; "" if it goes on.
    """

    index: int = 0
    mask: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), bool))
    score: float = 0.0
    overlap: float = 0.0
    ended: str = ""


@dataclass(frozen=True, eq=False)
class _Front:
    """Propagation from an anchor in one direction: next slice, mask of the slice before, the anchor's prompts."""

    index: int
    direction: int
    mask: np.ndarray
    prompts: Prompts


@dataclass(frozen=True)
class _MarkedLook:
    """Looks of the object on the marked slices, and its largest area there, pixels."""

    looks: Sequence[Look]
    largest: int


def propagate(
    session: Session,
    volume: np.ndarray,
    axis: int,
    start: int,
    mask: np.ndarray,
    *,
    prompts: Prompts | None = None,
    anchors: Mapping[int, Anchor] | None = None,
    options: PropagateOptions | None = None,
    window: Window = None,
    spacing: Sequence[float] = (1.0, 1.0, 1.0),
) -> Generator[SliceAnswer, None, np.ndarray]:
    """Follow an object from one slice through a volume; closing the generator stops it.

    The session's own image and prompts stay as they are, and it may be used meanwhile. To correct a result, call it
    again with the slices that were marked so far as `anchors`: slices whose embeddings the session still has are
    answered quickly.

    Args:
        session: the model and its embeddings.
        volume: (X, Y, Z), or (X, Y, Z, 3 or 4) in colour; any kind of numbers.
        axis: which axis the slices lie across, 0-2. A slice has the two other axes, in their order.
        start: the slice that is marked.
        mask: (rows, columns) of it, bool.
        prompts: what led to this mask.
        anchors: further slices that are marked.
        options: how far; the defaults if None.
        window: values that become black and white, by default the same percentiles for all slices; see `Window`.
        spacing: distances between voxels along each axis, so that the model sees true proportions.

    Yields:
        A report for every slice that was answered, nearest to the anchors first.

    Returns:
        The object (X, Y, Z), bool.

    Raises:
        InputError: the volume, the axis, a slice or its mask do not fit, or nothing is marked.
    """
    options = options or PropagateOptions()
    planes = Planes(volume, axis, spacing, window)
    marked = {**(anchors or {}), start: Anchor(mask, prompts or Prompts())}
    masks = {index: _fitting(planes, index, anchor.mask) for index, anchor in marked.items()}
    if not any(one.any() for one in masks.values()):
        raise InputError("Nothing is marked that could be followed: mark the object on a slice.")
    own = session.beside()
    look = _MarkedLook(
        [Look.of(planes.image(index), one, planes.window_at(index)) for index, one in masks.items() if one.any()],
        max(int(one.sum()) for one in masks.values()),
    )
    try:
        yield from _follow(own, planes, masks, _fronts(masks, marked, options), look, options)
    finally:
        own.encode_ahead([])  # do not encode slices beyond the ends
    return planes.stack(masks)


def _follow(
    own: Session,
    planes: Planes,
    masks: dict[int, np.ndarray],
    fronts: list[tuple[int, int, _Front]],
    look: _MarkedLook,
    options: PropagateOptions,
) -> Generator[SliceAnswer, None, None]:
    """Propagate until every direction has stopped; add the answers to `masks`."""
    done = 0
    while fronts:
        distance, _, front = heappop(fronts)
        if front.index in masks or not 0 <= front.index < len(planes):
            continue
        checkpoint()
        _encode_ahead(own, planes, fronts, front, set(masks))
        step = _step(own, planes, front, look, options)
        checkpoint()
        done += 1
        yield replace(step, done=done)
        if step.ended:
            continue
        masks[front.index] = step.mask
        if options.most_slices is None or distance < options.most_slices:
            following = replace(front, index=front.index + front.direction, mask=step.mask)
            heappush(fronts, (distance + 1, done, following))


def _fitting(planes: Planes, index: int, mask: np.ndarray) -> np.ndarray:
    if not 0 <= index < len(planes):
        raise InputError(f"There is no slice {index}: the volume has slices 0 to {len(planes) - 1} across this axis.")
    if mask.shape != planes.shape:
        raise InputError(f"The mask of slice {index} has the shape {mask.shape}: give one of {planes.shape}.")
    return np.asarray(mask) != 0


def _fronts(
    masks: Mapping[int, np.ndarray], marked: Mapping[int, Anchor], options: PropagateOptions
) -> list[tuple[int, int, _Front]]:
    """Make the starting fronts: a heap by the distance from the anchor."""
    directions = {"both": (1, -1), "up": (1,), "down": (-1,)}[options.direction]
    fronts: list[tuple[int, int, _Front]] = []
    for index, mask in sorted(masks.items()):
        if mask.any():
            for way in directions:
                front = _Front(index + way, way, mask, marked[index].prompts)
                fronts.append((1, len(fronts) - 2 * len(masks), front))
    heapify(fronts)
    return fronts


def _encode_ahead(
    session: Session, planes: Planes, fronts: list[tuple[int, int, _Front]], now: _Front, known: set[int]
) -> None:
    """Encode the slices that are probably needed next."""
    others = [front.index for _, _, front in sorted(fronts, key=lambda one: one[:2])]
    wanted = [now.index, *others, now.index + now.direction, now.index + 2 * now.direction]
    new = [index for index in dict.fromkeys(wanted) if 0 <= index < len(planes) and index not in known]
    session.encode_ahead([planes.image(index) for index in new[: AHEAD + 1]], planes.common_window, planes.pixel)


def _step(
    session: Session, planes: Planes, front: _Front, marked: _MarkedLook, options: PropagateOptions
) -> SliceAnswer:
    """Answer one slice and decide whether the object is still there."""
    image = planes.image(front.index)
    session.set_image(image, planes.common_window, planes.pixel)
    given = front.prompts
    outside = [point for point, positive in zip(given.points, given.positive, strict=True) if not positive]
    session.point_at(next_prompts(front.mask, planes.pixel, planes.step, outside))
    answer = session.answer()
    mask = connected(answer.mask, front.mask)
    change = least_change(marked.looks, image, mask, planes.window_at(front.index))
    found = compare(mask, front.mask, marked.largest, answer.score, change)
    ended = found.ended(options)
    kept = np.zeros_like(mask) if ended else mask
    figures = {"slice": front.index, "score": round(answer.score, 2)}
    return SliceAnswer(STAGE, 0, 0, figures, front.index, kept, answer.score, found.overlap, ended)


def next_prompts(
    mask: np.ndarray, pixel: tuple[float, float] = (1.0, 1.0), step: float = 1.0, outside: Sequence[Point] = ()
) -> Prompts:
    """Make the prompts for the next slice: the blurred mask, points deep inside it, and points outside all around it.

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


def connected(mask: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Return the parts of a mask (rows, columns) that overlap with the slice before."""
    parts = cc3d.connected_components(mask, connectivity=8)
    going_on = np.unique(parts[before & mask])
    return np.isin(parts, going_on[going_on > 0])


def _at(flat: int, shape: tuple[int, ...]) -> Point:
    row, column = np.unravel_index(flat, shape)
    return float(row), float(column)
