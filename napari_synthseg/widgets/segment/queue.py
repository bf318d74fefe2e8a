"""Several scans segmented one after another: what waits, what runs, how each ended, and the list that shows it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Qt, Signal
from qtpy.QtWidgets import QFrame, QHBoxLayout, QLabel, QScrollArea, QSizePolicy, QToolButton, QVBoxLayout, QWidget
from superqt import QElidingLabel

from napari_synthseg.jobs import Progress
from napari_synthseg.widgets._shared.job import Job
from napari_synthseg.widgets.layers.geometry import copied_geometry, layer_scan
from napari_synthseg.widgets.segment.model import Outcome, Steps, segment_scan

if TYPE_CHECKING:
    from napari.layers import Layer

WAITING, RUNNING, STOPPING, DONE, FAILED, STOPPED = "waiting", "running", "stopping", "done", "failed", "cancelled"
OPEN_STATES = (WAITING, RUNNING, STOPPING)


@dataclass(eq=False)
class Run:
    """One scan to segment.

    Attributes:
        layer: the scan's layer.
        options: fields of `SegmentOptions`.
        index: of the volume, where the layer is a series.
        wanted: what the run is for, where it is not for new labels.
        state: one of the states above.
        note: why it ended as it did.
        warnings: what looked implausible.
        poor: whether the segmentation has probably failed.
        seconds: how long it took.
        geometry: where the layer lay when the run started.
    """

    layer: Layer
    options: dict[str, Any]
    index: int | None = None
    wanted: Any = None
    state: str = WAITING
    note: str = ""
    warnings: tuple[str, ...] = ()
    poor: bool = False
    seconds: float = 0.0
    geometry: dict[str, Any] = field(default_factory=dict)
    _data: Any = None
    _started: float = 0.0

    @property
    def elapsed(self) -> float:
        """Seconds since it was started."""
        return time.monotonic() - self._started

    @property
    def data_changed(self) -> bool:
        """Whether the layer's data was replaced since the run started."""
        return self.layer.data is not self._data


class SegmentQueue(QObject):
    """Runs that follow one another; each ends in exactly one of `finished`, `failed` or `stopped`, then `changed`."""

    changed = Signal()  # a run was added, or its state is another
    progressed = Signal(object, object)  # the run, Progress; again every second, with its `elapsed`
    finished = Signal(object, object)  # the run, Outcome
    failed = Signal(object, object)  # the run, the exception
    stopped = Signal(object)  # the run

    def __init__(self, steps: Steps, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._steps = steps
        self._job = Job(self)
        self._current: Run | None = None
        self.runs: list[Run] = []
        self._report: Progress | None = None
        self._job.progressed.connect(self._on_progressed)
        self._job.ticked.connect(lambda _: self._on_progressed(self._report))
        self._job.returned.connect(self._on_returned)
        self._job.failed.connect(self._on_failed)
        self._job.stopped.connect(self._on_stopped)

    @property
    def busy(self) -> bool:
        """Whether a run waits, runs or is being stopped."""
        return self._job.running or any(run.state in OPEN_STATES for run in self.runs)

    @property
    def current(self) -> Run | None:
        """The run at work."""
        return self._current

    def add(self, runs: list[Run]) -> None:
        """Append runs; those that ended before are forgotten when nothing is under way."""
        if not self.busy:
            self.runs = []
        self.runs += runs
        self.changed.emit()
        self._next()

    def stop(self, run: Run) -> None:
        """End one run, or take it out of those that wait."""
        if run is self._current:
            run.state = STOPPING
            self._job.stop()
        elif run.state == WAITING:
            run.state = STOPPED
            self.stopped.emit(run)
        self.changed.emit()

    def stop_all(self) -> None:
        """End what runs and what waits."""
        for run in reversed(self.runs):  # what waits first, so that nothing starts in between
            self.stop(run)

    def stop_layer(self, layer: Layer) -> None:
        """End the runs of a layer that is no longer there, and let go of those that ended: they hold its voxels."""
        self.runs = [run for run in self.runs if run.layer is not layer or run.state in OPEN_STATES]
        for run in reversed(self.runs):
            if run.layer is layer and run.state in OPEN_STATES:
                run.note = "its layer was removed"
                self.stop(run)
        self.changed.emit()

    def _next(self) -> None:
        if self._job.running:
            return
        run = next((one for one in self.runs if one.state == WAITING), None)
        if run is None:
            return
        try:
            scan = layer_scan(run.layer, run.index)
        except ValueError as error:
            self._end(run, FAILED, str(error))
            self.failed.emit(run, error)
            self.changed.emit()
            self._next()
            return
        run.geometry, run._data, run._started = copied_geometry(run.layer), run.layer.data, time.monotonic()
        run.state, self._current, self._report = RUNNING, run, None
        title = "Segment brain" if len(self.runs) == 1 else f"Segment brain, {run.layer.name}"
        self._job.start(title, segment_scan, scan, run.options, self._steps)
        self.changed.emit()

    def _end(self, run: Run, state: str, note: str = "") -> None:
        run.state, run.note = state, run.note or note
        run.seconds = run.elapsed
        run._data = None
        self._current = None

    def _on_progressed(self, report: Progress | None) -> None:
        self._report = report
        if self._current is not None and report is not None:
            self.progressed.emit(self._current, report)

    def _on_returned(self, outcome: Outcome) -> None:
        run = self._current
        if run is not None:
            moved = run.data_changed
            self._end(run, DONE)
            run.warnings = tuple(outcome.segmentation.warnings)
            rating = getattr(outcome.segmentation, "qc_rating", None)
            run.poor = rating is not None and rating.failed
            if not moved:
                run.geometry = {}
            self.finished.emit(run, outcome)
        self._go_on()

    def _on_failed(self, error: Exception) -> None:
        run = self._current
        if run is not None:
            self._end(run, FAILED, str(error))
            self.failed.emit(run, error)
        self._go_on()

    def _on_stopped(self) -> None:
        run = self._current
        if run is not None:
            self._end(run, STOPPED)
            self.stopped.emit(run)
        self._go_on()

    def _go_on(self) -> None:
        self._next()
        self.changed.emit()


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
