"""The current object: prompts on any slices of an image, the voxels that answer them, their history. No Qt here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from napari_synthseg.prompting.prompts import Box, Point, Prompts, with_lasso, with_scribble

if TYPE_CHECKING:
    from napari_synthseg.widgets.prompt.engine import Way
    from napari_synthseg.widgets.prompt.pending import Work

Place = tuple[int | None, ...]
"""A slice of an array: an index for each axis, None for the two that the slice has, its rows and its columns."""


@dataclass(eq=False)
class Interaction:
    """One change of a draft, which can be undone."""

    place: Place | None
    """The slice it was made on; None if it concerns many slices."""
    before: dict[Place, Prompts]
    """Prompts of the slices it changed, before it."""
    after: dict[Place, Prompts]
    """The same, after it."""
    flipped: list[np.ndarray] = field(default_factory=list)
    """Flat indices of the voxels that it changed; each array holds a voxel once."""
    answered: bool = False
    """Whether its voxels are known yet."""
    whole: bool = False
    """Whether it left a whole object: one that was taken, or propagated to its ends."""


class Draft:
    """One object on the grid of an image.

    Args:
        shape: of the image's array, without colour channels.

    Attributes:
        voxels: uint8 array of that shape, 1 where the object is. Changed in place.
        value: the label it replaces once it is accepted, if it is a structure that is being refined.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = tuple(shape)
        self.voxels = np.zeros(self.shape, np.uint8)
        self.value: int | None = None
        self._prompts: dict[Place, Prompts] = {}
        self._steps: list[Interaction] = []
        self._now = 0

    # What there is

    @property
    def steps(self) -> tuple[Interaction, ...]:
        """The interactions that count: what was taken back is not among them."""
        return tuple(self._steps[: self._now])

    @property
    def can_undo(self) -> bool:
        return self._now > 0

    @property
    def can_redo(self) -> bool:
        return self._now < len(self._steps)

    @property
    def solid(self) -> bool:
        """Whether a slice may show what no prompt on it has made: the object was refined or followed through slices."""
        return any(step.place is None for step in self.steps)

    def prompts(self, place: Place) -> Prompts:
        return self._prompts.get(place, Prompts())

    def prompted(self) -> tuple[Place, ...]:
        """The slices that were pointed at, those with points outside alone too."""
        return tuple(self._prompts)

    def marked(self, place: Place) -> bool:
        """Whether the user has said what is on a slice: with something found, or with points that it is not there."""
        prompts = self.prompts(place)
        found = bool(prompts.points or prompts.box) and bool(self.mask(place).any())
        return found or not all(prompts.positive)

    def corrected(self) -> set[Place] | None:
        """The slices that were pointed at since the object was whole; None if it never was."""
        places: set[Place] = set()
        for step in reversed(self.steps):
            if step.place is None:
                return places if step.whole else None
            places.add(step.place)
        return None

    def mask(self, place: Place) -> np.ndarray:
        return self.voxels[section(place)] != 0

    # What the user does

    def add_point(self, place: Place, position: tuple[float, float], positive: bool) -> Interaction:
        """Point at a (row, column) of a slice, inside the object or outside it; `answer` follows."""
        now = self._begun(place)
        return self._push(place, replace(now, points=(*now.points, position), positive=(*now.positive, bool(positive))))

    def add_box(self, place: Place, box: Box) -> Interaction:
        return self._push(place, replace(self._begun(place), box=box))

    def draw(self, place: Place, tool: str, path: Sequence[Point], positive: bool) -> Interaction:
        """Draw a scribble or a lasso on a slice, inside the object or outside it; `answer` follows."""
        now = self._begun(place)
        if tool == "scribble":
            return self._push(place, with_scribble(now, path, positive))
        rows, columns = self.mask(place).shape
        return self._push(place, with_lasso(now, path, positive, (rows, columns)))

    def take(self, mask: np.ndarray) -> Interaction:
        """Begin with what is there already: a mask of the whole image, bool."""
        step = self._many({})
        step.whole = True
        self._flip(step, np.flatnonzero(mask != (self.voxels != 0)))
        return step

    def clear(self) -> Interaction:
        """Forget all prompts and voxels; this too can be undone."""
        step = self._many({place: Prompts() for place in self._prompts})
        self._flip(step, np.flatnonzero(self.voxels))
        return step

    def begin_carrying(self) -> Interaction:
        """The object is about to be followed through slices; `carry` follows, any number of times."""
        return self._many({})

    # What answers

    def answer(self, step: Interaction, mask: np.ndarray) -> bool:
        """Take the mask (rows, columns) that answers a step; False if the step was taken back meanwhile."""
        if step not in self.steps or step.place is None:
            return False
        step.answered = True
        self._write(step, step.place, mask)
        return True

    def carry(self, step: Interaction, place: Place, mask: np.ndarray) -> bool:
        """Take the mask of a slice that the object was followed to; False if it does not count.

        A slice that the user has marked stays as it is.
        """
        if step not in self.steps or self.marked(place):
            return False
        self._write(step, place, mask)
        return True

    # There and back

    def undo(self) -> Interaction | None:
        """Take the last interaction back; None if there is none."""
        if not self.can_undo:
            return None
        self._now -= 1
        step = self._steps[self._now]
        self._apply(step, step.before)
        return step

    def redo(self) -> Interaction | None:
        """Do again what was taken back; None if there is nothing. A step without an answer has to be asked again."""
        if not self.can_redo:
            return None
        step = self._steps[self._now]
        self._now += 1
        self._apply(step, step.after)
        return step

    def drop_unanswered(self) -> None:
        """Forget the steps that will never be answered, since answering failed."""
        while self.can_undo and not self._steps[self._now - 1].answered:
            self.undo()
        del self._steps[self._now :]

    # Inside

    def _begun(self, place: Place) -> Prompts:
        """The prompts of a slice; before the first, what other slices have made of it is what is to be repaired."""
        if place in self._prompts or not self.solid:
            return self.prompts(place)
        mask = self.mask(place)
        return Prompts(mask=mask if mask.any() else None)

    def _push(self, place: Place, prompts: Prompts) -> Interaction:
        return self._add(Interaction(place, {place: self.prompts(place)}, {place: prompts}))

    def _many(self, after: dict[Place, Prompts]) -> Interaction:
        before = {place: self.prompts(place) for place in after}
        return self._add(Interaction(None, before, after, answered=True))

    def _add(self, step: Interaction) -> Interaction:
        self._steps = [*self.steps, step]
        self._now = len(self._steps)
        self._set(step.after)
        return step

    def _apply(self, step: Interaction, prompts: dict[Place, Prompts]) -> None:
        self._set(prompts)
        self._toggle(step.flipped)

    def _set(self, prompts: dict[Place, Prompts]) -> None:
        for place, now in prompts.items():
            if now.points or now.box is not None:
                self._prompts[place] = now
            else:
                self._prompts.pop(place, None)

    def _write(self, step: Interaction, place: Place, mask: np.ndarray) -> None:
        rows, columns = np.nonzero(self.mask(place) != (mask != 0))
        inside = iter((rows, columns))
        index = tuple(next(inside) if at is None else np.full(len(rows), at) for at in place)
        self._flip(step, np.ravel_multi_index(index, self.shape))

    def _flip(self, step: Interaction, flat: np.ndarray) -> None:
        if len(flat):
            step.flipped.append(flat)
            self._toggle([flat])

    def _toggle(self, flipped: Iterable[np.ndarray]) -> None:
        for flat in flipped:
            self.voxels.reshape(-1)[flat] ^= 1


def section(place: Place) -> tuple[int | slice, ...]:
    return tuple(slice(None) if at is None else at for at in place)


@dataclass(frozen=True, eq=False)
class Asked:
    """A step whose answer is awaited."""

    work: Work
    step: Interaction


@dataclass(frozen=True, eq=False)
class Following:
    """An object that is being followed through slices, and the step that what comes belongs to."""

    work: Work
    step: Interaction
    way: Way
