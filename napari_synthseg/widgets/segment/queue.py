"""Several scans segmented one after another, and the list of them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Qt, Signal
from qtpy.QtWidgets import QFrame

from napari_synthseg.jobs import Progress
from napari_synthseg.widgets._shared.job import Job
from napari_synthseg.widgets._shared.table import Column, Table
from napari_synthseg.widgets.layers.geometry import layer_scan
from napari_synthseg.widgets.segment.model import SegmentedLayer, Steps, segment_scan

if TYPE_CHECKING:
    from napari.layers import Labels, Layer

WAITING, RUNNING, STOPPING, DONE, FAILED, STOPPED = "waiting", "running", "stopping", "done", "failed", "cancelled"
OPEN_STATES = (WAITING, RUNNING, STOPPING)


@dataclass(eq=False)
class Run:
    """One scan to segment."""

    layer: Layer
    options: dict[str, Any]
    """Fields of `SegmentOptions`."""
    index: int | None = None
    """Of the volume, if the layer is a series."""
    result: Labels | None = None
    """The layer that came of it."""
    state: str = WAITING
    note: str = ""
    """Why it ended."""
    warnings: tuple[str, ...] = ()
    """Implausible results."""
    poor: bool = False
    """Whether the segmentation has probably failed."""
    seconds: float = 0.0
    started: float = 0.0

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.started

    @property
    def name(self) -> str:
        return self.layer.name if self.index is None else f"{self.layer.name} volume {self.index}"


class SegmentQueue(QObject):
    """Runs that follow one another; each ends in exactly one of `finished`, `failed` or `stopped`, then `changed`."""

    changed = Signal()  # a run was added, or its state is another
    progressed = Signal(object, object)  # the run, Progress; again every second, with its `elapsed`
    finished = Signal(object, object)  # the run, SegmentedLayer
    failed = Signal(object, object)  # the run, the exception
    stopped = Signal(object)  # the run

    def __init__(self, steps: Steps, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._steps = steps
        self._job = Job(
            self,
            progressed=self._on_progressed,
            ticked=self._on_progressed,
            returned=self._on_returned,
            failed=self._on_failed,
            stopped=self._on_stopped,
        )
        self.current: Run | None = None
        self.runs: list[Run] = []

    @property
    def open(self) -> int:
        return sum(run.state in OPEN_STATES for run in self.runs)

    @property
    def busy(self) -> bool:
        return self._job.running or self.open > 0

    def add(self, runs: list[Run]) -> None:
        """Append runs; ended ones are forgotten if nothing is under way."""
        if not self.busy:
            self.runs = []
        self.runs += runs
        self.changed.emit()
        self._next()

    def stop(self, run: Run) -> None:
        if run is self.current:
            run.state = STOPPING
            self._job.stop()
        elif run.state == WAITING:
            run.state = STOPPED
            self.stopped.emit(run)
        self.changed.emit()

    def stop_all(self) -> None:
        for run in reversed(self.runs):  # waiting ones first, so that none starts in between
            self.stop(run)

    def stop_layer(self, layer: Layer) -> None:
        """End the runs of a removed layer, and forget ended ones, which hold its voxels."""
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
            self.current = run
            self._on_failed(error)
            return
        run.started, run.state, self.current = time.monotonic(), RUNNING, run
        title = "Segment brain" if len(self.runs) == 1 else f"Segment brain, {run.layer.name}"
        self._job.start(title, segment_scan, scan, run.options, self._steps)
        self.changed.emit()

    def _end(self, state: str, note: str = "") -> Run:
        assert self.current is not None
        run, self.current = self.current, None
        run.state, run.note, run.seconds = state, run.note or note, run.elapsed
        return run

    def _on_progressed(self, report: Progress) -> None:
        self.progressed.emit(self.current, report)

    def _on_returned(self, outcome: SegmentedLayer) -> None:
        run = self._end(DONE)
        run.warnings = tuple(outcome.segmentation.warnings)
        rating = getattr(outcome.segmentation, "qc_rating", None)
        run.poor = rating is not None and rating.failed
        self.finished.emit(run, outcome)
        self._go_on()

    def _on_failed(self, error: Exception) -> None:
        self.failed.emit(self._end(FAILED, str(error)), error)
        self._go_on()

    def _on_stopped(self) -> None:
        self.stopped.emit(self._end(STOPPED))
        self._go_on()

    def _go_on(self) -> None:
        self._next()
        self.changed.emit()


SIGNS = {WAITING: "·", RUNNING: "▸", STOPPING: "▸", DONE: "✓", FAILED: "!", STOPPED: "–"}
SHOWN_ROWS = 5
CANCEL = 3
"""Column whose cells are buttons."""


class QueueList(Table):
    """One row for each run; hidden while there is only one. A click on ✕ cancels a run."""

    def __init__(self, queue: SegmentQueue) -> None:
        super().__init__("Queue", names=1, tip=_tip)
        self._queue = queue
        self.horizontalHeader().hide()
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.clicked.connect(lambda index: index.column() == CANCEL and queue.stop(self.row_at(index)))
        queue.changed.connect(self.show_queue)
        self.show_queue()

    def show_queue(self) -> None:
        if self.rows == self._queue.runs:
            self.refresh()
        else:
            self.show_rows(self._queue.runs, _COLUMNS)
            self.fit_height(SHOWN_ROWS)
        self.setVisible(len(self.rows) > 1)


_COLUMNS = (
    Column("", "", lambda run: "⚠" if run.warnings else SIGNS[run.state], widest="⚠", number=False),
    Column("Scan", "", lambda run: run.name, number=False),
    Column("State", "", lambda run: f"{run.state}, {run.seconds:.0f} s" if run.state == DONE else run.state,
           widest="done, 1000 s", number=False),
    Column("", "", lambda run: "✕" if run.state in (WAITING, RUNNING) else "", widest="✕", number=False),
)  # fmt: skip


def _tip(run: Run) -> str:
    hint = ("Click ✕ to cancel this one; the others continue.",) if run.state in (WAITING, RUNNING) else ()
    return "\n".join((f"{run.name}: {run.note or run.state}", *run.warnings, *hint))
