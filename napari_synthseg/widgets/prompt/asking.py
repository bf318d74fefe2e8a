"""Questions in worker threads: clicks are answered in turn, and an object is followed through slices."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QObject, Signal

from napari_synthseg.errors import InputError
from napari_synthseg.prompting.prompts import Prompts
from napari_synthseg.widgets._shared.job import Job
from napari_synthseg.widgets._shared.user import complain
from napari_synthseg.widgets.prompt.engine import Engine, Question, Way
from napari_synthseg.widgets.prompt.model import Draft, Following, section
from napari_synthseg.widgets.prompt.pointing import ShownSlice

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_synthseg.widgets.prompt.prompting import Prompting


class Asker(QObject):
    """Asks an engine; every answer comes back with the token that came with its question.

    Clicks are answered in their order; `Through` follows an object through slices beside that, in a thread of its own.
    """

    answered = Signal(object, object)  # token, Answer
    failed = Signal(object)  # the exception; what waited is dropped
    staged = Signal(str)  # what is done for the question at work
    idle = Signal()  # nothing waits any more

    def __init__(self, engine: Engine, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.engine = engine
        self._waiting: deque[tuple[Any, Question]] = deque()
        self._prepare: Question | None = None
        self.token: Any = None
        self._job = Job(
            self,
            progressed=lambda report: self.staged.emit(report.stage),
            returned=self._on_returned,
            failed=self._on_failed,
            stopped=self._next,
        )
        self.destroyed.connect(engine.close)  # by Qt, with its window

    @property
    def waiting(self) -> int:
        return len(self._waiting) + (self.token is not None)

    def ask(self, token: Any, question: Question) -> None:
        self._prepare = None
        self._waiting.append((token, question))
        self._next()

    def prepare(self, question: Question) -> None:
        self._prepare = question
        self._next()

    def drop(self, among: Callable[[Any], bool]) -> None:
        """Do not ask what has not begun, of the tokens for which that holds."""
        self._waiting = deque(one for one in self._waiting if not among(one[0]))

    def close(self) -> None:
        self._waiting.clear()
        self._prepare = None
        self._job.stop()
        self.engine.close()

    def _next(self) -> None:
        if self._job.running:
            return
        self.token = None
        if self._waiting:
            self.token, question = self._waiting.popleft()
            self._job.start("", self.engine.answer, question)
        elif self._prepare is not None:
            question, self._prepare = self._prepare, None
            self._job.start("", self.engine.prepare, question)
        else:
            self.idle.emit()

    def _on_returned(self, answer: Any) -> None:
        token, self.token = self.token, None
        if token is not None:
            self.answered.emit(token, answer)
        self._next()

    def _on_failed(self, error: Exception) -> None:
        self._waiting.clear()
        self._prepare = None
        self.token = None
        self.failed.emit(error)
        self.idle.emit()


class Through(QObject):
    """Follows the current object through slices; what came before it is stopped stays."""

    def __init__(self, viewer: ViewerModel, prompting: Prompting, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._viewer, self._prompting = viewer, prompting
        self._ends: list[str] = []
        self._at: float | None = None  # where the view was moved to last
        self.token: Following | None = None
        self._job = Job(
            self,
            progressed=self._on_sliced,
            returned=self._on_followed,
            failed=lambda error: prompting.say(complain(error, "Following through the slices")),
            stopped=lambda: self._on_followed(None),
        )
        self._job.failed.connect(lambda _: prompting.changed.emit())
        self.stop = self._job.stop

    @property
    def running(self) -> bool:
        return self._job.running

    def stop_for(self, among: Callable[[Following], bool]) -> None:
        """Stop if that holds for what is followed."""
        if self.running and self.token is not None and among(self.token):
            self.stop()

    def follow(self, options: dict[str, Any]) -> None:
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
        self.token = Following(work, work.draft.begin_carrying(), way)
        self._job.start("Through the slices", prompting.asker.engine.follow, way)
        prompting.say("Through the slices…")
        prompting.changed.emit()

    def _on_sliced(self, report: Any) -> None:
        token = self.token
        if token is None or token.work not in self._prompting.works or not hasattr(report, "mask"):
            return
        if not report.voting and token.work.draft.carry(token.step, token.way.place(report.index), report.mask):
            token.work.show_outline()
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

    def _on_followed(self, result: np.ndarray | None) -> None:
        token = self.token
        self._prompting.changed.emit()
        if token is None or token.work not in self._prompting.works:
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
