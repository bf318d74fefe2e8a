"""Tables of structures for Qt: columns that say what they show and sort by, rows beside a Labels layer."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QAbstractTableModel, QModelIndex, Qt
from qtpy.QtGui import QFont
from qtpy.QtWidgets import QWidget

if TYPE_CHECKING:
    from napari.layers import Labels

SORT_ROLE = Qt.ItemDataRole.UserRole


@dataclass(frozen=True)
class Column:
    """A column: its header and tooltip, its text and what it is sorted by, and a text it must have room for.

    Numbers stand on the right; without a `widest` the column takes the room that is left.
    """

    header: str
    tip: str
    text: Callable[[Any], str]
    key: Callable[[Any], Any]
    widest: str = ""
    number: bool = True


def known(value: float) -> float:
    """What a number is sorted by: one that is not known comes before all others."""
    return -math.inf if math.isnan(value) else value


class TableModel(QAbstractTableModel):
    """Rows, as columns show them; subclasses add what is particular to a cell, and the tooltip of a row."""

    def __init__(self, parent: QWidget, columns: Sequence[Column]) -> None:
        super().__init__(parent)
        self._widget = parent
        self.columns = tuple(columns)
        self.rows: list[Any] = []
        self.layer: Labels | None = None

    def show_rows(self, columns: Sequence[Column], rows: Sequence[Any], layer: Labels | None) -> None:
        """Show other rows.

        Args:
            columns: of the rows.
            rows: what to show.
            layer: whose colours they have.
        """
        self.beginResetModel()
        self.columns, self.rows, self.layer = tuple(columns), list(rows), layer
        self.endResetModel()

    def tip(self, row: Any) -> str:
        """The tooltip of a row."""
        raise NotImplementedError

    def cell(self, row: Any, column: int, role: int) -> Any:
        """What is particular to a cell, such as its colour; None where there is nothing."""
        raise NotImplementedError

    def bold(self) -> QFont:
        """The font of the table, bold."""
        font = QFont(self._widget.font())
        font.setBold(True)
        return font

    def rowCount(self, parent: QModelIndex = QModelIndex()) -> int:  # noqa: B008
        return 0 if parent.isValid() else len(self.rows)

    def columnCount(self, parent: QModelIndex = QModelIndex()) -> int:  # noqa: B008
        return 0 if parent.isValid() else len(self.columns)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole):
        if orientation != Qt.Orientation.Horizontal:
            return None
        if role == Qt.ItemDataRole.DisplayRole:
            return self.columns[section].header
        if role == Qt.ItemDataRole.ToolTipRole:
            return self.columns[section].tip
        if role == Qt.ItemDataRole.TextAlignmentRole:
            # the arrow of the sorted column is drawn at the right: numbers, narrow, have their header left of it
            side = Qt.AlignmentFlag.AlignHCenter if self.columns[section].number else Qt.AlignmentFlag.AlignLeft
            return side | Qt.AlignmentFlag.AlignVCenter
        return None

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole):
        row, column = self.rows[index.row()], self.columns[index.column()]
        if role == Qt.ItemDataRole.DisplayRole:
            return column.text(row)
        if role == SORT_ROLE:
            return column.key(row)
        if role == Qt.ItemDataRole.TextAlignmentRole and column.number:
            return Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        if role == Qt.ItemDataRole.ToolTipRole:
            return self.tip(row)
        return self.cell(row, index.column(), role)
