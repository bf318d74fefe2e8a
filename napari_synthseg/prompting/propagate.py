"""Propagation: follow an object from marked slices to their neighbors, one slice after another.

Every slice is prompted by the shape on the slice before (`mask_prompts`), moved by the optical flow between both
(`moved`). That shape is evidence beside the decoder's answer, and so is how much too large that answer is on the
marked slice. Slices that the user marked, the anchors, stay as they are; between two of them each slice is answered
from the nearer one, and its shape is expected between both. A new anchor is how a result is corrected: only what lies
nearer to it is answered again.

A mask with a sharp edge is copied rather than followed, one without points around it spreads into neighbors that look
alike, and a box moves outwards from slice to slice. So the mask prompt says little near its edge, and points outside
lie all around it.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from heapq import heapify, heappop, heappush

import numpy as np

from napari_synthseg.errors import InputError
from napari_synthseg.jobs import Progress, checkpoint
from napari_synthseg.prompting import prompts as shapes
from napari_synthseg.prompting.options import PropagateOptions
from napari_synthseg.prompting.prompts import (
    Anchor,
    Planes,
    Prompts,
    Window,
    brightness,
    connected,
    mask_prompts,
    overlap,
)
from napari_synthseg.prompting.session import Session

LEAST_SPREAD = 0.02
"""Least spread of a look: in flat images any change would count."""


@dataclass(frozen=True)
class Look:
    """Brightness of an object on a slice, 0 black to 1 white: median, and standard deviation (with a lower bound)."""

    middle: float
    spread: float

    @classmethod
    def of(cls, image: np.ndarray, mask: np.ndarray, window: tuple[float, float] | None) -> Look:
        """Measure the look of the pixels in a mask (rows, columns); those not finite do not count."""
        values = brightness(image, window)[mask]
        values = values[np.isfinite(values)]
        if values.size == 0:
            return cls(0.0, LEAST_SPREAD)
        return cls(float(np.median(values)), max(float(values.std()), LEAST_SPREAD))

    def change(self, other: Look) -> float:
        """Return the distance to another look's middle, in spreads of this one."""
        return abs(other.middle - self.middle) / self.spread


def reason_to_end(
    options: PropagateOptions, *, score: float, growth: float, overlap: float, size: float, change: float
) -> str:
    """Return why an object ends on a slice, as a part of a sentence; "" if it does not.

    Args:
        options: how far it is followed.
        score: IoU with the truth that the model expects, 0-1.
        growth: area divided by that of the slice before; 0 if nothing is found.
        overlap: Dice with the slice before.
        size: area divided by that of the largest marked slice.
        change: of the look, from the most similar marked slice.
    """
    ends = {
        "nothing of it is found there": growth == 0,
        f"the model is unsure (score {score:.2f})": score < options.least_score,
        f"the area grows {growth:.1f} times": growth > options.most_growth,
        f"it is {size:.1f} times as large as on any marked slice": size > options.most_area,
        f"it overlaps little with the slice before (Dice {overlap:.2f})": overlap < options.least_overlap,
        f"it looks different (by {change:.1f} standard deviations)": change > options.most_change,
    }
    return next((reason for reason, ended in ends.items() if ended), "")


STAGE = "Through the slices"
AHEAD = 3
"""Slices that are encoded in the background while one is being answered."""
MOST_OFFSET = 6.0
"""Largest size of the log-odds by which answers are made smaller or larger, as on the marked slice."""
UNCHANGED = 0.97
"""Dice with an earlier answer from which a correction changes nothing further on."""


@dataclass(frozen=True, eq=False)
class SliceAnswer(Progress):
    """Report of a slice that was answered; `done` counts them."""

    index: int = 0
    mask: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), bool))
    """(rows, columns), bool; empty if the object ends."""
    score: float = 0.0
    """IoU with the truth that the model expects, 0-1."""
    overlap: float = 0.0
    """Dice with the mask of the slice before, 0-1."""
    ended: str = ""
    """Why propagation stops here, as a part of a sentence; "" if it goes on."""
    voting: bool = False
    """Whether the slice lies across another axis, for `PropagateOptions.vote`."""


