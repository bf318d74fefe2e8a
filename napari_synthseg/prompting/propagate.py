"""Through a volume: an object marked on one slice or several is followed to the slices beside them, one after another.

Every slice is prompted by the answer on the slice before (`carry`). Slices that the user marked, the anchors, are taken
as they are; between two of them each slice is answered from the nearer one. A new anchor is how a result is corrected.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from heapq import heapify, heappop, heappush

import numpy as np

from napari_synthseg.errors import InputError
from napari_synthseg.jobs import Progress, checkpoint
from napari_synthseg.prompting.carry import carried, connected
from napari_synthseg.prompting.ending import Look, compare, least_change
from napari_synthseg.prompting.options import PropagateOptions
from napari_synthseg.prompting.planes import Planes, Window
from napari_synthseg.prompting.prompts import Anchor, Prompts
from napari_synthseg.prompting.session import Session

STAGE = "Through the slices"
AHEAD = 3
"""Slices that are encoded in the background while one is being answered."""


@dataclass(frozen=True, eq=False)
class SliceAnswer(Progress):
    """Report of a slice that was answered; `done` counts them."""

    index: int = 0
    """Which slice."""
    mask: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), bool))
    """(rows, columns), bool; empty where the object ends."""
    score: float = 0.0
    """The IoU with the truth that the model expects, 0-1."""
    overlap: float = 0.0
    """Dice with the mask of the slice before, 0-1."""
    ended: str = ""
    """Why the object is followed no further this way, as a part of a sentence; "" where it is."""


@dataclass(frozen=True, eq=False)
class _Front:
    """Where the way from an anchor in one direction has come."""

    index: int
    """The next slice."""
    direction: int
    mask: np.ndarray
    """Of the slice before."""
    prompts: Prompts
    """Of the anchor."""


@dataclass(frozen=True)
class _MarkedLook:
    """How the object looks where it was marked."""

    looks: Sequence[Look]
    largest: int
    """Its area on the largest of these slices, pixels."""


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
        own.encode_ahead([])  # lest slices beyond the ends are encoded for nobody
    return planes.stack(masks)


def _follow(
    own: Session,
    planes: Planes,
    masks: dict[int, np.ndarray],
    fronts: list[tuple[int, int, _Front]],
    look: _MarkedLook,
    options: PropagateOptions,
) -> Generator[SliceAnswer, None, None]:
    """Go on until all ways have ended; what is found is put into `masks`."""
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
    """Where it begins: a heap by the distance from the anchor."""
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
    """Have the slices encoded that are probably needed next."""
    others = [front.index for _, _, front in sorted(fronts, key=lambda one: one[:2])]
    wanted = [now.index, *others, now.index + now.direction, now.index + 2 * now.direction]
    new = [index for index in dict.fromkeys(wanted) if 0 <= index < len(planes) and index not in known]
    session.encode_ahead([planes.image(index) for index in new[: AHEAD + 1]], planes.common_window, planes.pixel)


def _step(
    session: Session, planes: Planes, front: _Front, marked: _MarkedLook, options: PropagateOptions
) -> SliceAnswer:
    """The answer on one slice, and whether the object is still there."""
    image = planes.image(front.index)
    session.set_image(image, planes.common_window, planes.pixel)
    given = front.prompts
    outside = [point for point, positive in zip(given.points, given.positive, strict=True) if not positive]
    session.point_at(carried(front.mask, planes.pixel, planes.step, outside))
    answer = session.answer()
    mask = connected(answer.mask, front.mask)
    change = least_change(marked.looks, image, mask, planes.window_at(front.index))
    found = compare(mask, front.mask, marked.largest, answer.score, change)
    ended = found.ended(options)
    kept = np.zeros_like(mask) if ended else mask
    figures = {"slice": front.index, "score": round(answer.score, 2)}
    return SliceAnswer(STAGE, 0, 0, figures, front.index, kept, answer.score, found.overlap, ended)
