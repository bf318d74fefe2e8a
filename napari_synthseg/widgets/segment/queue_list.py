"""The list of a queue's runs: what waits, runs, is done or failed, each with a button that cancels it."""

from __future__ import annotations

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QFrame, QHBoxLayout, QLabel, QScrollArea, QSizePolicy, QToolButton, QVBoxLayout, QWidget
from superqt import QElidingLabel

from napari_synthseg.widgets.segment.queue import (
    DONE,
    FAILED,
    OPEN_STATES,
    RUNNING,
    STOPPED,
    STOPPING,
    WAITING,
    Run,
    SegmentQueue,
)

SIGNS = {WAITING: "·", RUNNING: "▸", STOPPING: "▸", DONE: "✓", FAILED: "!", STOPPED: "–"}
SHOWN_ROWS = 5


class QueueList(QScrollArea):
    """One row for each run; hidden while there is only one."""

    rebuilt = Signal()  # there are other rows

    def __init__(self, queue: SegmentQueue, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._queue = queue
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.rows: list[QueueRow] = []
        inner = QWidget()
        self._rows = QVBoxLayout(inner)
        self._rows.setContentsMargins(0, 0, 0, 0)
        self._rows.setSpacing(0)
        self.setWidget(inner)
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setAccessibleName("Queue")
        queue.changed.connect(self.refresh)
        self.refresh()

    def refresh(self) -> None:
        """Show the runs as they are now."""
        if [row.run for row in self.rows] != self._queue.runs:
            self._rebuild()
        for row in self.rows:
            row.refresh()
        self.setVisible(len(self.rows) > 1)

    def _rebuild(self) -> None:
        for row in self.rows:
            row.deleteLater()
            self._rows.removeWidget(row)
        self.rows = [QueueRow(run, self._queue) for run in self._queue.runs]
        for row in self.rows:
            self._rows.addWidget(row)
        if self.rows:
            self.setFixedHeight(self.rows[0].sizeHint().height() * min(len(self.rows), SHOWN_ROWS) + 2)
        self.rebuilt.emit()


class QueueRow(QWidget):
    """A sign, the scan's name, the state in a word, and a button that cancels."""

    def __init__(self, run: Run, queue: SegmentQueue) -> None:
        super().__init__()
        self.run = run
        self.sign = QLabel()
        self.sign.setFixedWidth(14)
        self.name = QElidingLabel()
        self.name.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.state = QLabel()
        self.cancel = QToolButton()
        self.cancel.setText("✕")
        self.cancel.setAutoRaise(True)
        self.cancel.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.cancel.setToolTip("Cancel this one; the others go on.")
        self.cancel.clicked.connect(lambda: queue.stop(run))
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(4)
        row.addWidget(self.sign)
        row.addWidget(self.name, 1)
        row.addWidget(self.state)
        row.addWidget(self.cancel)

    def refresh(self) -> None:
        """Show the run's state."""
        run = self.run
        name = run.layer.name if run.index is None else f"{run.layer.name} volume {run.index}"
        self.sign.setText("⚠" if run.warnings else SIGNS[run.state])
        self.name.setText(name)
        self.state.setText(f"{run.state}, {run.seconds:.0f} s" if run.state == DONE else run.state)
        self.cancel.setEnabled(run.state in (WAITING, RUNNING))
        self.cancel.setAccessibleName(f"Cancel {name}")
        self.setToolTip("\n".join((f"{name}: {run.note or run.state}", *run.warnings)))


def open_runs(queue: SegmentQueue) -> int:
    """How many runs have not ended."""
    return sum(run.state in OPEN_STATES for run in queue.runs)
