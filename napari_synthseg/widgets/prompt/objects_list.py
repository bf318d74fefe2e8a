"""The objects of a Labels layer: their ids, colours and names, to be renamed and refined."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QColor, QIcon, QPixmap
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget, QTableWidgetItem

if TYPE_CHECKING:
    from napari.layers import Labels

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
        """Show the labels and names of a layer; nothing hides the list."""
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
