"""Questions wait in a line and are answered one after another in a worker thread; the window goes on meanwhile."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QObject, Signal

from napari_synthseg.jobs import Progress
from napari_synthseg.widgets._shared.job import Job
from napari_synthseg.widgets.prompt.engine import Engine, Question, Way

FOLLOWING = "Through the slices"


class Asker(QObject):
    """Asks an engine; every answer comes back with the token that came with its question.

    Clicks are answered in their order. An object is followed through slices beside that, in a thread of its own.
    """

    answered = Signal(object, object)  # token, Answer
    failed = Signal(object)  # the exception; what waited is dropped
    staged = Signal(str)  # what is done for the question at work
    idle = Signal()  # nothing waits any more
    sliced = Signal(object, object)  # token, SliceAnswer
    followed = Signal(object, object)  # token, the object; None if it was stopped
    unfollowed = Signal(object, object)  # token, the exception

    def __init__(self, engine: Engine, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.engine = engine
        self._waiting: deque[tuple[Any, Question]] = deque()
        self._prepare: Question | None = None
        self.token: Any = None
        self.way: Any = None
        self._job, self._following = Job(self), Job(self)
        self._job.progressed.connect(self._on_progressed)
        self._job.returned.connect(self._on_returned)
        self._job.failed.connect(self._on_failed)
        self._job.stopped.connect(self._next)
        self._following.progressed.connect(self._on_slice)
        self._following.returned.connect(lambda result: self.followed.emit(self.way, result))
        self._following.failed.connect(lambda error: self.unfollowed.emit(self.way, error))
        self.destroyed.connect(engine.close)  # by Qt, with its window
        self._following.stopped.connect(lambda: self.followed.emit(self.way, None))

    @property
    def waiting(self) -> int:
        return len(self._waiting) + (self.token is not None)

    @property
    def following(self) -> bool:
        return self._following.running

    def ask(self, token: Any, question: Question) -> None:
        self._prepare = None
        self._waiting.append((token, question))
        self._next()

    def prepare(self, question: Question) -> None:
        """Have a slice encoded when there is nothing else to do; the latest wish counts."""
        self._prepare = question
        self._next()

    def drop(self, among: Callable[[Any], bool]) -> None:
        """Do not ask what has not begun, of the tokens for which that holds."""
        self._waiting = deque(one for one in self._waiting if not among(one[0]))

    def follow(self, token: Any, way: Way) -> None:
        """Follow an object; one at a time."""
        self.way = token
        self._following.start(FOLLOWING, self.engine.follow, way)

    def stop_following(self) -> None:
        """What came so far stays."""
        self._following.stop()

    def close(self) -> None:
        """Ask nothing more and let go of the model."""
        self._waiting.clear()
        self._prepare = None
        self._job.stop()
        self._following.stop()
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

    def _on_progressed(self, report: Progress) -> None:
        self.staged.emit(report.stage)

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

    def _on_slice(self, report: Progress) -> None:
        if hasattr(report, "mask"):
            self.sliced.emit(self.way, report)
