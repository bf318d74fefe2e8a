"""Parts of the *Prompt* widget that are folded away: options, the list of keys, the list of objects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QColor, QIcon, QPixmap
from qtpy.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QFormLayout,
    QHeaderView,
    QLabel,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
)

from napari_synthseg.prompting.options import PropagateOptions
from napari_synthseg.widgets._shared.choices import Choice, device_choices, preference
from napari_synthseg.widgets._shared.controls import Section, combo, form_layout
from napari_synthseg.widgets._shared.form import OptionsForm
from napari_synthseg.widgets.prompt.engine import EACH, LAYER, WHOLE
from napari_synthseg.widgets.prompt.input import ACTIONS, key_text, on_keys_changed

if TYPE_CHECKING:
    from napari.layers import Labels

WINDOWS = [
    Choice(WHOLE, "The whole image's range", "From the 0.5th to the 99.5th percentile of the whole image."),
    Choice(LAYER, "The layer's contrast limits", "What is black and white in the layer, as in a CT window."),
    Choice(EACH, "Each slice's own range", "From the 0.5th to the 99.5th percentile of each slice."),
]
TEXTS = {
    "direction": "Follow",
    "least_score": "Least score",
    "least_overlap": "Least overlap",
    "most_growth": "Most growth",
    "most_slices": "Most slices",
    "memory": "Memory of slices before",
    "vote": "Vote of three axes",
}
DIRECTIONS = [Choice("both", "both ways"), Choice("up", "to higher slices"), Choice("down", "to lower slices")]


class PromptOptionsSection(Section):
    """The options; `changed` when what the model sees has to be seen anew."""

    changed = Signal()

    def __init__(self) -> None:
        super().__init__("Options", "What is rarely changed")
        self.window = combo(WINDOWS, "Which values the model sees as black and white.")
        self.device = combo(device_choices(), "Where the network runs.")
        self.device.setCurrentIndex(max(0, self.device.findData(preference("device", "auto"))))
        self.keep_others = QCheckBox("Keep other labels")
        self.keep_others.setToolTip("A new object does not take voxels that have another label already.")
        self.protect = QCheckBox("Refine protects other structures")
        self.protect.setToolTip("A refined structure does not take voxels of its neighbors.")
        self.protect.setChecked(True)
        self.keep = QCheckBox("Keep encodings on disk")
        self.keep.setToolTip(
            "An image that was prompted before is answered at once in another session. 2 MiB a slice, in the cache."
        )
        self.follow = OptionsForm(
            PropagateOptions,
            usual=("direction", "most_slices"),
            texts=TEXTS,
            choices={"direction": DIRECTIONS},
            nothing={"most_slices": "to the end"},
        )
        form = form_layout()
        form.addRow("&Window", self.window)
        form.addRow("&Device", self.device)
        form.addRow(self.keep_others)
        form.addRow(self.protect)
        form.addRow(self.keep)
        layout = QVBoxLayout(self.body)
        layout.setContentsMargins(8, 0, 0, 0)
        layout.addLayout(form)
        layout.addWidget(self.follow)
        self.window.currentIndexChanged.connect(self.changed)
        self.device.currentIndexChanged.connect(self.changed)

    def values(self) -> dict[str, Any]:
        """What is chosen, for `set_values`."""
        return {
            "window": self.window.currentData(),
            "device": self.device.currentData(),
            "keep_others": self.keep_others.isChecked(),
            "protect": self.protect.isChecked(),
            "keep": self.keep.isChecked(),
            "follow": self.follow.differences(),
        }

    def set_values(self, values: dict[str, Any]) -> None:
        for name, box in (("window", self.window), ("device", self.device)):
            if (row := box.findData(values.get(name))) >= 0:
                box.setCurrentIndex(row)
        self.keep_others.setChecked(bool(values.get("keep_others", False)))
        self.protect.setChecked(bool(values.get("protect", True)))
        self.keep.setChecked(bool(values.get("keep", False)))
        follow = values.get("follow")
        self.follow.set_values(follow if isinstance(follow, dict) else {})


class KeysSection(Section):
    """The keys as they are bound now; napari's preferences change them."""

    def __init__(self) -> None:
        super().__init__("Keys", "Other keys: File > Preferences > Shortcuts, Viewer.")
        self.labels: dict[str, QLabel] = {}
        form = QFormLayout(self.body)
        form.setContentsMargins(8, 0, 0, 0)
        form.setVerticalSpacing(1)
        for keys, text in (("Click", "Inside"), ("Ctrl or Alt + click", "Outside"), ("Shift + drag", "Box")):
            form.addRow(QLabel(keys), QLabel(text))
        for action in ACTIONS:
            self.labels[action.name] = QLabel()
            form.addRow(self.labels[action.name], QLabel(action.text))
        self.release = on_keys_changed(self.refresh)
        self.refresh()

    def refresh(self) -> None:
        """Write the keys as they are bound."""
        for action in ACTIONS:
            self.labels[action.name].setText(key_text(action) or "-")


