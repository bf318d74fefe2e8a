"""The *Evaluate* widget: two Labels layers in, a table of scores and a layer of errors out."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

import napari
import numpy as np
from napari.layers import Labels
from qtpy.compat import isalive
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QLabel, QWidget

from napari_synthseg import anatomy
from napari_synthseg.jobs import Progress
from napari_synthseg.widgets._shared.choices import so_far
from napari_synthseg.widgets._shared.choosers import LayerChooser
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
from napari_synthseg.widgets._shared.table import Column, Table, number_text, sortable
from napari_synthseg.widgets._shared.user import ask_for_file, complain, recall, remember, save_lines
from napari_synthseg.widgets.evaluate import model
from napari_synthseg.widgets.layers.geometry import connect_edits, copied_geometry, layer_problem, shown_scan, voxel_mm3
from napari_synthseg.widgets.layers.labels_layer import names_of, rgb
from napari_synthseg.widgets.view.bar import ViewBar
from napari_synthseg.widgets.view.view import look_at

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

FACE = "evaluate"
EDITED = "Edited since it was evaluated; evaluate again."
GONE = "The layer of the truth was removed: there is no place to go to."
TOO_FLAT = "The viewer shows fewer than three dimensions; nothing to go to."
MOST_PERCENT = 999
"""Larger differences are shown as ">999"."""


class Results(QWidget):
    """Hidden until there is something to show; a click in the table moves the viewer."""

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__()
        self._viewer = viewer
        self._outcome: model.LayerComparison | None = None
        self._pair: list[Labels] = []  # the segmentation and the truth, as long as they live
        self._truth: Labels | None = None
        self._errors: Labels | None = None
        self.title = QLabel()
        self.title.setWordWrap(True)
        self.means, self.note = Message(), Message(warning=True)
        self.table = Table("Scores", searched=lambda r: r.searched, tip=_tip, names=0, least="■■ L Inf-Lat-Vent")
        self.table.setMinimumHeight(150)
        self.table.setToolTip("Click a structure to go to the slice in which it is worst; click a header to sort.")
        self.filter = self.table.filter_line("Keep the structures with these words in their name, side or label.")
        self.legend = QLabel()
        self.legend.setTextFormat(Qt.TextFormat.RichText)
        self.legend.setToolTip("Colors of the layer of errors.")
        self.copy = button("Copy", "Copy the selected rows, or all, for a spreadsheet (Ctrl+C).", self.table.copy)
        self.save = button("&Save…", "Save all scores and volumes, a row a structure, as TSV or CSV.", self._on_save)
        column(
            *(self.title, self.means, self.note, self.filter, (self.table, 1), self.legend),
            row((self.copy, 1), (self.save, 1)),
            parent=self,
        )
        self.table.picked.connect(lambda row, _: self.go_to(row.value))
        self.table.confirmed.connect(lambda rows: self.go_to(rows[0].value))
        self.hide()

    def show_outcome(
        self, outcome: model.LayerComparison, pred: Labels, truth: Labels, errors: Labels | None = None, note: str = ""
    ) -> None:
        self.let_go()
        self._outcome, self._pair, self._truth, self._errors = outcome, [pred, truth], truth, errors
        for layer in self._pair:
            self._listen(layer, True)
        self.legend.setText(_legend())
        self.legend.setVisible(errors is not None)
        self._on_name()
        self.means.say(model.summary(outcome.scores))
        self.note.say(note)
        self.table.show_rows(model.rows_of(outcome.scores, names_of(truth, pred)), score_columns(truth))
        self.show()

    def forget(self, layer: Layer) -> None:
        """React to a removed layer: the figures stay as long as one of the two is there."""
        if layer is self._errors:
            self._errors = None
            self.legend.hide()
        if layer not in self._pair:
            return
        self._release(layer)
        if layer is self._truth:
            self._truth = None
            self.table.show_rows(self.table.rows, score_columns(None))
        if not self._pair:
            self.let_go()

    def let_go(self) -> None:
        for layer in list(self._pair):
            self._release(layer)
        self._outcome, self._truth, self._errors = None, None, None
        self.table.show_rows([], score_columns(None))
        self.hide()

    def go_to(self, value: int) -> None:
        """Show the slice in which a structure is worst, across the axis that is sliced now, and select its label."""
        if self._outcome is None or value not in self._outcome.worst:
            return
        for layer in self._pair:
            layer.selected_label = value
        where = self._truth
        if where is None or self._viewer.dims.ndim < 3:
            self.note.say(GONE if where is None else TOO_FLAT)
            return
        index = np.zeros(where.ndim)
        dims, first = self._viewer.dims, self._viewer.dims.ndim - 3
        sliced = [axis - first for axis in dims.not_displayed if axis >= first] or [0]  # the first in 3D
        index[-3:] = self._outcome.worst[value][sliced[-1]]
        look_at(self._viewer, np.asarray(where.data_to_world(index))[-3:])

    def _listen(self, layer: Layer, on: bool) -> None:
        (layer.events.name.connect if on else layer.events.name.disconnect)(self._on_name)
        connect_edits(layer, self._on_edited, on)

    def _release(self, layer: Layer) -> None:
        self._pair.remove(layer)
        self._listen(layer, False)

    def _on_name(self, event: Any = None) -> None:
        self.title.setText(" against ".join(layer.name for layer in self._pair))

    def _on_edited(self, event: Any = None) -> None:
        self.note.say(EDITED)

    def _on_save(self) -> None:
        if self._outcome is None:
            return
        path = ask_for_file(self, FACE, "Save scores", f"{self.title.text()} scores.tsv")
        if path is not None:
            save_lines(path, model.score_lines(self.table.rows, self._outcome.scores), "Scores")


def score_columns(layer: Labels | None) -> tuple[Column, ...]:
    """Return the columns of scores; structures have the layer's colors, or FreeSurfer's if there is none."""
    name = Column(
        "Structure",
        "Left or right, and name; bold: enters the means",
        lambda r: f"{r.mark}{r.short_name}",
        lambda r: f"{r.short_name} {r.side}",
        number=False,
        color=lambda r: anatomy.color(r.value) if layer is None else rgb(layer, r.value),
        bold=lambda r: r.scored,
    )
    return (name, *_FIGURES)


def _legend() -> str:
    from napari_synthseg.evaluation.locations import ERRORS

    colors = {value: "#" + "".join(f"{round(255 * part):02x}" for part in model.COLORS[value][:3]) for value in ERRORS}
    return " &nbsp; ".join(f'<span style="color:{colors[value]}">■</span> {name}' for value, name in ERRORS.items())


def _percent(value: float) -> str:
    return f">{MOST_PERCENT}" if value >= MOST_PERCENT + 0.5 else number_text(value, "+.0f")


_FIGURES = (
    Column("Dice", "Overlap, 0 to 1", lambda r: number_text(r.dice, ".3f"), lambda r: sortable(r.dice)),
    Column("SD95", "95th percentile of the distances between the surfaces, mm", lambda r: number_text(r.sd95_mm, ".1f"),
           lambda r: sortable(r.sd95_mm)),
    Column("Dist", "Mean distance between the surfaces, mm", lambda r: number_text(r.msd_mm, ".2f"),
           lambda r: sortable(r.msd_mm)),
    Column("Vol %", "Volume: 100 (labels - truth) / truth, percent. Sorts by its size.",
           lambda r: _percent(r.difference_percent), lambda r: sortable(abs(r.difference_percent))),
)  # fmt: skip


def _tip(row: model.ScoreRow) -> str:
    text = f"{row.name} (label {row.value}{', ' + row.lack if row.lack else ''})"
    milliliters = [f"{mm3 / 1000:,.2f}" for mm3 in (row.volume_mm3, row.truth_volume_mm3)]
    return f"{text}\n{milliliters[0]} mL, truth {milliliters[1]} mL\nClick: go to the slice in which it is worst."


NO_LAYERS = "Open two label layers of one scan: a segmentation, and the labels it is measured by."
SAME = "Choose two different layers."
DOING = "Evaluating"
RESAMPLED = "The labels were resampled to the voxels of the truth, which costs a little Dice."
CHANGED = "A layer was edited meanwhile; the scores are of the labels before."

Steps = Callable[..., Generator[Progress, None, model.LayerComparison]]


class LabelsPair(QWidget):
    """Two choosers and a button that exchanges them."""

    changed = Signal()

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__()
        listed, never = (lambda layer: not model.is_errors(layer)), (lambda layer: False)  # both would choose the same
        tips = (
            "The labels to be measured, such as a result of Segment brain.",
            "The labels they are measured by, such as those drawn by hand.",
        )
        self.pred, self.truth = (LayerChooser(viewer, Labels, listed, follows=never, tip=tip) for tip in tips)
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

    def _on_swap(self) -> None:
        pred, truth = self.pred.layer(), self.truth.layer()
        self.pred.set_layer(truth)
        self.truth.set_layer(pred)

    def _on_changed(self) -> None:
        if not isalive(self):
            return
        same = self.truth.layer() is self.pred.layer()
        if self._counted != (count := self.truth.count()):  # a layer came or went: nobody chose the same on purpose
            self._counted = count
            if same and count > 1:  # the newest against the one before it
                self.pred.setCurrentIndex(0)
                self.truth.setCurrentIndex(1)
        self.hint.say(self.problem() or "")
        self.changed.emit()


class EvaluateWidget(ScrolledFace):
    """Compares two layers in a thread, by `steps` that end with a `LayerComparison`, and shows the scores."""

    fresh_width = 350

    def __init__(self, napari_viewer: napari.viewer.Viewer, steps: Steps = model.compare_layers) -> None:
        super().__init__()
        self._viewer = napari_viewer
        self._steps = steps
        self._running: tuple[Labels, Labels] | None = None
        self._place: tuple[dict[str, Any], float] = ({}, 1.0)  # of the truth's voxels when it began
        self._edited = False
        self.job = Job(
            self,
            progressed=self._on_progress,
            ticked=self._on_progress,
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
        self._place = copied_geometry(layers[1]), voxel_mm3(layers[1])
        for layer in layers:
            connect_edits(layer, self._on_edited)
        self.job.start("Evaluate", self._steps, *scans)
        self.status.say("Starting")
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
        self.status.say(so_far(report, self.job.seconds))

    def _on_returned(self, outcome: model.LayerComparison) -> None:
        pred, truth = self._end("")
        if pred not in self._viewer.layers or truth not in self._viewer.layers:
            return
        notes = [*([RESAMPLED] if outcome.resampled else []), *outcome.notes, *([CHANGED] if self._edited else [])]
        self.results.let_go()
        errors = self._place_errors(outcome, pred, truth) if self.errors.isChecked() else None
        self.results.show_outcome(outcome, pred, truth, errors, " ".join(notes))

    def _place_errors(self, outcome: model.LayerComparison, pred: Labels, truth: Labels) -> Labels:
        """Add the layer of errors, in place of an earlier one of the same two layers."""
        earlier = model.errors_of(self._viewer.layers, pred, truth)
        layer = model.error_layer(outcome.errors, pred, truth, *self._place)
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
