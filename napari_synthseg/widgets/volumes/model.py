"""The table of volumes for Qt: two sets of columns (structures, or pairs of sides), sorting, and the filter."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QAbstractTableModel, QModelIndex, QSortFilterProxyModel, Qt, Signal
from qtpy.QtGui import QColor, QFont, QPalette
from qtpy.QtWidgets import QWidget

from napari_synthseg import anatomy
from napari_synthseg.segmentation.quality import ratings
from napari_synthseg.widgets.volumes import visibility
from napari_synthseg.widgets.volumes.rows import PairRow, VolumeRow

if TYPE_CHECKING:
    from napari.layers import Labels

LOW_QUALITY = ratings.FAILED
SORT_ROLE = Qt.ItemDataRole.UserRole

Row = VolumeRow | PairRow


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


def _number(value: float, form: str) -> str:
    return "" if math.isnan(value) else format(value, form).replace("-0.0", "0.0").replace("+0.0", "0.0")


def _millilitres(value: float) -> str:
    return _number(value, ",.2f" if value < 100 else ",.1f")


def _known(value: float) -> float:
    return -math.inf if math.isnan(value) else value


_QUALITY_TIP = (
    f"Quality: the Dice to expect, 0 to 1. {ratings.GREEN.sign} good, {ratings.GOOD} or more; {ratings.AMBER.sign} "
    f"doubtful; {ratings.RED.sign} likely failed, below {LOW_QUALITY}.\nWithout a sign it is not calibrated for these "
    f"weights: compare it between structures and scans, and look at what is below {LOW_QUALITY} (marked !)."
)
_SHOWN = Column(
    "",
    "Show or hide; the colour in the layer. Sorts by FreeSurfer value.",
    lambda row: "",
    lambda row: row.values[0],
    widest="☑ ☑",
    number=False,
)
QUALITY = "Qual"
STRUCTURES = (
    _SHOWN,
    Column(
        "Structure", "FreeSurfer name, without its side", lambda r: r.short_name, lambda r: r.short_name, number=False
    ),
    Column("Side", "Side of the body", lambda r: r.side.replace("midline", "mid"), lambda r: r.side, "right", False),
    Column(
        "mL",
        "Volume in millilitres; of a result, the sum of the network's probabilities",
        lambda r: _millilitres(r.millilitres),
        lambda r: _known(r.millilitres),
        "000.0",
    ),
    Column(QUALITY, _QUALITY_TIP, lambda r: _quality_text(r), lambda r: _known(r.quality), "▲ 0.00"),
)
PAIRS = (
    _SHOWN,
    STRUCTURES[1],
    Column(
        "Left",
        "Volume of the left side in millilitres",
        lambda r: _millilitres(r.left.millilitres),
        lambda r: _known(r.left.millilitres),
        "000.0",
    ),
    Column(
        "Right",
        "Volume of the right side in millilitres",
        lambda r: _millilitres(r.right.millilitres),
        lambda r: _known(r.right.millilitres),
        "000.0",
    ),
    Column(
        "L−R %",
        "Asymmetry: 200 (L − R) / (L + R) in percent; positive where the left is larger. Sorts by its size.",
        lambda r: _number(r.asymmetry, "+.1f"),
        lambda r: _known(abs(r.asymmetry)),
        "+00.0",
    ),
)


def _quality_text(row: VolumeRow) -> str:
    sign = row.rating.sign or ("!" if row.quality < LOW_QUALITY else "")
    return f"{sign} {_number(row.quality, '.2f')}".lstrip()


class VolumesModel(QAbstractTableModel):
    """Rows of a Labels layer; a row's check box is whether the layer draws its labels."""

    toggled = Signal(tuple, bool)  # labels, whether they shall be drawn

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._widget = parent
        self.columns = STRUCTURES
        self.rows: list[Row] = []
        self.layer: Labels | None = None

    def set_rows(self, columns: tuple[Column, ...], rows: list[Row], layer: Labels | None) -> None:
        """Show other rows."""
        self.beginResetModel()
        self.columns, self.rows, self.layer = columns, list(rows), layer
        self.endResetModel()

    def refresh_shown(self) -> None:
        """The layer's colours have changed."""
        if self.rows:
            self.dataChanged.emit(self.index(0, 0), self.index(len(self.rows) - 1, 0))

    def rowCount(self, parent: QModelIndex = QModelIndex()) -> int:  # noqa: B008
        return 0 if parent.isValid() else len(self.rows)

    def columnCount(self, parent: QModelIndex = QModelIndex()) -> int:  # noqa: B008
        return 0 if parent.isValid() else len(self.columns)

    def flags(self, index: QModelIndex) -> Qt.ItemFlag:
        flags = super().flags(index)
        return flags | Qt.ItemFlag.ItemIsUserCheckable if index.column() == 0 else flags

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
            return _tip(row)
        if index.column() == 0:
            return self._shown(row, role)
        return self._light(row, role) if column.header == QUALITY and isinstance(row, VolumeRow) else None

    def setData(self, index: QModelIndex, value: Any, role: int = Qt.ItemDataRole.EditRole) -> bool:
        if role != Qt.ItemDataRole.CheckStateRole or index.column() != 0:
            return False
        self.toggled.emit(self.rows[index.row()].values, Qt.CheckState(value) == Qt.CheckState.Checked)
        return True

    def _shown(self, row: Row, role: int):
        if role == Qt.ItemDataRole.DecorationRole:
            color = anatomy.color(row.values[0]) if self.layer is None else visibility.rgb(self.layer, row.values[0])
            return QColor(*color)
        if role == Qt.ItemDataRole.CheckStateRole and self.layer is not None:
            count = len(visibility.visible_among(self.layer, row.values))
            if 0 < count < len(row.values):
                return Qt.CheckState.PartiallyChecked
            return Qt.CheckState.Checked if count else Qt.CheckState.Unchecked
        return None

    def _light(self, row: VolumeRow, role: int):
        light = row.rating
        if not row.calibrated and row.quality < LOW_QUALITY:
            light = ratings.AMBER
        if role == Qt.ItemDataRole.ForegroundRole and light.sign:
            return QColor(shade(light, self._widget))
        if role == Qt.ItemDataRole.FontRole and light in (ratings.AMBER, ratings.RED):
            font = QFont(self._widget.font())
            font.setBold(True)
            return font
        return None


