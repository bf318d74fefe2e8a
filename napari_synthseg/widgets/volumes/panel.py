"""Volumes of one Labels layer: the table, what it does to the view, the warnings of the run, copying and saving."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QCheckBox, QHBoxLayout, QLabel, QLineEdit, QPushButton, QVBoxLayout, QWidget

from napari_synthseg.widgets._shared.controls import Message
from napari_synthseg.widgets._shared.memory import recall, remember
from napari_synthseg.widgets.layers.geometry import METADATA_KEY, shown_volume
from napari_synthseg.widgets.view.view import look_at
from napari_synthseg.widgets.volumes import visibility
from napari_synthseg.widgets.volumes.actions import StructureActions
from napari_synthseg.widgets.volumes.export import VolumesExport
from napari_synthseg.widgets.volumes.model import rows_of
from napari_synthseg.widgets.volumes.notes import Light, Recount
from napari_synthseg.widgets.volumes.table import VolumesTable

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Labels, Layer

FACE = "volumes"


class VolumesPanel(QWidget):
    """Shows the volumes that a layer carries in its features; hidden while there is no such layer.

    Args:
        viewer: the viewer that a click in the table moves.
        parent: of the widget.
    """

    probability_requested = Signal(int)  # FreeSurfer value, of the layer that is shown

    def __init__(self, viewer: ViewerModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._layer: Labels | None = None
        self._build()
        self.table.chosen.connect(self._on_chosen)
        self.table.isolated.connect(self._on_isolated)
        self.table.switched.connect(self._on_toggled)
        self.table.probability.connect(self.probability_requested)
        self.table.menu_opened.connect(self.actions.fill_menu)
        self.actions.said.connect(self.note.say)
        self.filter.textChanged.connect(self._on_filter)
        self.all.clicked.connect(self._on_all)
        self.sides.toggled.connect(self._on_sides)
        self.sides.setChecked(bool(recall(FACE).get("sides", False)))
        self.hide()

    def _build(self) -> None:
        self.title = QLabel()
        self.title.setTextFormat(Qt.TextFormat.PlainText)
        self.title.setWordWrap(True)
        self.light = Light(self)
        self.warnings = Message(warning=True)
        self.recount = Recount(self)
        self.all = QCheckBox("All")
        self.all.setToolTip("Show or hide every structure in the list.")
        self.filter = QLineEdit()
        self.filter.setPlaceholderText("Filter, such as left hip")
        self.filter.setToolTip("Keep the structures with these words in their name, side or FreeSurfer value.")
        self.filter.setClearButtonEnabled(True)
        self.filter.setMinimumWidth(60)
        self.sides = QPushButton("L | R")
        self.sides.setCheckable(True)
        self.sides.setToolTip("A row for both sides of a structure: left, right and their asymmetry.")
        self.sides.setAccessibleName("Left and right")
        self.sides.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.table = VolumesTable(self)
        self.table.setToolTip(
            "Click: center the view on a structure and take its label for painting. Double-click: show only it; "
            "again: all. Right-click: correct it, make its surface, and more."
        )
        self.note = Message()
        self.intracranial = QLabel()
        self.intracranial.setWordWrap(True)
        self.actions = StructureActions(self._viewer, self)
        self.export = VolumesExport(self._viewer, self.table, self)
        above = QHBoxLayout()
        for part, stretch in ((self.all, 0), (self.filter, 1), (self.sides, 0)):
            above.addWidget(part, stretch)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for part in (self.title, self.light, self.warnings, self.recount):
            layout.addWidget(part)
        layout.addLayout(above)
        layout.addWidget(self.table, 1)
        for part in (self.note, self.intracranial, self.export):
            layout.addWidget(part)

    @property
    def layer(self) -> Labels | None:
        """The layer whose volumes are shown."""
        return self._layer

    def show_layer(self, layer: Labels) -> None:
        """Show the volumes of a layer; one that carries none is ignored."""
        if not any(not math.isnan(row.milliliters) for row in rows_of(layer.features)):
            return
        if layer is not self._layer:
            self._let_go()
            self._layer = layer
            layer.events.colormap.connect(self._on_colormap)
            layer.events.features.connect(self._on_features)
            layer.events.name.connect(self._on_name)
            self.recount.watch(layer)
        self.warnings.say("\n".join(layer.metadata.get(METADATA_KEY, {}).get("warnings", ())))
        self.note.say("")
        self._on_name()
        self._on_features()
        self.show()

    def forget(self, layer: Layer) -> None:
        """Empty the panel if it shows this layer."""
        if layer is self._layer:
            self._let_go()
            self.table.show_structures([])
            self.hide()

    def _let_go(self) -> None:
        """Listen to the layer no longer."""
        layer, self._layer = self._layer, None
        self.recount.watch(None)
        self.export.set_layer(None)
        self.actions.set_layer(None)
        if layer is not None:
            layer.events.colormap.disconnect(self._on_colormap)
            layer.events.features.disconnect(self._on_features)
            layer.events.name.disconnect(self._on_name)

    # What the table asks for

    def _on_chosen(self, values: tuple[int, ...]) -> None:
        """center the view on a structure, which is the one to paint with from now on."""
        from napari_synthseg.evaluation.locations import middle_voxel

        layer = self._layer
        if layer is None:
            return
        place = middle_voxel(_shown_array(layer, self._viewer), values)
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
        if self._layer is None:
            return
        among = self._values()
        if visibility.visible_among(self._layer, among) == set(values):
            visibility.show_all(self._layer, among)
        else:
            visibility.show_only(self._layer, values, among)

    def _on_toggled(self, values: tuple[int, ...], visible: bool) -> None:
        if self._layer is not None:
            visibility.set_visible(self._layer, values, visible)

    def _on_all(self) -> None:
        if self._layer is None:
            return
        listed = self.table.listed_values()
        visible = len(visibility.visible_among(self._layer, listed)) < len(set(listed))
        if visible and set(listed) == self._values():
            visibility.show_all(self._layer, listed)
        else:
            visibility.set_visible(self._layer, listed, visible)
        self._on_colormap()

    def _on_filter(self, text: str) -> None:
        self.table.set_filter(text)
        self._on_colormap()

    def _on_sides(self, paired: bool) -> None:
        self.table.set_paired(paired)
        self._on_colormap()
        remember(FACE, {"sides": paired})

    # What the layer says

    def _on_colormap(self, event: Any = None) -> None:
        if self._layer is None:
            return
        self.table.refresh()
        listed = set(self.table.listed_values())
        count = len(visibility.visible_among(self._layer, listed))
        state = Qt.CheckState.Checked if count == len(listed) else Qt.CheckState.PartiallyChecked
        self.all.setCheckState(state if count else Qt.CheckState.Unchecked)

    def _on_features(self, event: Any = None) -> None:
        if self._layer is None:
            return
        ours = self._layer.metadata.get(METADATA_KEY, {})
        verdict, total = ours.get("verdict"), ours.get("intracranial_mm3")
        rows = rows_of(self._layer.features, verdict is not None and verdict.calibrated)
        self.light.show_verdict(verdict)
        self.table.show_structures(rows, self._layer)
        self.intracranial.setText("" if total is None else f"Intracranial: {total / 1000:,.0f} mL")
        self.intracranial.setVisible(total is not None)
        self.export.set_layer(self._layer)
        self.actions.set_layer(self._layer)
        self._on_colormap()

    def _on_name(self, event: Any = None) -> None:
        if self._layer is not None:
            self.title.setText(f"Volumes of {self._layer.name}")

    def _values(self) -> Collection[int]:
        return {row.value for row in self.table.structures}


def _shown_array(layer: Labels, viewer: ViewerModel) -> np.ndarray:
    """The 3D array of a layer; of a series, the volume that is shown."""
    if layer.ndim < 4:
        return np.asarray(layer.data)
    return np.asarray(layer.data[shown_volume(layer, viewer.dims)])
