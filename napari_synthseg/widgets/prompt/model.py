"""The current object: prompts on any slices of an image, the voxels that answer them, their history. No Qt here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from napari_synthseg.prompting.prompts import Box, Prompts

if TYPE_CHECKING:
    from napari.layers import Image

    from napari_synthseg.widgets.prompt.engine import Way
    from napari_synthseg.widgets.prompt.pending import PendingLayers

Place = tuple[int | None, ...]
"""A slice of an array: an index for each axis, None for the two that the slice has, its rows and its columns."""


@dataclass(eq=False)
class Step:
    """One interaction.

    Attributes:
        place: the slice it was made on; None for one that concerns many slices.
        before: the prompts of the slices it changed, before it.
        after: the same, after it.
        flipped: flat indices of the voxels that it changed; each list holds every voxel once.
        answered: whether the voxels are known yet.
    """

    place: Place | None
    before: dict[Place, Prompts]
    after: dict[Place, Prompts]
    flipped: list[np.ndarray] = field(default_factory=list)
    answered: bool = False


class Draft:
    """One object on the grid of an image.

    Args:
        shape: of the image's array, without colour channels.

    Attributes:
        voxels: uint8 array of that shape, 1 where the object is. Changed in place.
        value: the label it replaces once it is accepted, if it is a structure that is being refined.
        carried: slices that it was followed to.
        accepted_steps: how many interactions it had when it was accepted last.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = tuple(shape)
        self.voxels = np.zeros(self.shape, np.uint8)
        self.value: int | None = None
        self.carried: set[Place] = set()
        self.accepted_steps = -1
        self._prompts: dict[Place, Prompts] = {}
        self._steps: list[Step] = []
        self._now = 0

    # What there is

    @property
    def steps(self) -> tuple[Step, ...]:
        """The interactions that count: what was taken back is not among them."""
        return tuple(self._steps[: self._now])

    @property
    def can_undo(self) -> bool:
        return self._now > 0

    @property
    def can_redo(self) -> bool:
        return self._now < len(self._steps)

    @property
    def empty(self) -> bool:
        """Whether there is no voxel."""
        return not self.voxels.any()

    @property
    def solid(self) -> bool:
        """Whether a slice may show what no prompt on it has made: the object was refined or followed through slices."""
        return any(step.place is None for step in self.steps)

    def prompts(self, place: Place) -> Prompts:
        """What was pointed at on a slice."""
        return self._prompts.get(place, Prompts())

    def prompted(self) -> tuple[Place, ...]:
        """The slices that were pointed at, those with points outside alone too."""
        return tuple(self._prompts)

    def marked(self, place: Place) -> bool:
        """Whether the user has said what is on a slice: with something found, or with points that it is not there."""
        prompts = self.prompts(place)
        found = bool(prompts.points or prompts.box) and bool(self.mask(place).any())
        return found or not all(prompts.positive)

    def mask(self, place: Place) -> np.ndarray:
        """The object on a slice: (rows, columns), bool."""
        return self.voxels[section(place)] != 0

    # What the user does

    def add_point(self, place: Place, position: tuple[float, float], positive: bool) -> Step:
        """Point at a (row, column) of a slice, inside the object or outside it; `answer` follows."""
        now = self._begun(place)
        return self._push(place, replace(now, points=(*now.points, position), positive=(*now.positive, bool(positive))))

    def add_box(self, place: Place, box: Box) -> Step:
        """Draw a box around the object on a slice, in place of an earlier one; `answer` follows."""
        return self._push(place, replace(self._begun(place), box=box))

    def take(self, mask: np.ndarray) -> Step:
        """Begin with what is there already: a mask of the whole image, bool."""
        step = self._many({})
        self._flip(step, np.flatnonzero(mask != (self.voxels != 0)))
        return step

    def clear(self) -> Step:
        """Forget all prompts and voxels; this too can be undone."""
        step = self._many({place: Prompts() for place in self._prompts})
        self._flip(step, np.flatnonzero(self.voxels))
        return step

    def begin_carrying(self) -> Step:
        """The object is about to be followed through slices; `carry` follows, any number of times."""
        return self._many({})

    # What answers

    def answer(self, step: Step, mask: np.ndarray) -> bool:
        """Take the mask (rows, columns) that answers a step; False if the step was taken back meanwhile."""
        if step not in self.steps or step.place is None:
            return False
        step.answered = True
        self._write(step, step.place, mask)
        return True

    def carry(self, step: Step, place: Place, mask: np.ndarray) -> bool:
        """Take the mask of a slice that the object was followed to; False if it does not count.

        A slice that the user has marked stays as it is.
        """
        if step not in self.steps or self.marked(place):
            return False
        self._write(step, place, mask)
        self.carried.add(place)
        return True

    # There and back

    def undo(self) -> Step | None:
        """Take the last interaction back; None if there is none."""
        if not self.can_undo:
            return None
        self._now -= 1
        step = self._steps[self._now]
        self._apply(step, step.before)
        return step

    def redo(self) -> Step | None:
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

    def put_aside(self) -> None:
        """Let go of the array once the object is accepted; the history stays and gives it back (`take_up`)."""
        self.accepted_steps = self._now
        self.voxels = np.zeros((0,) * len(self.shape), np.uint8)

    def take_up(self) -> None:
        """Make the array again from the history."""
        self.voxels = np.zeros(self.shape, np.uint8)
        for step in self.steps:
            self._toggle(step.flipped)

    # Inside

    def _begun(self, place: Place) -> Prompts:
        """The prompts of a slice; before the first, what other slices have made of it is what is to be repaired."""
        if place in self._prompts or not self.solid:
            return self.prompts(place)
        mask = self.mask(place)
        return Prompts(mask=mask if mask.any() else None)

    def _push(self, place: Place, prompts: Prompts) -> Step:
        return self._add(Step(place, {place: self.prompts(place)}, {place: prompts}))

    def _many(self, after: dict[Place, Prompts]) -> Step:
        before = {place: self.prompts(place) for place in after}
        return self._add(Step(None, before, after, answered=True))

    def _add(self, step: Step) -> Step:
        self._steps = [*self.steps, step]
        self._now = len(self._steps)
        self._set(step.after)
        return step

    def _apply(self, step: Step, prompts: dict[Place, Prompts]) -> None:
        self._set(prompts)
        self._toggle(step.flipped)

    def _set(self, prompts: dict[Place, Prompts]) -> None:
        for place, now in prompts.items():
            if now.points or now.box is not None:
                self._prompts[place] = now
            else:
                self._prompts.pop(place, None)

    def _write(self, step: Step, place: Place, mask: np.ndarray) -> None:
        """Make a slice what the mask says, and keep what that changed."""
        rows, columns = np.nonzero(self.mask(place) != (mask != 0))
        inside = iter((rows, columns))
        index = tuple(next(inside) if at is None else np.full(len(rows), at) for at in place)
        self._flip(step, np.ravel_multi_index(index, self.shape))

    def _flip(self, step: Step, flat: np.ndarray) -> None:
        if len(flat):
            step.flipped.append(flat)
            self._toggle([flat])

    def _toggle(self, flipped: Iterable[np.ndarray]) -> None:
        for flat in flipped:
            self.voxels.reshape(-1)[flat] ^= 1


def section(place: Place) -> tuple[int | slice, ...]:
    """A slice as an index of the array."""
    return tuple(slice(None) if at is None else at for at in place)


@dataclass(eq=False)
class Work:
    """The current object."""

    image: Image
    draft: Draft
    pending: PendingLayers


@dataclass(frozen=True, eq=False)
class Asked:
    """A step whose answer is awaited."""

    work: Work
    step: Step


@dataclass(frozen=True, eq=False)
class Following:
    """An object that is being followed through slices, and the step that what comes belongs to."""

    work: Work
    step: Step
    way: Way