def shade(light: ratings.Rating, widget: QWidget) -> str:
    """The colour of a light on a widget's ground."""
    ground = widget.palette().color(QPalette.ColorRole.Base)
    return light.on_dark if ground.lightness() < 128 else light.on_light


class FilteredRows(QSortFilterProxyModel):
    """Sorts, and keeps the rows that hold every word of the filter in their name, side or value."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._words: list[str] = []
        self.setSortRole(SORT_ROLE)

    def set_filter(self, text: str) -> None:
        """Keep other rows."""
        self._words = text.lower().split()
        self.invalidate()

    def filterAcceptsRow(self, row: int, parent: QModelIndex) -> bool:
        searched = self.sourceModel().rows[row].searched
        return all(word in searched for word in self._words)


def _tip(row: Row) -> str:
    if isinstance(row, PairRow):
        return f"{row.short_name} (FreeSurfer values {row.left.value} and {row.right.value})"
    text = f"{row.name} ({'FreeSurfer value' if row.side else 'label'} {row.value})"
    if row.rating.sign:
        text += f"\nExpected Dice {row.quality:.2f}: {row.rating.word}"
        return text if row.rating is ratings.GREEN else f"{text}; look at it before using it."
    if row.quality < LOW_QUALITY:
        text += f"\nQuality {row.quality:.2f}, not calibrated: look at it before using it."
    return text
