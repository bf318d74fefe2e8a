"""The table of scores for Qt."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from qtpy.QtCore import QAbstractTableModel, QModelIndex, Qt
from qtpy.QtGui import QColor, QFont
from qtpy.QtWidgets import QWidget

from napari_synthseg import anatomy
from napari_synthseg.widgets.evaluate.rows import ScoreRow
from napari_synthseg.widgets.volumes import visibility
from napari_synthseg.widgets.volumes.model import SORT_ROLE, Column

if TYPE_CHECKING:
    from napari.layers import Labels


def _number(value: float, form: str) -> str:
    return "" if math.isnan(value) else format(value, form)


def _known(value: float) -> float:
    return -math.inf if math.isnan(value) else value


COLUMNS = (
    Column("Structure", "Left or right, and name; bold: enters the means", lambda r: f"{r.mark}{r.short_name}",
           lambda r: f"{r.short_name} {r.side}", number=False),
    Column("Dice", "Overlap, 0 to 1", lambda r: _number(r.dice, ".3f"), lambda r: _known(r.dice), "0.000"),
    Column("SD95", "95th percentile of the distances between the surfaces, mm", lambda r: _number(r.sd95_mm, ".1f"),
           lambda r: _known(r.sd95_mm), "00.0"),
    Column("Dist", "Mean distance between the surfaces, mm", lambda r: _number(r.msd_mm, ".2f"),
           lambda r: _known(r.msd_mm), "0.00"),
    Column("Vol %", "Volume: 100 (labels - truth) / truth, percent. Sorts by its size.",
           lambda r: _number(r.difference_percent, "+.0f"), lambda r: _known(abs(r.difference_percent)), "+000"),
)  # fmt: skip
NAME_COLUMN = 0


class ScoresModel(QAbstractTableModel):
    """Rows of a comparison."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._widget = parent
        self.columns = COLUMNS
        self.rows: list[ScoreRow] = []
        self.layer: Labels | None = None

    def set_rows(self, rows: list[ScoreRow], layer: Labels | None) -> None:
        """Show other rows.

        Args:
            rows: what to show.
            layer: whose colours the first column has.
        """
        self.beginResetModel()
        self.rows, self.layer = list(rows), layer
        self.endResetModel()

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
            return _tip(row)
        if role == Qt.ItemDataRole.DecorationRole and index.column() == NAME_COLUMN:
            color = anatomy.color(row.value) if self.layer is None else visibility.rgb(self.layer, row.value)
            return QColor(*color)
        if role == Qt.ItemDataRole.FontRole and index.column() == NAME_COLUMN and row.scored:
            font = QFont(self._widget.font())
            font.setBold(True)
            return font
        return None


def _tip(row: ScoreRow) -> str:
    text = f"{row.name} (label {row.value}{', ' + row.lack if row.lack else ''})"
    millilitres = [f"{mm3 / 1000:,.2f}" for mm3 in (row.volume_mm3, row.truth_volume_mm3)]
    return f"{text}\n{millilitres[0]} mL, truth {millilitres[1]} mL\nClick: go to the slice in which it is worst."
