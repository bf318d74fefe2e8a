"""A job's line in napari's activity bar, with its cancel button.

napari handles pending events whenever a bar is given a text or a value. So bars are drawn from a timer, not from the
signals of a worker, whose handlers would otherwise run inside each other and in the wrong order.
"""

from __future__ import annotations

from collections.abc import Callable

from napari.utils.progress import cancelable_progress
from qtpy.QtCore import QObject, QTimer

from napari_synthseg.progress import Progress

INTERVAL_MS = 100
BAR_FORMAT = "{l_bar}{bar}| {n_fmt}/{total_fmt}"  # short: napari puts what follows the bar before the cancel button


class Activity(QObject):
    """One line in the activity bar, from its making to `close`.

    Args:
        title: stands before the stage.
        cancel: called soon after its cancel button is pressed.
    """

    def __init__(self, title: str, cancel: Callable[[], None], parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._title = title
        self._report: Progress | None = None
        self._drawing = False
        self._cancel = cancel
        bar = cancelable_progress(desc=title, total=0, leave=False, bar_format=BAR_FORMAT)
        self._bar: cancelable_progress | None = bar
        self.destroyed.connect(lambda: QTimer.singleShot(0, bar.close))  # another window shows the line too
        self._timer = QTimer(self)
        self._timer.timeout.connect(self._draw)
        self._timer.start(INTERVAL_MS)

    def show(self, report: Progress) -> None:
        """Remember the latest report; it is drawn soon."""
        self._report = report

    def close(self) -> None:
        """Take the line away."""
        self._timer.stop()
        bar, self._bar = self._bar, None
        if bar is not None:
            bar.close()

    def _draw(self) -> None:
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
