"""Volumes of one Labels layer: the table, how it moves the view, expected quality and warnings, copying and saving."""

from __future__ import annotations

import math
from collections.abc import Collection, Generator
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QEvent, Qt, Signal
from qtpy.QtWidgets import QLabel, QWidget

from napari_synthseg.inference.quality.rating import QcRating
from napari_synthseg.jobs import Progress
from napari_synthseg.widgets._shared.controls import Message, button, column, row
from napari_synthseg.widgets._shared.job import Job
from napari_synthseg.widgets._shared.table import on_dark_ground
from napari_synthseg.widgets._shared.user import complain, recall, remember
from napari_synthseg.widgets.layers import labels_layer
from napari_synthseg.widgets.layers.geometry import (
    MEASURED,
    METADATA_KEY,
    VOXELS,
    connect_edits,
    kept_with,
    shown_volume,
    voxel_mm3,
)
from napari_synthseg.widgets.view.view import look_at
from napari_synthseg.widgets.volumes.actions import FACE, StructureActions, VolumesExport
from napari_synthseg.widgets.volumes.table import VolumesTable

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Labels, Layer


class Light(QLabel):
    """A sign in its color, the expected mean Dice and a word; hidden while nothing is known."""

    def __init__(self) -> None:
        super().__init__()
        self._verdict: QcRating | None = None
        self.setWordWrap(True)
        self.setTextFormat(Qt.TextFormat.RichText)
        self.setToolTip(
            "Mean over the scored structures of the Dice to expect, estimated without a ground truth and calibrated on "
            "synthetic scans of all qualities."
        )
        self.hide()

    def show_verdict(self, verdict: QcRating | None) -> None:
        self._verdict = verdict
        known = verdict is not None and not math.isnan(verdict.mean)  # a label map, say, has none
        self.setVisible(known)
        if verdict is None or not known:
            return
        if not verdict.calibrated:
            self.setText("Quality is not calibrated for these weights.")
            return
        light = verdict.light
        color = light.on_dark if on_dark_ground(self) else light.on_light
        sign = f'<span style="color:{color}">{light.sign}</span> ' if light.sign else ""
        self.setText(f"{sign}Expected Dice {verdict.mean:.2f}: <b>{light.word}</b>")

    def changeEvent(self, event: QEvent | None) -> None:
        super().changeEvent(event)
        if event is not None and event.type() == QEvent.Type.PaletteChange:
            self.show_verdict(self._verdict)


class Recount(QWidget):
    """A note with a button, shown while the labels of a layer are newer than its volumes."""

    def __init__(self) -> None:
        super().__init__()
        self._layer: Labels | None = None
        self._job = Job(self, returned=self._on_counted, failed=lambda error: complain(error, "Counting"))
        self.note = Message(warning=True)
        tip = "Measure all structures by counting their voxels; qualities stay those of the network's answer."
        row((self.note, 1), button("Count again", tip, self.count), parent=self)
        self.hide()

    def watch(self, layer: Labels | None) -> None:
        self._job.stop()
        if self._layer is not None:
            connect_edits(self._layer, self._on_edited, False)
        self._layer = layer if layer is not None and layer.ndim == 3 else None
        self.hide()
        if self._layer is not None:
            connect_edits(self._layer, self._on_edited)

    def count(self) -> None:
        if self._layer is not None and not self._job.running:
            self.hide()  # what is painted from now on may not be counted
            self._job.start("Count volumes", _count, self._layer.data, voxel_mm3(self._layer))

    def _on_edited(self, event: Any) -> None:
        self.note.say("Edited since it was measured.")
        self.show()

    def _on_counted(self, counted_mm3: dict[int, float]) -> None:
        if self._layer is not None:
            kept = {**kept_with(self._layer), MEASURED: VOXELS}
            self._layer.metadata = {**self._layer.metadata, METADATA_KEY: kept}
            self._layer.features = labels_layer.recounted(self._layer.features, counted_mm3)


def _count(array: Any, voxel_mm3: float) -> Generator[Progress, None, dict[int, float]]:
    yield Progress("Counting")
    return {value: mm3 for value, mm3 in labels_layer.counted_volumes(np.asarray(array), voxel_mm3).items() if value}