def propagate(
    session: Session,
    volume: np.ndarray,
    axis: int,
    start: int,
    mask: np.ndarray,
    *,
    prompts: Prompts | None = None,
    anchors: Mapping[int, Anchor] | None = None,
    known: np.ndarray | None = None,
    corrected: Collection[int] | None = None,
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
        volume: (X, Y, Z), or (X, Y, Z, 3 or 4) in color; any kind of numbers.
        axis: axis across which the slices lie, 0-2. A slice has the two other axes, in their order.
        start: the slice that is marked.
        mask: (rows, columns) of it, bool.
        prompts: the prompts that led to this mask.
        anchors: further slices that are marked.
        known: (X, Y, Z) result of an earlier run; slices that this run does not reach keep it.
        corrected: anchors that changed since `known`: propagate from these only, up to half-way to the next anchor, or
            to a slice whose answer stays the same. By default from all.
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
    marked = {**(anchors or {}), start: Anchor(mask, prompts or Prompts())}
    planes = Planes(volume, axis, spacing, window)
    return (yield from propagate_anchors(session, planes, marked, options, known, corrected))


def propagate_anchors(
    session: Session,
    planes: Planes,
    anchors: Mapping[int, Anchor],
    options: PropagateOptions | None = None,
    known: np.ndarray | None = None,
    corrected: Collection[int] | None = None,
) -> Generator[SliceAnswer, None, np.ndarray]:
    """Follow an object from all slices that are marked; see `propagate`."""
    options = options or PropagateOptions()
    for index, anchor in anchors.items():
        if not 0 <= index < len(planes):
            raise InputError(f"There is no slice {index}: the volume has slices 0 to {len(planes) - 1} on this axis.")
        if anchor.mask.shape != planes.shape:
            raise InputError(
                f"The mask of slice {index} has the shape {anchor.mask.shape}: give one of {planes.shape}."
            )
    if not any(anchor.mask.any() for anchor in anchors.values()):
        raise InputError("Nothing is marked that could be followed: mark the object on a slice.")
    own = session.beside()
    try:
        run = _Run(own, planes, anchors, options, known, corrected)
        yield from run.follow()
        return (yield from _vote(run)) if options.vote else run.object
    finally:
        own.encode_ahead([])  # do not encode slices beyond the ends


@dataclass(frozen=True, eq=False)
class _Front:
    """Propagation from an anchor in one direction: the next slice, and the mask of the slice before."""

    anchor: int
    direction: int
    index: int
    mask: np.ndarray


class _Run:
    """One propagation: anchors and answers so far, answers of an earlier run, and what the anchors look like."""

    def __init__(
        self,
        session: Session,
        planes: Planes,
        anchors: Mapping[int, Anchor],
        options: PropagateOptions,
        known: np.ndarray | None = None,
        corrected: Collection[int] | None = None,
    ) -> None:
        self.session, self.planes, self.options = session, planes, options
        self.prompts = {index: anchor.prompts for index, anchor in anchors.items()}
        self.masks = {index: np.asarray(anchor.mask) != 0 for index, anchor in anchors.items()}
        self.marked = {index: mask for index, mask in sorted(self.masks.items()) if mask.any()}
        self.corrected = corrected
        self.earlier: dict[int, np.ndarray] = {}
        if known is not None:
            slices = np.moveaxis(np.asarray(known) != 0, planes.axis, 0)
            self.earlier = {int(at): slices[at] for at in np.flatnonzero(slices.any((1, 2))) if at not in self.masks}
        self.looks = [Look.of(planes.image(at), mask, planes.window_at(at)) for at, mask in self.marked.items()]
        self.largest = max(int(mask.sum()) for mask in self.marked.values())
        self.offsets: dict[int, float] = {}
        self.done = 0

    @property
    def object(self) -> np.ndarray:
        """The object so far, (X, Y, Z) bool."""
        return self.planes.stack({**self.earlier, **self.masks})

    def follow(self) -> Generator[SliceAnswer, None, None]:
        """Propagate until every direction has stopped."""
        fronts = self._fronts()
        while fronts:
            distance, _, front = heappop(fronts)
            if front.index in self.masks or not 0 <= front.index < len(self.planes):
                continue
            if self.corrected is not None and front.index in self.earlier and not self._nearest(front):
                continue
            checkpoint()
            self._encode_ahead(fronts, front)
            answer = self._answer(front)
            checkpoint()
            self.done += 1
            yield replace(answer, done=self.done)
            if answer.ended:
                if self.corrected is None or self._next_marked(front) is None:
                    self._drop_earlier(front)
                continue
            before = self.earlier.pop(front.index, None)
            self.masks[front.index] = answer.mask
            if self.corrected is not None and before is not None and overlap(before, answer.mask) >= UNCHANGED:
                continue
            if self.options.most_slices is None or distance < self.options.most_slices:
                further = replace(front, index=front.index + front.direction, mask=answer.mask)
                heappush(fronts, (distance + 1, self.done, further))

    def _fronts(self) -> list[tuple[int, int, _Front]]:
        """Return the first fronts: a heap by the distance from the anchor."""
        directions = {"both": (1, -1), "up": (1,), "down": (-1,)}[self.options.direction]
        fronts: list[tuple[int, int, _Front]] = []
        for index, mask in sorted(self.masks.items()):
            if self.corrected is not None and index not in self.corrected:
                continue
            for way in directions:
                front = _Front(index, way, index + way, mask)
                if mask.any():
                    fronts.append((1, len(fronts) - 2 * len(self.masks), front))
                elif self._next_marked(front) is None:  # the object does not go on beyond this slice
                    self._drop_earlier(front)
        heapify(fronts)
        return fronts

    def _next_marked(self, front: _Front) -> int | None:
        """Return the next anchor ahead of a front that holds the object; None if there is none."""
        ahead = [index for index in self.marked if (index - front.index) * front.direction >= 0]
        return min(ahead, key=lambda index: abs(index - front.index)) if ahead else None

    def _nearest(self, front: _Front) -> bool:
        """Whether a front's slice is nearer to its own anchor than to the next one."""
        other = self._next_marked(front)
        return other is None or abs(front.index - front.anchor) <= abs(other - front.index)

    def _drop_earlier(self, front: _Front) -> None:
        """Remove earlier answers from a front onwards, up to the next anchor or half-way to one with the object."""
        while 0 <= front.index < len(self.planes) and front.index not in self.masks and self._nearest(front):
            self.earlier.pop(front.index, None)
            front = replace(front, index=front.index + front.direction)

    def _encode_ahead(self, fronts: list[tuple[int, int, _Front]], now: _Front) -> None:
        """Encode the slices that are probably needed next."""
        others = [front.index for _, _, front in sorted(fronts, key=lambda entry: entry[:2])]
        wanted = [now.index, *others, now.index + now.direction, now.index + 2 * now.direction]
        new = [at for at in dict.fromkeys(wanted) if 0 <= at < len(self.planes) and at not in self.masks]
        images = [self.planes.image(index) for index in new[: AHEAD + 1]]
        self.session.encode_ahead(images, self.planes.common_window, self.planes.pixel)

    def _answer(self, front: _Front) -> SliceAnswer:
        """Answer one slice and decide whether the object is still there."""
        session, planes, window = self.session, self.planes, self.planes.window_at(front.index)
        offset = self._offset(front.anchor)
        image, depth = self._see(front.index), self._expected(front)
        shape = depth > 0 if (depth > 0).any() else front.mask
        session.point_at(self._prompts(front.anchor, shape))
        answer = session.answer(offset + shapes.shape_evidence(depth, max(planes.step, *planes.pixel)))
        mask = connected(answer.mask, front.mask | shape)
        look = Look.of(image, mask, window)
        change = min(known.change(look) for known in self.looks) if mask.any() else 0.0
        area, alike = int(mask.sum()), overlap(mask, front.mask)
        growth, size = area / int(front.mask.sum()), area / self.largest
        ended = reason_to_end(self.options, score=answer.score, growth=growth, overlap=alike, size=size, change=change)
        figures = {"slice": front.index, "score": round(answer.score, 2)}
        kept = np.zeros_like(mask) if ended else mask
        return SliceAnswer(STAGE, 0, 0, figures, front.index, kept, answer.score, alike, ended)

    def _prompts(self, anchor: int, shape: np.ndarray) -> Prompts:
        """Return the prompts for a shape (rows, columns), with an anchor's own points outside."""
        given = self.prompts[anchor]
        outside = [point for point, positive in zip(given.points, given.positive, strict=True) if not positive]
        return mask_prompts(shape, self.planes.pixel, self.planes.step, outside)

    def _offset(self, anchor: int) -> float:
        """Return the log-odds that make the answer on an anchor as large as its mask: decoders paint too much."""
        if anchor not in self.offsets:
            mask = self.masks[anchor]
            where = shapes.around(mask)
            self.offsets[anchor] = 0.0
            if where.sum() > mask.sum():
                self._see(anchor)
                self.session.point_at(self._prompts(anchor, mask))
                self.offsets[anchor] = float(np.clip(self.session.offset(mask, where), -MOST_OFFSET, MOST_OFFSET))
        return self.offsets[anchor]

    def _see(self, index: int) -> np.ndarray:
        """Show a slice to the session and return it."""
        image = self.planes.image(index)
        self.session.set_image(image, self.planes.common_window, self.planes.pixel)
        return image

    def _expected(self, front: _Front) -> np.ndarray:
        """Return the distance to the edge expected on a front's slice: moved, and a step towards the next anchor."""
        planes, other = self.planes, self._next_marked(front)
        before, image = (
            brightness(planes.image(at), planes.window_at(at)) for at in (front.index - front.direction, front.index)
        )
        depth = shapes.moved(front.mask, before, image, planes.pixel)
        if other is None or not (self.marked[other] & front.mask).any():
            return depth
        share = 1 / (abs(other - front.index) + 1)
        return (1 - share) * depth + share * shapes.signed_distance(self.marked[other], planes.pixel)


def _vote(run: _Run) -> Generator[SliceAnswer, None, np.ndarray]:
    """Follow a finished run's object across the two other axes too; return the voxels on which two of three agree."""
    planes, votes = run.planes, run.object.astype(np.uint8)
    for axis in {0, 1, 2} - {planes.axis}:
        across = Planes(planes.volume, axis, planes.spacing, planes.window)
        sections = np.moveaxis(run.object, axis, 0)
        middle = int(sections.sum((1, 2)).argmax())
        run.session.set_image(across.image(middle), across.common_window, across.pixel)
        run.session.point_at(mask_prompts(sections[middle], across.pixel, across.step))
        answer = run.session.answer()
        seed = connected(answer.mask, sections[middle])
        other = _Run(run.session, across, {middle: Anchor(seed if seed.any() else sections[middle])}, run.options)
        for report in other.follow():
            run.done += 1
            yield replace(report, done=run.done, voting=True)
        votes += other.object
    agreed = np.moveaxis(votes >= 2, planes.axis, 0)
    for index in run.prompts:
        agreed[index] = run.masks[index]
    return np.moveaxis(agreed, 0, planes.axis)
