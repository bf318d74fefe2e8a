"""The table of volumes: colour, name, side, mL; sorted by a click on a header."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QAbstractTableModel, QModelIndex, QSortFilterProxyModel, Qt
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableView, QWidget

from napari_synthseg import anatomy
from napari_synthseg.widgets.labels_layer import INDEX, NAME, SIDE, VOLUME

if TYPE_CHECKING:
    import pandas as pd

HEADERS = ("", "Structure", "Side", "mL")
TIPS = (
    "Colour; sorts by FreeSurfer value",
    "FreeSurfer name, without its side",
    "Side of the body",
    "Volume in millilitres; of a result, the sum of the network's probabilities",
)
_SHORT_SIDES = {"midline": "mid"}
SORT_ROLE = Qt.ItemDataRole.UserRole


@dataclass(frozen=True)
class VolumeRow:
    """One line of the table: FreeSurfer value, name, side, and volume in mL (NaN when unknown)."""

    value: int
    name: str
    side: str
    millilitres: float

    @property
    def short_name(self) -> str:
        """The name without the side it starts with."""
        return self.name.removeprefix("Left-").removeprefix("Right-") if self.side in ("left", "right") else self.name


def rows_of(features: pd.DataFrame) -> list[VolumeRow]:
    """The rows of a Labels layer's features table (see `labels_layer.label_features`), background left out."""
    if not {INDEX, NAME, SIDE, VOLUME} <= set(features.columns):
        return []
    columns = zip(features[INDEX], features[NAME], features[SIDE], features[VOLUME], strict=True)
    return [VolumeRow(int(v), str(n), str(s), float(ml)) for v, n, s, ml in columns if int(v) != 0]


class VolumesModel(QAbstractTableModel):
    """Rows of `VolumeRow` for Qt."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.rows: list[VolumeRow] = []

    def set_rows(self, rows: list[VolumeRow]) -> None:
        """Show other rows."""
        self.beginResetModel()
        self.rows = list(rows)
        self.endResetModel()

    def rowCount(self, parent: QModelIndex = QModelIndex()) -> int:  # noqa: B008
        return 0 if parent.isValid() else len(self.rows)

    def columnCount(self, parent: QModelIndex = QModelIndex()) -> int:  # noqa: B008
        return 0 if parent.isValid() else len(HEADERS)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole):
        if orientation != Qt.Orientation.Horizontal:
            return None
        if role == Qt.ItemDataRole.DisplayRole:
            return HEADERS[section]
        if role == Qt.ItemDataRole.ToolTipRole:
            return TIPS[section]
        return None

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole):
        row, column = self.rows[index.row()], index.column()
        known = not np.isnan(row.millilitres)
        if role == Qt.ItemDataRole.DisplayRole:
            side = _SHORT_SIDES.get(row.side, row.side)
            return ("", row.short_name, side, f"{row.millilitres:,.2f}" if known else "")[column]
        if role == SORT_ROLE:
            return (row.value, row.short_name, row.side, row.millilitres if known else -1.0)[column]
        if role == Qt.ItemDataRole.DecorationRole and column == 0:
            return QColor(*anatomy.color(row.value))
        if role == Qt.ItemDataRole.TextAlignmentRole and column == 3:
            return Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        if role == Qt.ItemDataRole.ToolTipRole:
            return f"{row.name} (FreeSurfer value {row.value})"
        return None


class VolumesTable(QTableView):
    """A view of `VolumesModel` that can be sorted and copied from; it starts sorted by label value."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._model = VolumesModel(self)
        proxy = QSortFilterProxyModel(self)
        proxy.setSourceModel(self._model)
        proxy.setSortRole(SORT_ROLE)
        self.setModel(proxy)
        self.setSortingEnabled(True)
        self.sortByColumn(0, Qt.SortOrder.AscendingOrder)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setWordWrap(False)
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.setShowGrid(False)
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(22)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setMinimumHeight(120)
        header = self.horizontalHeader()
        header.setMinimumSectionSize(24)
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Fixed)
        header.setSectionResizeMode(1, QHeaderView.ResizeMode.Stretch)
        header.resizeSection(0, 26)

    @property
    def rows(self) -> list[VolumeRow]:
        """The rows, in the order of the labels."""
        return self._model.rows

    def set_rows(self, rows: list[VolumeRow]) -> None:
        """Show other rows; an empty list empties the table."""
        self._model.set_rows(rows)