LINE = 22
MOST_LINES = 8
ID, NAME = 0, 1


class ObjectsList(QTableWidget):
    """A row for each label, the last one accepted in view."""

    renamed = Signal(int, str)
    refining = Signal(int)  # a double click

    def __init__(self) -> None:
        super().__init__(0, 2)
        self.setHorizontalHeaderLabels(["Id", "Name"])
        self.setToolTip("The objects of the layer. Double-click an id to refine the object, a name to rename it.")
        self.setAccessibleName("Objects")
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setTabKeyNavigation(False)
        self.setShowGrid(False)
        self.verticalHeader().setVisible(False)
        self.verticalHeader().setMinimumSectionSize(LINE)
        self.verticalHeader().setDefaultSectionSize(LINE)
        self.horizontalHeader().setSectionResizeMode(NAME, QHeaderView.ResizeMode.Stretch)
        self.horizontalHeader().setSectionResizeMode(ID, QHeaderView.ResizeMode.ResizeToContents)
        self.itemChanged.connect(self._on_changed)
        self.cellDoubleClicked.connect(self._on_double_click)
        self.hide()

    def show_structures(self, structures: Mapping[int, str], layer: Labels | None) -> None:
        chosen = self.chosen()
        self.blockSignals(True)
        self.setRowCount(0)
        for row, (value, name) in enumerate(structures.items()):
            self.insertRow(row)
            number = QTableWidgetItem(str(value))
            number.setData(Qt.ItemDataRole.UserRole, value)
            number.setFlags(number.flags() & ~Qt.ItemFlag.ItemIsEditable)
            if layer is not None:
                number.setIcon(_swatch(layer, value))
            self.setItem(row, ID, number)
            self.setItem(row, NAME, QTableWidgetItem(name))
        self.blockSignals(False)
        self.setVisible(bool(structures))
        lines = min(len(structures), MOST_LINES)
        self.setFixedHeight(self.horizontalHeader().sizeHint().height() + lines * LINE + 4)
        if chosen is not None:
            self.choose(chosen)

    def chosen(self) -> int | None:
        """The id of the row that is selected."""
        rows = self.selectionModel().selectedRows() if self.selectionModel() is not None else []
        return self._value(rows[0].row()) if rows else None

    def choose(self, value: int) -> None:
        """Select the row of an id."""
        for row in range(self.rowCount()):
            if self._value(row) == value:
                self.selectRow(row)
                self.scrollToItem(self.item(row, ID))

    def _value(self, row: int) -> int:
        return int(self.item(row, ID).data(Qt.ItemDataRole.UserRole))

    def _on_changed(self, item: QTableWidgetItem) -> None:
        if item.column() == NAME:
            self.renamed.emit(self._value(item.row()), item.text().strip())

    def _on_double_click(self, row: int, column: int) -> None:
        if column == ID:
            self.refining.emit(self._value(row))


def _swatch(layer: Labels, value: int) -> QIcon:
    color = np.asarray(layer.colormap.map(value)).ravel()
    picture = QPixmap(12, 12)
    picture.fill(QColor.fromRgbF(*(float(part) for part in color[:3])))
    return QIcon(picture)
