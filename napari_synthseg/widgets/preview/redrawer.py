"""Redraws that follow a user's changes: the newest request wins, and an older one that still runs is stopped."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

from qtpy.QtCore import QObject, QTimer, Signal

from napari_synthseg.jobs import Progress
from napari_synthseg.widgets._shared.job import Job
from napari_synthseg.widgets.preview.pictures import PICTURE

WAIT_MS = 150
"""How long a change waits for the next one."""


class Redrawer(QObject):
    """Runs the latest request in a thread; `pictured` brings the quick look, then the full size.

    A request is a function that gives a job: it yields `Progress`, with a `picture` among its figures where there is
    one to show, and returns the last picture.
    """

    pictured = Signal(object)
    staged = Signal(str)
    finished = Signal()
    failed = Signal(object)
    busy = Signal(bool)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._waiting: tuple[Callable[..., Generator[Progress, None, Any]], tuple[Any, ...]] | None = None
        self._job = Job(self)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._start)
        self._job.progressed.connect(self._on_progressed)
        self._job.returned.connect(self._on_returned)
        self._job.failed.connect(self._on_failed)
        self._job.stopped.connect(self._on_stopped)

    @property
    def running(self) -> bool:
        """Whether something is drawn or waits to be."""
        return self._waiting is not None or self._job.running

    def request(
        self, function: Callable[..., Generator[Progress, None, Any]], *args: Any, wait_ms: int = WAIT_MS
    ) -> None:
        """Draw this soon, in place of whatever is being drawn."""
        self._waiting = (function, args)
        self._job.stop()
        self._timer.start(wait_ms)
        self.busy.emit(True)

    def stop(self) -> None:
        """Draw nothing more."""
        self._waiting = None
        self._timer.stop()
        self._job.stop()
        if not self._job.running:
            self.busy.emit(False)

    def _start(self) -> None:
        if self._waiting is None or self._job.running or self._timer.isActive():
            return  # `_on_stopped` comes back here
        (function, args), self._waiting = self._waiting, None
        self._job.start("", function, *args)

    def _on_progressed(self, report: Progress) -> None:
        if self._waiting is not None:
            return
        self.staged.emit(report.stage)
        if PICTURE in report.figures:
            self.pictured.emit(report.figures[PICTURE])

    def _on_returned(self, picture: Any) -> None:
        if self._waiting is not None:
            self._start()
            return
        if picture is not None:
            self.pictured.emit(picture)
        self.busy.emit(False)
        self.finished.emit()

    def _on_failed(self, error: Exception) -> None:
        if self._waiting is not None:
            self._start()
            return
        self.busy.emit(False)
        self.failed.emit(error)

    def _on_stopped(self) -> None:
        if self._waiting is not None:
            self._start()
            return
        self.busy.emit(False)
