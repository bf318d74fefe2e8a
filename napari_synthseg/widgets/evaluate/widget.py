"""The *Evaluate* widget: two Labels layers in, a table of scores and a layer of errors out."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

import napari
import numpy as np
from napari.layers import Labels
from qtpy.compat import isalive
from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QKeySequence
from qtpy.QtWidgets import QCheckBox, QHBoxLayout, QLabel, QProgressBar, QPushButton, QShortcut, QVBoxLayout, QWidget

from napari_synthseg.jobs import Progress
from napari_synthseg.widgets._shared.choices import so_far
from napari_synthseg.widgets._shared.controls import Message, form_layout, set_tab_order
from napari_synthseg.widgets._shared.face import ScrolledFace
from napari_synthseg.widgets._shared.job import Job
from napari_synthseg.widgets._shared.layer_chooser import LayerChooser
from napari_synthseg.widgets._shared.memory import recall, remember
from napari_synthseg.widgets._shared.notices import complain
from napari_synthseg.widgets.evaluate.layers import error_layer, errors_of, is_errors
from napari_synthseg.widgets.evaluate.model import Outcome, compare_layers
from napari_synthseg.widgets.evaluate.results import FACE, Results
from napari_synthseg.widgets.layers.geometry import (
    copied_geometry,
    layer_problem,
    layer_scan,
    shown_volume,
    world_matrix,
)
from napari_synthseg.widgets.view.bar import ViewBar
from napari_synthseg.widgets.view.commands import bind_keys

if TYPE_CHECKING:
    from napari.components import ViewerModel

NO_LAYERS = "Open two label layers of one scan: a segmentation, and the labels it is measured by."
SAME = "Choose two different layers."


class LayerPair(QWidget):
    """Two choosers and a button that exchanges them.

    Args:
        viewer: whose layers are offered.
    """

    changed = Signal()

    def __init__(self, viewer: ViewerModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.pred = _chooser(viewer, self)
        self.pred.setToolTip("The labels to be measured, such as a result of Segment brain.")
        self.truth = _chooser(viewer, self)
        self.truth.setToolTip("The labels they are measured by, such as those drawn by hand.")
        self.swap = QPushButton("⇅")
        self.swap.setToolTip("Exchange the two.")
        self.swap.setAccessibleName("Exchange")
        self.swap.setFixedWidth(32)
        self.hint = Message()
        form = form_layout()
        for text, chooser in (("&Labels", self.pred), ("T&ruth", self.truth)):
            label = QLabel(text)
            label.setBuddy(chooser)
            form.addRow(label, chooser)
        row = QHBoxLayout()
        row.addLayout(form, 1)
        row.addWidget(self.swap)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(row)
        layout.addWidget(self.hint)
        self._counted = -1
        self._part()
        for chooser in (self.pred, self.truth):
            chooser.changed.connect(self._on_changed)
        self.swap.clicked.connect(lambda: self._on_swap())
        self._on_changed()

    def layers(self) -> tuple[Labels, Labels] | None:
        """The segmentation and the truth; None while they are not two layers that can be compared."""
        pred, truth = self.pred.layer(), self.truth.layer()
        if self.problem() is not None or not isinstance(pred, Labels) or not isinstance(truth, Labels):
            return None
        return pred, truth

    def problem(self) -> str | None:
        """Why nothing can be compared, in a sentence; None if it can."""
        pred, truth = self.pred.layer(), self.truth.layer()
        if pred is None or truth is None or self.truth.count() < 2:
            return NO_LAYERS
        if pred is truth:
            return SAME
        return layer_problem(pred) or layer_problem(truth)

    def _part(self) -> None:
        """Where both have the same layer and there are others: the newest against the one before it."""
        if self.truth.layer() is not self.pred.layer() or self.truth.count() < 2:
            return
        for place, chooser in enumerate((self.pred, self.truth)):
            chooser.blockSignals(True)
            chooser.setCurrentIndex(place)
            chooser.blockSignals(False)

    def _on_swap(self) -> None:
        pred, truth = self.pred.layer(), self.truth.layer()
        if pred is None or truth is None:
            return
        self.pred.set_layer(truth)
        self.truth.set_layer(pred)

    def _on_changed(self) -> None:
        if not isalive(self):  # Qt has deleted the widget; Python has not yet
            return
        if self._counted != (count := self.truth.count()):  # a layer came or went: nobody chose the same on purpose
            self._counted = count
            self._part()
        self.hint.say(self.problem() or "")
        self.changed.emit()


def _chooser(viewer: ViewerModel, parent: QWidget) -> LayerChooser:
    """It does not follow what is selected in the layer list: two of them would choose the same layer."""
    return LayerChooser(viewer, Labels, parent, lambda layer: not is_errors(layer), follows=lambda _: False)


DOING = "Evaluating"
RESAMPLED = "The labels were put on the voxels of the truth, which costs a little Dice."
CHANGED = "A layer was edited meanwhile; the scores are of what it was."

Steps = Callable[..., Generator[Progress, None, Outcome]]


class EvaluateWidget(ScrolledFace):
    """Collects two layers, compares them in a thread and shows what came of it.

    Args:
        napari_viewer: the viewer whose layers are offered.
        steps: gets the two layers' scans, yields `Progress`, returns an `Outcome`.
    """

    fresh_width = 350

    def __init__(self, napari_viewer: napari.viewer.Viewer, steps: Steps = compare_layers) -> None:
        super().__init__()
        self._viewer = napari_viewer
        self._steps = steps
        self._running: tuple[Labels, Labels] | None = None
        self._geometry: dict[str, Any] = {}
        self._voxel_mm3 = 1.0
        self._edited = False
        self._report = Progress("Starting")
        bind_keys(napari_viewer)
        self.job = Job(self)
        self._build()
        self.job.progressed.connect(self._on_progress)
        self.job.ticked.connect(self._on_tick)
        self.job.returned.connect(self._on_returned)
        self.job.failed.connect(self._on_failed)
        self.job.stopping.connect(self._show_state)
        self.job.stopped.connect(self._on_stopped)
        self._viewer.layers.events.removed.connect(self._on_layer_removed)
        self._show_state()

    def _build(self) -> None:
        self.pair = LayerPair(self._viewer, self)
        self.pair.changed.connect(self._show_state)
        self.errors = QCheckBox("Layer of &errors")
        self.errors.setToolTip("Add a layer of where they differ: missed, added, other label.")
        self.errors.setChecked(bool(recall(FACE).get("errors", True)))
        self.errors.toggled.connect(lambda on: remember(FACE, {"errors": on}))
        self.run = QPushButton("&Evaluate")
        self.run.setToolTip("Measure Dice, surface distances and volumes of every structure.")
        self.run.clicked.connect(lambda: self._on_run())
        self.progress = QProgressBar()
        self.progress.setTextVisible(False)
        self.cancel = QPushButton("&Cancel")
        self.cancel.setToolTip("Stop; what is shown stays. The Escape key does the same.")
        self.cancel.clicked.connect(lambda: self.job.stop())
        escape = QShortcut(QKeySequence(Qt.Key.Key_Escape), self)
        escape.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
        escape.activated.connect(self.job.stop)
        running = QHBoxLayout()
        running.addWidget(self.progress, 1)
        running.addWidget(self.cancel)
        self.status = Message(lines=1)
        self.results = Results(self._viewer, self)
        self.view = ViewBar(self._viewer, self)
        inner = QWidget()
        layout = QVBoxLayout(inner)
        layout.setContentsMargins(6, 6, 6, 6)
        for part in (self.pair, self.errors, self.run):
            layout.addWidget(part)
        layout.addLayout(running)
        layout.addWidget(self.status)
        layout.addWidget(self.results, 100)
        layout.addWidget(self.view)
        layout.addStretch(1)  # only of weight while there is no table
        self.show_inside(inner)
        set_tab_order(inner)

    # What the user does

    def _on_run(self) -> None:
        layers = self.pair.layers()
        if layers is None or self.job.running:
            return
        pred, truth = layers
        try:
            scans = [layer_scan(layer, self._shown(layer)) for layer in layers]
        except ValueError as error:
            self.status.say(complain(error, DOING))
            return
        self._running, self._edited = (pred, truth), False
        self._geometry = copied_geometry(truth)
        self._voxel_mm3 = float(abs(np.linalg.det(world_matrix(truth)[:3, :3])))
        for layer in layers:
            layer.events.data.connect(self._on_edited)
            layer.events.paint.connect(self._on_edited)
        self._report = Progress("Starting")
        self.job.start("Evaluate", self._steps, *scans)
        self.status.say(self._report.stage)
        self._show_state()

    def _shown(self, layer: Labels) -> int | None:
        return shown_volume(layer, self._viewer.dims) if layer.ndim == 4 else None

    def _on_layer_removed(self, event: Any) -> None:
        if not isalive(self):  # Qt has deleted the widget; Python has not yet
            return
        self.results.forget(event.value)
        if self._running is not None and event.value in self._running:
            self.job.stop()
        self._show_state()

    def _on_edited(self, event: Any = None) -> None:
        self._edited = True

    # What the job says

    def _on_progress(self, report: Progress) -> None:
        self.progress.setRange(0, report.total)
        self.progress.setValue(report.done)
        self._report = report
        self._on_tick(self.job.seconds)

    def _on_tick(self, seconds: float) -> None:
        self.status.say(so_far(self._report, seconds))

    def _on_returned(self, outcome: Outcome) -> None:
        pred, truth = self._end()
        if pred not in self._viewer.layers or truth not in self._viewer.layers:
            return
        notes = [*([RESAMPLED] if outcome.resampled else []), *outcome.notes]
        notes += [CHANGED] if self._edited else []
        self.results.let_go()
        errors = self._place_errors(outcome, pred, truth) if self.errors.isChecked() else None
        self.results.show_outcome(outcome, pred, truth, errors, " ".join(notes))

    def _place_errors(self, outcome: Outcome, pred: Labels, truth: Labels) -> Labels:
        """Add the layer of errors, in place of an earlier one of the same two layers."""
        earlier = errors_of(self._viewer.layers, pred, truth)
        layer = error_layer(outcome.errors.copy(), pred, truth, self._geometry, self._voxel_mm3)
        if earlier is not None:
            layer.name, layer.visible, layer.opacity = earlier.name, earlier.visible, earlier.opacity
            self._viewer.layers.remove(earlier)
        return self._viewer.add_layer(layer)

    def _on_failed(self, error: Exception) -> None:
        self._end()
        self.status.say(complain(error, DOING))

    def _on_stopped(self) -> None:
        self._end()
        self.status.say("Stopped.")

    def _end(self) -> tuple[Labels, Labels]:
        assert self._running is not None
        layers, self._running = self._running, None
        for layer in layers:
            layer.events.data.disconnect(self._on_edited)
            layer.events.paint.disconnect(self._on_edited)
        self.status.say("")
        self._show_state()
        return layers

    def _show_state(self) -> None:
        busy = self.job.running
        if busy and self.progress.isHidden():
            self.progress.setRange(0, 0)
        for part in (self.progress, self.cancel):
            part.setVisible(busy)
        self.pair.setEnabled(not busy)
        self.errors.setEnabled(not busy)
        self.run.setEnabled(not busy and self.pair.layers() is not None)

    def close_down(self) -> None:
        """Stop the job, and show what was hidden."""
        self.job.stop()
        self.results.show_all()
