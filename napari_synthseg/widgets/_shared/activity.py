"""A job's line in napari's activity bar, with its cancel button.

napari handles pending events whenever a bar is given a text or a value. So bars are drawn from a timer, not from the
signals of a worker, whose handlers would otherwise run inside each other and in the wrong order.

The timer also sees when Qt has deleted the owner. Its signal `destroyed` is no way to hear of that: if Python's garbage
collector comes first it empties the function that is connected, and calling an empty function ends the process.
"""

from __future__ import annotations

from collections.abc import Callable

from napari.utils.progress import cancelable_progress
from qtpy.compat import isalive
from qtpy.QtCore import QCoreApplication, QObject, QTimer

from napari_synthseg.jobs import Progress

INTERVAL_MS = 100
BAR_FORMAT = "{l_bar}{bar}| {n_fmt}/{total_fmt}"  # short: napari puts what follows the bar before the cancel button


_open: set[Activity] = set()  # a line is held until it is closed: nobody else may have it when its owner is gone


class Activity:
    """One line in the activity bar, from its making to `close`, or until its owner is deleted.

    Args:
        title: stands before the stage.
        cancel: called soon after its cancel button is pressed.
        owner: whose work the line shows.
    """

    def __init__(self, title: str, cancel: Callable[[], None], owner: QObject) -> None:
        self._title = title
        self._owner = owner
        self._report: Progress | None = None
        self._drawing = False
        self._cancel = cancel
        self._bar: cancelable_progress | None = cancelable_progress(
            desc=title, total=0, leave=False, bar_format=BAR_FORMAT
        )
        self._timer = QTimer(QCoreApplication.instance())
        self._timer.timeout.connect(self._draw)
        self._timer.start(INTERVAL_MS)
        _open.add(self)

    def show(self, report: Progress) -> None:
        """Remember the latest report; it is drawn soon."""
        self._report = report

    def close(self) -> None:
        """Take the line away."""
        bar, self._bar = self._bar, None
        if bar is None:
            return
        _open.discard(self)
        if isalive(self._timer):
            self._timer.stop()
            self._timer.deleteLater()
        bar.close()

    def _draw(self) -> None:
        if not isalive(self._owner):  # another window shows the line too
            self.close()
            return
        if self._bar is not None and self._bar.is_canceled:
            self._cancel()
            return
        report, self._report = self._report, None
        if report is None or self._drawing:
            return
        self._drawing = True
        for draw in (self._draw_stage, self._draw_total, self._draw_done):
            if self._bar is not None:  # closed by an event that the last one let through
                draw(self._bar, report)
        self._drawing = False

    def _draw_stage(self, bar: cancelable_progress, report: Progress) -> None:
        bar.set_description(f"{self._title}: {report.stage}")

    def _draw_total(self, bar: cancelable_progress, report: Progress) -> None:
        if report.total != bar.total:
            bar.total = report.total

    def _draw_done(self, bar: cancelable_progress, report: Progress) -> None:
        bar.n = report.done
        bar.events.value(value=report.done)
