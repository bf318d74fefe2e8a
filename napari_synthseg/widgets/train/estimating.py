"""The *Estimate* button and what it found: time and memory of a run, measured by a few steps of each stage."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QFrame, QGridLayout, QLabel, QProgressBar, QPushButton, QVBoxLayout, QWidget

from napari_synthseg.jobs import Progress
from napari_synthseg.widgets._shared.controls import Message
from napari_synthseg.widgets._shared.job import Job
from napari_synthseg.widgets._shared.notices import complain
from napari_synthseg.widgets.train.request import Request, try_out
from napari_synthseg.widgets.train.words import duration, pace

ESTIMATE, STOP = "&Estimate", "Stop &estimate"


class EstimatePanel(QFrame):
    """Shows nothing until an estimate is under way.

    Attributes:
        button: starts and stops it; placed by the page.
    """

    measured = Signal(object)  # training.runs.Estimate

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setFrameShape(QFrame.Shape.StyledPanel)
        self.button = QPushButton(ESTIMATE)
        self.button.setToolTip("Try a few steps of each stage in the background: how long will it take, in how much?")
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setFixedHeight(8)
        self.words = Message()
        self._grid = QGridLayout()
        self._grid.setHorizontalSpacing(10)
        self._grid.setVerticalSpacing(2)
        self._possible = False
        self._kept = False
        self._job = Job(self)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 4, 6, 4)
        layout.addWidget(self.bar)
        layout.addWidget(self.words)
        layout.addLayout(self._grid)
        self._job.progressed.connect(self._on_progress)
        self._job.returned.connect(self._on_returned)
        self._job.failed.connect(self._on_failed)
        self._job.stopped.connect(self._on_stopped)
        self.hide()

    @property
    def running(self) -> bool:
        """Whether steps are being tried."""
        return self._job.running

    def begin(self, request: Request) -> None:
        """Try a run that is not made yet."""
        self._clear()
        self.bar.setRange(0, 0)
        self.bar.show()
        self.show()
        self.words.say("Trying a few steps…")
        self._job.start("Estimate", try_out, request)
        self._show_button()

    def stop(self) -> None:
        """End the trial."""
        self._job.stop()

    def forget(self) -> None:
        """Other options are chosen: what was found holds no more."""
        if not self.running and not self._kept:
            self.hide()

    def keep(self, change: Callable[[], None]) -> None:
        """Change options because of what was found, which stays in sight."""
        self._kept = True
        change()
        self._kept = False

    def set_possible(self, possible: bool) -> None:
        """Whether there is something to estimate."""
        self._possible = possible
        self._show_button()

    def _show_button(self) -> None:
        self.button.setText(STOP if self.running else ESTIMATE)
        self.button.setEnabled(self._possible or self.running)

    def _on_progress(self, report: Progress) -> None:
        self.bar.setRange(0, report.total)
        self.bar.setValue(report.done)
        self.words.say(f"Trying a few steps: {report.stage}")

    def _on_returned(self, found: Any) -> None:
        self._end(found.sentence)
        self._show_table(found)
        self.measured.emit(found)

    def _on_failed(self, error: Exception) -> None:
        self._end(complain(error, "Estimating"))

    def _on_stopped(self) -> None:
        self._end("Stopped; nothing was estimated.")

    def _end(self, words: str) -> None:
        self.bar.hide()
        self.words.say(words)
        self._show_button()

    def _show_table(self, found: Any) -> None:
        rows = [("", "a step", "a validation")]
        for stage, seconds in found.seconds_per_step.items():
            check = found.validation_seconds.get(stage)
            rows.append((stage, pace(1 / seconds) if seconds else "", duration(check) if check else "–"))
        for row, texts in enumerate(rows):
            for column, text in enumerate(texts):
                label = QLabel(text)
                label.setEnabled(bool(row and column))  # the rest is softer
                label.setAlignment(Qt.AlignmentFlag.AlignLeft if not column else Qt.AlignmentFlag.AlignRight)
                self._grid.addWidget(label, row, column)

    def _clear(self) -> None:
        while (item := self._grid.takeAt(0)) is not None:
            part = item.widget()
            if part is not None:
                part.deleteLater()
