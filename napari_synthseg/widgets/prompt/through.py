"""Following an object through slices: where it begins, and how progress and results are shown."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QObject

from napari_synthseg.errors import InputError
from napari_synthseg.prompting.prompts import Prompts
from napari_synthseg.widgets._shared.notices import complain
from napari_synthseg.widgets.prompt.engine import Question, Way
from napari_synthseg.widgets.prompt.model import Draft, Following, section
from napari_synthseg.widgets.prompt.planes import ShownSlice
from napari_synthseg.widgets.prompt.prompting import Prompting

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_synthseg.prompting.propagate import SliceAnswer


class Through(QObject):
    """Follows the current object."""

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
        """Follow the object through the slices of the view that is shown."""
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
        if not report.voting and token.work.draft.carry(token.step, token.way.place(report.index), report.mask):
            token.work.pending.show_outline()
            self._go_to(token, report.index)
        if report.voting:
            self._prompting.say(f"Across the other axes: {report.done} slices so far.")
            return
        if report.ended:
            self._ends.append(f"at slice {report.index}: {report.ended}")
        image, through = token.work.image, token.way.through
        total = int(image.data.shape[through]) - len(token.way.masks)
        most = token.way.options.get("most_slices")
        total = total if most is None else min(total, 2 * int(most))
        self._prompting.say(f"Through the slices: {report.done} of at most {total}, now slice {report.index}.")

    def _go_to(self, token: Following, index: int) -> None:
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
            draft, way = token.work.draft, token.way
            axis = [axis for axis, at in enumerate(way.volume) if at is None].index(way.through)
            for index, mask in enumerate(np.moveaxis(result, axis, 0)):
                draft.carry(token.step, way.place(index), mask)
            token.step.whole = True
            self._prompting.show(token.work)
        if result is None:
            end = "Stopped; the slices that came stay."
        else:
            end = f"It ends {'; '.join(self._ends)}." if self._ends else "Followed as far as was asked."
        self._prompting.say(f"{end} Correct any slice by clicks and follow again.")

    def _on_unfollowed(self, token: Following, error: Exception) -> None:
        self._prompting.say(complain(error, "Following through the slices"))
        self._prompting.changed.emit()


def way_of(draft: Draft, where: ShownSlice, question: Question, options: dict[str, Any]) -> Way:
    """From the slices that were pointed at in this view; where there is none, from the one that is shown.

    Raises:
        InputError: there are no slices, or nothing is marked.
    """
    here = where.index_of(where.place)
    if where.through is None or here is None:
        raise InputError("This image has no slices to follow an object through.")
    marked = {
        index: place
        for place in draft.prompted()
        if (index := where.index_of(place)) is not None and draft.marked(place)
    }
    prompts = {index: draft.prompts(place) for index, place in marked.items()}
    if not any(draft.mask(place).any() for place in marked.values()):
        if not draft.mask(where.place).any():
            raise InputError("Nothing of the object is on the slices of this view; click inside it on one of them.")
        marked[here], prompts[here] = where.place, Prompts()
    corrected = draft.corrected() or set()
    way = Way(
        question.picture,
        marked[min(marked, key=lambda index: abs(index - here))],
        where.through,
        {index: draft.mask(place) for index, place in marked.items()},
        prompts,
        question.model,
        question.device,
        options,
        corrected=tuple(index for index, place in marked.items() if place in corrected) or None,
    )
    return replace(way, known=draft.voxels[section(way.volume)] != 0)
