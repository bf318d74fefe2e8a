"""The *Evaluate* widget: two Labels layers in, a table of scores and a layer of errors out."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

import napari
from napari.layers import Labels
from qtpy.compat import isalive
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QWidget

from napari_synthseg.jobs import Progress
from napari_synthseg.widgets._shared.choices import so_far
from napari_synthseg.widgets._shared.controls import (
    Message,
    ProgressRow,
    button,
    check_box,
    column,
    form_layout,
    listen,
    row,
)
from napari_synthseg.widgets._shared.face import ScrolledFace
from napari_synthseg.widgets._shared.job import Job
from napari_synthseg.widgets._shared.layer_chooser import LayerChooser
from napari_synthseg.widgets._shared.user import complain, recall, remember
from napari_synthseg.widgets.evaluate.model import LayerComparison, compare_layers, error_layer, errors_of, is_errors
from napari_synthseg.widgets.evaluate.results import FACE, Results
from napari_synthseg.widgets.layers.geometry import connect_edits, copied_geometry, layer_problem, shown_scan, voxel_mm3
from napari_synthseg.widgets.view.bar import ViewBar

if TYPE_CHECKING:
    from napari.components import ViewerModel

NO_LAYERS = "Open two label layers of one scan: a segmentation, and the labels it is measured by."
SAME = "Choose two different layers."
DOING = "Evaluating"
RESAMPLED = "The labels were resampled to the voxels of the truth, which costs a little Dice."
CHANGED = "A layer was edited meanwhile; the scores are of the labels before."

Steps = Callable[..., Generator[Progress, None, LayerComparison]]


class LabelsPair(QWidget):
    """Two choosers and a button that exchanges them."""

    changed = Signal()

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__()
        self.pred = _chooser(viewer, "The labels to be measured, such as a result of Segment brain.")
        self.truth = _chooser(viewer, "The labels they are measured by, such as those drawn by hand.")
        self.swap = button("⇅", "Exchange the two.", self._on_swap, name="Exchange", width=32)
        self.hint = Message()
        form = form_layout()
        form.addRow("&Labels", self.pred)
        form.addRow("T&ruth", self.truth)
        column(row((form, 1), self.swap), self.hint, parent=self)
        self._counted = -1
        for chooser in (self.pred, self.truth):
            chooser.changed.connect(self._on_changed)
        self._on_changed()

    def layers(self) -> tuple[Labels, Labels] | None:
        pred, truth = self.pred.layer(), self.truth.layer()
        return (pred, truth) if self.problem() is None else None

    def problem(self) -> str | None:
        pred, truth = self.pred.layer(), self.truth.layer()
        if pred is None or truth is None or self.truth.count() < 2:
            return NO_LAYERS
        return SAME if pred is truth else layer_problem(pred) or layer_problem(truth)

    def _part(self) -> None:
        """If both have the same layer and there are others: the newest against the one before it."""
        if self.truth.layer() is self.pred.layer() and self.truth.count() > 1:
            self.pred.setCurrentIndex(0)
            self.truth.setCurrentIndex(1)

    def _on_swap(self) -> None:
        pred, truth = self.pred.layer(), self.truth.layer()
        self.pred.set_layer(truth)
        self.truth.set_layer(pred)

    def _on_changed(self) -> None:
        if not isalive(self):
            return
        if self._counted != (count := self.truth.count()):  # a layer came or went: nobody chose the same on purpose
            self._counted = count
            self._part()
        self.hint.say(self.problem() or "")
        self.changed.emit()


def _chooser(viewer: ViewerModel, tip: str) -> LayerChooser:
    """Make a chooser that does not follow the layer list, where two of them would choose the same layer."""
    return LayerChooser(viewer, Labels, lambda layer: not is_errors(layer), follows=lambda _: False, tip=tip)


class EvaluateWidget(ScrolledFace):
    """Compares two layers in a thread, by `steps` that end with a `LayerComparison`, and shows the scores."""

    fresh_width = 350

    def __init__(self, napari_viewer: napari.viewer.Viewer, steps: Steps = compare_layers) -> None:
        super().__init__()
        self._viewer = napari_viewer
        self._steps = steps
        self._running: tuple[Labels, Labels] | None = None
        self._geometry: dict[str, Any] = {}
        self._voxel_mm3 = 1.0
        self._edited = False
        self.job = Job(
            self,
            progressed=self._on_progress,
            ticked=self._on_tick,
            returned=self._on_returned,
            failed=lambda error: self._end(complain(error, DOING)),
            stopped=lambda: self._end("Stopped."),
        )
        self._build()
        self.job.stopping.connect(self._show_state)
        listen(self, EvaluateWidget._on_layer_removed, napari_viewer.layers.events.removed)
        self._show_state()

    def _build(self) -> None:
        self.pair = LabelsPair(self._viewer)
        self.pair.changed.connect(self._show_state)
        tip = "Add a layer of where they differ: missed, added, other label."
        self.errors = check_box("Layer of &errors", tip, bool(recall(FACE).get("errors", True)))
        self.errors.toggled.connect(lambda on: remember(FACE, {"errors": on}))
        tip = "Measure Dice, surface distances and volumes of every structure."
        self.run = button("&Evaluate", tip, self._on_run)
        self._progress = ProgressRow(self, self.job.stop, "Stop; the results stay.")
        self.progress, self.cancel = self._progress.bar, self._progress.cancel
        self.status = Message(lines=1)
        self.results = Results(self._viewer)
        self.view = ViewBar(self._viewer, self)
        parts = (self.pair, self.errors, self.run, self._progress, self.status, (self.results, 100), self.view, None)
        self.show_inside(*parts)  # the empty space is only of weight without a table

    def _on_run(self) -> None:
        layers = self.pair.layers()
        if layers is None or self.job.running:
            return
        try:
            scans = [shown_scan(layer, self._viewer.dims) for layer in layers]
        except ValueError as error:
            self.status.say(complain(error, DOING))
            return
        self._running, self._edited = layers, False
        self._geometry = copied_geometry(layers[1])
        self._voxel_mm3 = voxel_mm3(layers[1])
        for layer in layers:
            connect_edits(layer, self._on_edited)
        self._report = Progress("Starting")
        self.job.start("Evaluate", self._steps, *scans)
        self.status.say(self._report.stage)
        self._show_state()

    def _on_layer_removed(self, event: Any) -> None:
        self.results.forget(event.value)
        if self._running is not None and event.value in self._running:
            self.job.stop()
        self._show_state()

    def _on_edited(self, event: Any = None) -> None:
        self._edited = True

    def _on_progress(self, report: Progress) -> None:
        self._progress.show_report(report)
        self._report = report
        self._on_tick(self.job.seconds)

    def _on_tick(self, seconds: float) -> None:
        self.status.say(so_far(self._report, seconds))

    def _on_returned(self, outcome: LayerComparison) -> None:
        pred, truth = self._end("")
        if pred not in self._viewer.layers or truth not in self._viewer.layers:
            return
        notes = [*([RESAMPLED] if outcome.resampled else []), *outcome.notes, *([CHANGED] if self._edited else [])]
        self.results.let_go()
        errors = self._place_errors(outcome, pred, truth) if self.errors.isChecked() else None
        self.results.show_outcome(outcome, pred, truth, errors, " ".join(notes))

    def _place_errors(self, outcome: LayerComparison, pred: Labels, truth: Labels) -> Labels:
        """Add the layer of errors, in place of an earlier one of the same two layers."""
        earlier = errors_of(self._viewer.layers, pred, truth)
        layer = error_layer(outcome.errors.copy(), pred, truth, self._geometry, self._voxel_mm3)
        if earlier is not None:
            layer.name, layer.visible, layer.opacity = earlier.name, earlier.visible, earlier.opacity
            self._viewer.layers.remove(earlier)
        return self._viewer.add_layer(layer)

    def _end(self, words: str) -> tuple[Labels, Labels]:
        assert self._running is not None
        layers, self._running = self._running, None
        for layer in layers:
            connect_edits(layer, self._on_edited, False)
        self.status.say(words)
        self._show_state()
        return layers

    def _show_state(self) -> None:
        busy = self.job.running
        self._progress.set_running(busy)
        self.pair.setEnabled(not busy)
        self.errors.setEnabled(not busy)
        self.run.setEnabled(not busy and self.pair.layers() is not None)

    def close_down(self) -> None:
        self.job.stop()
        self.results.show_all()
