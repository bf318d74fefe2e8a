"""The table of volumes for Qt: two sets of columns (structures, or pairs of sides), sorting, and the filter."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QModelIndex, QSortFilterProxyModel, Qt, Signal
from qtpy.QtGui import QColor, QPalette
from qtpy.QtWidgets import QWidget

from napari_synthseg import anatomy
from napari_synthseg.inference.quality import ratings
from napari_synthseg.widgets._shared.table_model import SORT_ROLE, Column, TableModel, known
from napari_synthseg.widgets.volumes import visibility
from napari_synthseg.widgets.volumes.rows import PairRow, VolumeRow

if TYPE_CHECKING:
    from napari.layers import Labels

LOW_QUALITY = ratings.FAILED

Row = VolumeRow | PairRow


def _number(value: float, form: str) -> str:
    return "" if math.isnan(value) else format(value, form).replace("-0.0", "0.0").replace("+0.0", "0.0")


def _millilitres(value: float) -> str:
    return _number(value, ",.2f" if value < 100 else ",.1f")


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
NAME_COLUMN = 1
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
        lambda r: known(r.millilitres),
        "000.0",
    ),
    Column(QUALITY, _QUALITY_TIP, lambda r: _quality_text(r), lambda r: known(r.quality), "▲ 0.00"),
)
PAIRS = (
    _SHOWN,
    STRUCTURES[1],
    Column(
        "Left",
        "Volume of the left side in millilitres",
        lambda r: _millilitres(r.left.millilitres),
        lambda r: known(r.left.millilitres),
        "000.0",
    ),
    Column(
        "Right",
        "Volume of the right side in millilitres",
        lambda r: _millilitres(r.right.millilitres),
        lambda r: known(r.right.millilitres),
        "000.0",
    ),
    Column(
        "L−R %",
        "Asymmetry: 200 (L − R) / (L + R) in percent; positive where the left is larger. Sorts by its size.",
        lambda r: _number(r.asymmetry, "+.1f"),
        lambda r: known(abs(r.asymmetry)),
        "+00.0",
    ),
)


def _quality_text(row: VolumeRow) -> str:
    sign = row.rating.sign or ("!" if row.quality < LOW_QUALITY else "")
    return f"{sign} {_number(row.quality, '.2f')}".lstrip()


class VolumesModel(TableModel):
    """Rows of a Labels layer; a row's check box is whether the layer draws its labels."""

    toggled = Signal(tuple, bool)  # labels, whether they shall be drawn

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent, STRUCTURES)

    def set_rows(self, columns: tuple[Column, ...], rows: list[Row], layer: Labels | None) -> None:
        """Show other rows."""
        self.show_rows(columns, rows, layer)

    def refresh_shown(self) -> None:
        """The layer's colours have changed."""
        if self.rows:
            self.dataChanged.emit(self.index(0, 0), self.index(len(self.rows) - 1, 0))

    def flags(self, index: QModelIndex) -> Qt.ItemFlag:
        flags = super().flags(index)
        return flags | Qt.ItemFlag.ItemIsUserCheckable if index.column() == 0 else flags

    def tip(self, row: Row) -> str:
        """Its whole name, and what to think of its quality."""
        return _tip(row)

    def cell(self, row: Row, column: int, role: int) -> Any:
        """The first column shows and switches the colour; the quality has a light."""
        if column == 0:
            return self._shown(row, role)
        of_quality = self.columns[column].header == QUALITY and isinstance(row, VolumeRow)
        return self._light(row, role) if of_quality else None

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
            return self.bold()
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
