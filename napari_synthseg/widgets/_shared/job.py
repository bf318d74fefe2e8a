"""Run one job (a generator of `Progress`) in a worker thread and tell a widget about it on the main thread.

A job ends in exactly one of `returned`, `failed` or `stopped`. After `stop` nothing but `stopped` is emitted, within a
second: a thread that is then still busy is left to end by itself. A process that ends first ends its jobs, since Python
deletes Qt's objects then, also those whose signals a thread would use.

napari's activity bar shows the same progress. napari handles pending events whenever a bar is given a text or a value,
so bars are drawn from a timer, not from the signals of a worker, whose handlers would run inside each other. The timer
also sees when Qt has deleted the owner: connecting to its signal `destroyed` can end the process.
"""

from __future__ import annotations

import atexit
import logging
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any
from weakref import ref

from napari.qt.threading import GeneratorWorker, create_worker
from napari.utils.progress import cancelable_progress
from qtpy.compat import isalive
from qtpy.QtCore import QCoreApplication, QObject, QThreadPool, QTimer, Signal
from qtpy.QtWidgets import QApplication, QLabel, QStatusBar

from napari_synthseg.jobs import Progress, stoppable
from napari_synthseg.widgets._shared.controls import single_shot

INTERVAL_MS = 100
SPINNER_PERCENT = 20  # of its own speed, while a job runs
BAR_FORMAT = "{l_bar}{bar}| {n_fmt}/{total_fmt}"  # short: it stands before napari's cancel button


_open: set[Activity] = set()  # a line is held until it is closed: nobody else may have it when its owner is gone


class Activity:
    """One line in the activity bar, where it can be cancelled, until `close` or until its owner is deleted."""

    def __init__(self, title: str, cancel: Callable[[], None], owner: QObject) -> None:
        self._title = title
        self._owner = owner
        self.report: Progress | None = None
        self._drawing = False
        self._cancel = cancel
        self._bar: cancelable_progress | None = cancelable_progress(
            desc=title, total=0, leave=False, bar_format=BAR_FORMAT
        )
        self._timer = QTimer(QCoreApplication.instance())
        self._timer.timeout.connect(self._draw)
        self._timer.start(INTERVAL_MS)
        _open.add(self)
        _slow_spinners()

    def close(self) -> None:
        bar, self._bar = self._bar, None
        if bar is None:
            return
        _open.discard(self)
        if isalive(self._timer):
            self._timer.stop()
            self._timer.deleteLater()
        bar.close()
        _slow_spinners()

    def _draw(self) -> None:
        if not isalive(self._owner):  # another window shows the line too
            self.close()
            return
        if self._bar is not None and self._bar.is_canceled:
            self._cancel()
            return
        report, self.report = self.report, None
        if report is None or self._drawing:
            return
        self._drawing = True
        if (bar := self._bar) is not None:
            bar.set_description(f"{self._title}: {report.stage}")
        if (bar := self._bar) is not None and report.total != bar.total:  # else closed by an event that was let through
            bar.total = report.total
        if (bar := self._bar) is not None:
            bar.n = report.done
            bar.events.value(value=report.done)
        self._drawing = False


def _slow_spinners() -> None:
    """Let napari's spinner, of 25 frames a second, turn slowly while a line is open; see `controls._CalmBar`."""
    for status_bar in (bar for window in QApplication.topLevelWidgets() for bar in window.findChildren(QStatusBar)):
        for label in status_bar.findChildren(QLabel):
            if (movie := label.movie()) is not None:
                movie.setSpeed(SPINNER_PERCENT if _open else 100)


logger = logging.getLogger("napari_synthseg")

PATIENCE_MS = 800
"""How long a stopped job's thread is waited for."""
PATIENCE_AT_EXIT_MS = 10_000
"""Patience with threads at the end of the process; a network checks between its layers."""
TICK_MS = 1000
SPARE = 4
"""Threads that are free when a job starts."""


