"""The results of *Evaluate*: the means, the table, and how a click in it moves the viewer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QWidget

from napari_synthseg import anatomy
from napari_synthseg.widgets._shared.controls import Message, button, check_box, column, row
from napari_synthseg.widgets._shared.table import Column, Table, number_text, sortable
from napari_synthseg.widgets._shared.user import ask_for_file, recall, remember, save_lines
from napari_synthseg.widgets.evaluate import model
from napari_synthseg.widgets.layers.geometry import connect_edits
from napari_synthseg.widgets.layers.labels_layer import names_of, rgb
from napari_synthseg.widgets.view.view import look_at

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Labels, Layer

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
        self._chosen: int | None = None
        self.highlight = model.Highlight()
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
        self.legend.hide()
        tip = "Show nothing but the structure of the chosen row in both layers, and its errors."
        self.alone = check_box("&Only the chosen structure", tip, bool(recall(FACE).get("alone", True)))
        self.copy = button("Copy", "Copy the selected rows, or all, for a spreadsheet (Ctrl+C).", self.table.copy)
        self.save = button("&Save…", "Save all scores and volumes, a row a structure, as TSV or CSV.", self._on_save)
        column(
            *(self.title, self.means, self.note, self.filter, (self.table, 1), self.legend, self.alone),
            row((self.copy, 1), (self.save, 1)),
            parent=self,
        )
        self.table.picked.connect(lambda row, _: self.go_to(row.value))
        self.table.confirmed.connect(lambda rows: self.go_to(rows[0].value))
        self.alone.toggled.connect(self._on_alone)
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
        self.show_all()
        for layer in list(self._pair):
            self._release(layer)
        self._outcome, self._truth, self._errors, self._chosen = None, None, None, None
        self.table.show_rows([], score_columns(None))
        self.hide()

    def go_to(self, value: int) -> None:
        """Show the slice in which a structure is worst, across the axis that is sliced now."""
        if self._outcome is None or value not in self._outcome.worst:
            return
        self._chosen = value
        self._show_chosen()
        where = self._truth
        if where is None or self._viewer.dims.ndim < 3:
            self.note.say(GONE if where is None else TOO_FLAT)
            return
        index = np.zeros(where.ndim)
        index[-3:] = self._outcome.worst[value][self._sliced_axis()]
        look_at(self._viewer, np.asarray(where.data_to_world(index))[-3:])

    def show_all(self) -> None:
        self.highlight.clear()
        if self._errors is not None and self._outcome is not None and self._chosen is not None:
            self._errors.data = self._outcome.errors.copy()

    def _show_chosen(self) -> None:
        if self._outcome is None or self._chosen is None:
            return
        alone = self.alone.isChecked()
        self.highlight.show(self._pair, self._chosen, alone)
        if self._errors is not None:
            shown = model.errors_of_structure(self._outcome, self._chosen) if alone else self._outcome.errors.copy()
            self._errors.data = shown

    def _sliced_axis(self) -> int:
        """Return which of the last three axes is not on the canvas; the first in 3D."""
        first = self._viewer.dims.ndim - 3
        hidden = [axis - first for axis in self._viewer.dims.not_displayed if axis >= first]
        return hidden[-1] if hidden else 0

    def _listen(self, layer: Layer, on: bool) -> None:
        (layer.events.name.connect if on else layer.events.name.disconnect)(self._on_name)
        connect_edits(layer, self._on_edited, on)

    def _release(self, layer: Layer) -> None:
        self._pair.remove(layer)
        self.highlight.release(layer)
        self._listen(layer, False)

    def _on_name(self, event: Any = None) -> None:
        self.title.setText(" against ".join(layer.name for layer in self._pair))

    def _on_edited(self, event: Any = None) -> None:
        self.note.say(EDITED)

    def _on_alone(self, alone: bool) -> None:
        remember(FACE, {"alone": alone})
        self._show_chosen()

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
    Column("Dice", "Overlap, 0 to 1", lambda r: number_text(r.dice, ".3f"), lambda r: sortable(r.dice), "0.000"),
    Column("SD95", "95th percentile of the distances between the surfaces, mm", lambda r: number_text(r.sd95_mm, ".1f"),
           lambda r: sortable(r.sd95_mm), "00.0"),
    Column("Dist", "Mean distance between the surfaces, mm", lambda r: number_text(r.msd_mm, ".2f"),
           lambda r: sortable(r.msd_mm), "0.00"),
    Column("Vol %", "Volume: 100 (labels - truth) / truth, percent. Sorts by its size.",
           lambda r: _percent(r.difference_percent), lambda r: sortable(abs(r.difference_percent)), f">{MOST_PERCENT}"),
)  # fmt: skip


def _tip(row: model.ScoreRow) -> str:
    text = f"{row.name} (label {row.value}{', ' + row.lack if row.lack else ''})"
    milliliters = [f"{mm3 / 1000:,.2f}" for mm3 in (row.volume_mm3, row.truth_volume_mm3)]
    return f"{text}\n{milliliters[0]} mL, truth {milliliters[1]} mL\nClick: go to the slice in which it is worst."
