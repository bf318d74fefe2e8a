"""Following an object through slices: where it begins, what an earlier result left behind, what is said and shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QObject

from napari_synthseg.errors import InputError
from napari_synthseg.prompting.prompts import Prompts
from napari_synthseg.widgets._shared.notices import complain
from napari_synthseg.widgets.prompt.engine import Question, Way
from napari_synthseg.widgets.prompt.model import Draft, Following, Place
from napari_synthseg.widgets.prompt.planes import Shown
from napari_synthseg.widgets.prompt.prompting import Prompting

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_synthseg.prompting.propagate import SliceAnswer


class Through(QObject):
    """Follows the current object.

    Args:
        viewer: goes along.
        prompting: what makes it.
    """

    def __init__(self, viewer: ViewerModel, prompting: Prompting, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._viewer, self._prompting, self._asker = viewer, prompting, prompting.asker
        self._ends: list[str] = []
        self._at: float | None = None  # where the view was moved to last
        self._asker.sliced.connect(self._on_sliced)
        self._asker.followed.connect(self._on_followed)
        self._asker.unfollowed.connect(self._on_unfollowed)

    @property
    def running(self) -> bool:
        """Whether an object is being followed."""
        return self._asker.following

    def stop(self) -> None:
        """What came so far stays."""
        self._asker.stop_following()

    def follow(self, options: dict[str, Any]) -> None:
        """Follow the object through the slices of the view that is shown.

        Args:
            options: fields of `PropagateOptions`.
        """
        prompting = self._prompting
        found = prompting.ready() if prompting.begun else None
        if found is None or self.running:
            return
        work, where = found
        try:
            way = way_of(work.draft, where, prompting.question(work, where.place), options)
        except InputError as error:
            prompting.say(str(error))
            return
        self._ends, self._at = [], None
        self._asker.follow(Following(work, work.draft.begin_carrying(), way), way)
        prompting.say("Through the slices…")
        prompting.changed.emit()

    def _on_sliced(self, token: Following, report: SliceAnswer) -> None:
        if token.work not in self._prompting.works:
            return
        if token.work.draft.carry(token.step, token.way.place(report.index), report.mask):
            token.work.pending.show_outline()
            self._go_to(token, report.index)
        if report.ended:
            self._ends.append(f"at slice {report.index}: {report.ended}")
        image, through = token.work.image, token.way.through
        total = int(image.data.shape[through]) - len(token.way.masks)
        most = token.way.options.get("most_slices")
        total = total if most is None else min(total, 2 * int(most))
        self._prompting.say(f"Through the slices: {report.done} of at most {total}, now slice {report.index}.")

    def _go_to(self, token: Following, index: int) -> None:
        """Move the view to a slice that was answered, as long as the user does not move it."""
        image, dims = token.work.image, self._viewer.dims
        axis = dims.ndim - image.ndim + token.way.through
        if axis not in dims.not_displayed or (self._at is not None and dims.point[axis] != self._at):
            return
        middle = [0 if at is None else at for at in token.way.place(index)]
        dims.set_point(axis, float(image.data_to_world(middle)[token.way.through]))
        self._at = dims.point[axis]

    def _on_followed(self, token: Following, result: np.ndarray | None) -> None:
        self._prompting.changed.emit()
        if token.work not in self._prompting.works:
            return
        if result is not None:
            draft = token.work.draft
            for place in stale_places(draft, token.way, result):
                draft.carry(token.step, place, np.zeros_like(draft.mask(place)))
            self._prompting.show(token.work)
        if result is None:
            end = "Stopped; the slices that came stay."
        else:
            end = f"It ends {'; '.join(self._ends)}." if self._ends else "Followed as far as was asked."
        self._prompting.say(f"{end} Correct any slice by clicks and follow again.")

    def _on_unfollowed(self, token: Following, error: Exception) -> None:
        self._prompting.say(complain(error, "Following through the slices"))
        self._prompting.changed.emit()


def way_of(draft: Draft, where: Shown, question: Question, options: dict[str, Any]) -> Way:
    """From the slices that were pointed at in this view; where there is none, from the one that is shown.

    Args:
        draft: the object.
        where: the slice that is shown.
        question: about this slice: the image and the model.
        options: fields of `PropagateOptions`.

    Raises:
        InputError: there are no slices, or nothing is marked.
    """
    if where.through is None:
        raise InputError("This image has no slices to follow an object through.")
    beside = [place for place in draft.prompted() if _beside(place, where) and draft.marked(place)]
    marked = {place: draft.prompts(place) for place in beside}
    if not any(draft.mask(place).any() for place in marked) and draft.mask(where.place).any():
        marked[where.place] = Prompts()
    if not any(draft.mask(place).any() for place in marked):
        raise InputError("Nothing of the object is on the slices of this view; click inside it on one of them.")
    here = [place for place in marked if place == where.place]
    start = (here or sorted(marked, key=lambda place: abs(_index(place, where) - _index(where.place, where))))[0]
    return Way(
        question.picture,
        start,
        where.through,
        {_index(place, where): draft.mask(place) for place in marked},
        {_index(place, where): prompts for place, prompts in marked.items()},
        question.model,
        question.device,
        options,
    )


def stale_places(draft: Draft, way: Way, result: np.ndarray) -> list[Place]:
    """Slices that an earlier run has filled and this one, which was to pass there, has not.

    Args:
        draft: the object.
        way: of this run.
        result: what it returned, with the slices across one of its three axes.
    """
    if way.options.get("most_slices") is not None:
        return []
    fixed = [axis for axis, at in enumerate(way.start) if at is None or axis == way.through]
    across = tuple(number for number, axis in enumerate(fixed) if axis != way.through)
    filled = set(np.flatnonzero(result.any(axis=across)).tolist())
    lowest, highest, direction = min(way.masks), max(way.masks), way.options.get("direction", "both")
    stale = []
    for place in draft.carried:
        index = place[way.through]
        if index is None or way.place(index) != place or index in filled:
            continue
        passed = {"both": True, "up": index > lowest, "down": index < highest}[direction]
        if passed and draft.mask(place).any():
            stale.append(place)
    return stale


def _beside(place: Place, where: Shown) -> bool:
    """Whether a slice differs from the one that is shown in its number alone."""
    return all(
        at == there if axis != where.through else at is not None
        for axis, (at, there) in enumerate(zip(place, where.place, strict=True))
    )


def _index(place: Place, where: Shown) -> int:
    index = place[where.through] if where.through is not None else None
    assert index is not None
    return index