class Job(QObject):
    """At most one running job; a widget keeps one `Job` for its life.

    Args:
        parent: the job ends with it.
        slots: functions to connect to signals, by their names.
    """

    progressed = Signal(object)  # Progress
    ticked = Signal(object)  # the last Progress, every second until it ends or is asked to
    returned = Signal(object)  # the result
    failed = Signal(object)  # the exception
    stopping = Signal()  # asked to stop; `stopped` follows within a second
    stopped = Signal()

    def __init__(self, parent: QObject | None = None, **slots: Callable[..., Any]) -> None:
        super().__init__(parent)
        self._worker: _Worker | None = None
        self._activity: Activity | None = None
        self._stopping = False
        self._outcome: Any = None
        self._patience = single_shot(self, PATIENCE_MS, self._abandon)
        self._started = 0.0
        self._clock = QTimer(self)
        self._clock.timeout.connect(lambda: self.ticked.emit(self._report))
        for name, slot in slots.items():
            getattr(self, name).connect(slot)

    @property
    def running(self) -> bool:
        return self._worker is not None

    @property
    def seconds(self) -> float:
        """How long ago the job was started; 0 while none runs."""
        return time.monotonic() - self._started if self.running else 0.0

    def start(self, title: str, function: Callable[..., Generator[Progress, None, Any]], *args: Any) -> None:
        """Run `function(*args)` in a thread.

        Args:
            title: shown in napari's activity bar; empty for a short job that has no line there.
            function: returns the job; it is called in the thread, so it may import slow modules.

        Raises:
            RuntimeError: if a job is running.
        """
        if self.running:
            raise RuntimeError("A job is running; stop it or wait for it.")
        self._stopping, self._outcome, self._report = False, None, Progress("Starting")
        self._activity = Activity(title, self.stop, self) if title else None
        # Weak: napari keeps each worker for good, a log the frames of an error, and they this function.
        stop, owner = threading.Event(), ref(self)

        def should_stop() -> bool:
            return stop.is_set() or not _is_there(owner)

        worker = create_worker(_drive, should_stop, function, args, _worker_class=_Worker, _ignore_errors=True)
        worker.stop_event, worker.owner = stop, owner
        worker.yielded.connect(self._on_yielded)
        worker.returned.connect(self._on_returned)
        worker.finished.connect(self._on_finished)
        self._worker = worker
        self._started = time.monotonic()
        self._clock.start(TICK_MS)
        _have_a_thread()
        _at_work.add(worker)
        worker.start()

    def stop(self) -> None:
        """Ask the job to end at its next report; from now on it can only be `stopped`."""
        if self._worker is None or self._stopping:
            return
        self._stopping = True
        self._clock.stop()
        self._worker.quit()
        self._close_activity()  # now: a window that closes does not wait for the thread
        self._patience.start()
        self.stopping.emit()

    def _on_yielded(self, report: Progress) -> None:
        if self._stopping:
            return
        self._report = report
        if self._activity is not None:
            self._activity.report = report
        self.progressed.emit(report)

    def _on_returned(self, outcome: Any) -> None:
        self._outcome = outcome

    def _abandon(self) -> None:
        """Stop waiting for a thread that does not end."""
        worker = self._worker
        if worker is None:
            return
        worker.yielded.disconnect(self._on_yielded)
        worker.returned.disconnect(self._on_returned)
        worker.finished.disconnect(self._on_finished)
        self._on_finished()

    def _on_finished(self) -> None:
        self._patience.stop()
        self._clock.stop()
        outcome, stopped = self._outcome, self._stopping
        if self._worker is not None:
            stopped |= self._worker.abort_requested  # napari ends the workers of a window that closes
        self._worker, self._outcome, self._stopping = None, None, False
        self._close_activity()
        if stopped:
            self.stopped.emit()
        elif isinstance(outcome, _Failure):
            self.failed.emit(outcome.error)
        else:
            self.returned.emit(outcome)

    def _close_activity(self) -> None:
        if self._activity is not None:
            self._activity.close()
            self._activity = None


@atexit.register  # after Qt was imported, so it comes before Python deletes Qt's objects
def _end_all() -> None:
    """Ask the threads of all jobs to end, and wait for them."""
    workers = list(_at_work)
    for worker in workers:
        worker.quit()
    pool = QThreadPool.globalInstance() if workers else None
    if pool is not None:
        pool.waitForDone(PATIENCE_AT_EXIT_MS)


def _have_a_thread() -> None:
    """Let the pool grow: it has a thread a core, and jobs that run, or are left to end alone, may have them all."""
    pool = QThreadPool.globalInstance()
    assert pool is not None
    pool.setMaxThreadCount(max(pool.maxThreadCount(), pool.activeThreadCount() + SPARE))


@dataclass(frozen=True)
class _Failure:
    error: Exception


class _Worker(GeneratorWorker):
    """A generator worker that closes its generator in its own thread and writes Python warnings to the log.

    Attributes:
        stop_event: set by whoever ends the worker, so that the job hears of it in the middle of a step.
        owner: the worker ends when Qt has deleted it. (Not by its signal `destroyed`, see `Activity`.)
    """

    stop_event: threading.Event
    owner: ref[QObject]

    @property
    def abort_requested(self) -> bool:
        return super().abort_requested or not _is_there(self.owner)

    def quit(self) -> None:
        self.stop_event.set()
        super().quit()

    def run(self) -> None:
        try:
            super().run()
        except RuntimeError:
            if isalive(self.signals):
                raise
            logger.debug("A job ended after Qt.")  # an error that left this method would end the process
        finally:
            _at_work.discard(self)

    def work(self) -> Any:
        try:
            found = super().work()
        finally:
            self._gen.close()
        return found if isalive(self.signals) else None  # else it is the error that they were not

    def _relay_warning(self, show_warning_args: tuple) -> None:
        logger.info("%s", show_warning_args[0])


_at_work: set[_Worker] = set()


def _is_there(owner: ref[QObject]) -> bool:
    """Tell whether neither Python nor Qt, with a window, has deleted the owner."""
    found = owner()
    return found is not None and isalive(found)


def _drive(
    should_stop: Callable[[], bool], function: Callable[..., Generator[Progress, None, Any]], args: tuple[Any, ...]
) -> Generator[Progress, None, Any]:
    yield Progress("Starting")
    try:
        with stoppable(should_stop):
            return (yield from function(*args))
    except Exception as error:  # handed to the main thread, which tells the user
        return _Failure(error)