class VolumesPanel(QWidget):
    """Shows the volumes that a layer carries in its features; hidden while there is no such layer."""

    probability_requested = Signal(int)  # FreeSurfer value, of the layer that is shown

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__()
        self._viewer = viewer
        self.layer: Labels | None = None
        self._build()
        self.table.chosen.connect(self._on_chosen)
        self.table.isolated.connect(self._on_isolated)
        self.table.switched.connect(
            lambda values, on: self.layer is not None and labels_layer.set_visible(self.layer, values, on)
        )
        self.table.probability.connect(self.probability_requested)
        self.table.menu_opened.connect(self.actions.fill_menu)
        self.actions.said.connect(self.note.say)
        self.sides.toggled.connect(self._on_sides)
        self.sides.setChecked(bool(recall(FACE).get("sides", False)))
        self.hide()

    def _build(self) -> None:
        self.title = QLabel()
        self.title.setTextFormat(Qt.TextFormat.PlainText)
        self.title.setWordWrap(True)
        self.light, self.recount = Light(), Recount()
        self.warnings, self.note = Message(warning=True), Message()
        self.table = VolumesTable()
        self.table.setToolTip(
            "Click: center the view on a structure and take its label for painting. Double-click: show only it; "
            "again: all. Right-click: correct it, make its surface, and more."
        )
        tip = "Keep the structures with these words in their name, side or FreeSurfer value."
        self.filter = self.table.filter_line(tip)
        tip = "A row for both sides of a structure: left, right and their asymmetry."
        self.sides = button("L | R", tip, name="Left and right", checkable=True)
        self.intracranial = QLabel()
        self.intracranial.setWordWrap(True)
        self.actions = StructureActions(self._viewer, self)
        self.export = VolumesExport(self._viewer, self.table)
        above = row((self.filter, 1), self.sides)
        notes = (self.title, self.light, self.warnings, self.recount)
        column(*notes, above, (self.table, 1), self.note, self.intracranial, self.export, parent=self)

    def show_layer(self, layer: Labels) -> None:
        """Show the volumes of a layer; one that carries none is ignored."""
        if not any(not math.isnan(row.milliliters) for row in labels_layer.rows_of(layer.features)):
            return
        if layer is not self.layer:
            self._let_go()
            self.layer = layer
            self._listen(layer, True)
            self.recount.watch(layer)
        self.warnings.say("\n".join(kept_with(layer).get("warnings", ())))
        self.note.say("")
        self._on_name()
        self._on_features()
        self.show()

    def forget(self, layer: Layer) -> None:
        if layer is self.layer:
            self._let_go()
            self.table.show_structures([])
            self.hide()

    def _let_go(self) -> None:
        layer, self.layer = self.layer, None
        self.recount.watch(None)
        self.export.layer = self.actions.layer = None
        if layer is not None:
            self._listen(layer, False)

    def _listen(self, layer: Labels, on: bool) -> None:
        for name, react in (("colormap", self._on_colormap), ("features", self._on_features), ("name", self._on_name)):
            event = getattr(layer.events, name)
            (event.connect if on else event.disconnect)(react)

    def _on_chosen(self, values: tuple[int, ...]) -> None:
        """Center the view on a structure, and paint with it from now on."""
        from napari_synthseg.evaluation.locations import middle_voxel

        layer = self.layer
        if layer is None:
            return
        shown = layer.data if layer.ndim < 4 else layer.data[shown_volume(layer, self._viewer.dims)]
        place = middle_voxel(np.asarray(shown), values)
        if place is None:
            self.note.say("No voxel has this label; nothing to center on.")
            return
        self.note.say("")
        layer.selected_label = values[0]
        index = np.zeros(layer.ndim)
        index[-3:] = place
        look_at(self._viewer, np.asarray(layer.data_to_world(index))[-3:])

    def _on_isolated(self, values: tuple[int, ...]) -> None:
        """Show these structures alone; if they are alone already, all."""
        if self.layer is None:
            return
        among = self._values()
        if labels_layer.visible_among(self.layer, among) == set(values):
            labels_layer.show_all(self.layer, among)
        else:
            labels_layer.show_only(self.layer, values, among)

    def _on_sides(self, paired: bool) -> None:
        self.table.set_paired(paired)
        remember(FACE, {"sides": paired})

    def _on_colormap(self, event: Any = None) -> None:
        self.table.refresh()

    def _on_features(self, event: Any = None) -> None:
        if self.layer is None:
            return
        ours = kept_with(self.layer)
        verdict, total = ours.get("verdict"), ours.get("intracranial_mm3")
        rows = labels_layer.rows_of(self.layer.features, verdict is not None and verdict.calibrated)
        self.light.show_verdict(verdict)
        self.table.show_structures(rows, self.layer)
        self.intracranial.setText("" if total is None else f"Intracranial: {total / 1000:,.0f} mL")
        self.intracranial.setVisible(total is not None)
        self.export.layer = self.actions.layer = self.layer

    def _on_name(self, event: Any = None) -> None:
        if self.layer is not None:
            self.title.setText(f"Volumes of {self.layer.name}")

    def _values(self) -> Collection[int]:
        return {row.value for row in self.table.structures}
