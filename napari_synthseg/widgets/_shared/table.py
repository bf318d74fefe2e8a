"""One table for all widgets: rows of any kind, shown by declared columns; sorted, filtered, copied and saved.

>>> from napari_synthseg.widgets._shared.table import Column
>>> Column("Dice", "Overlap, 0 to 1", lambda row: f"{row:.3f}").text(0.5)
'0.500'
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from qtpy.QtCore import QAbstractTableModel, QModelIndex, QSortFilterProxyModel, Qt, Signal
from qtpy.QtGui import QColor, QFont, QKeyEvent, QKeySequence, QPalette, QResizeEvent
from qtpy.QtWidgets import (
    QAbstractItemView,
    QApplication,
    QHeaderView,
    QLineEdit,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTableView,
    QWidget,
)

SORT_ROLE = Qt.ItemDataRole.UserRole
ROOM = 5
"""Beside the text of a cell, pixels, and the width of a digit."""
LINE = 22
"""Height of a row, pixels."""
_MOVES = (Qt.Key.Key_Up, Qt.Key.Key_Down, Qt.Key.Key_PageUp, Qt.Key.Key_PageDown, Qt.Key.Key_Home, Qt.Key.Key_End)


@dataclass(frozen=True)
class Column:
    """A column of a table; all functions take a row.

    Attributes:
        header: its title; a column without one is not copied.
        tip: tooltip of the title.
        text: the text of a cell.
        key: the value to sort by; the text if None.
        widest: a text that has room; without one the column is as wide as its texts, or the one of the names.
        number: whether the texts stand on the right.
        color: (red, green, blue), 0-255, of a square before the text.
        shade: color of the text on (light, dark) ground, or None.
        bold: whether the text is bold.
        checked: state of a check box: True, False, or None if partly.
        copied: the text that is copied, if another one.
        editable: whether the texts can be changed, see `Table.edited`.
    """

    header: str
    tip: str
    text: Callable[[Any], str]
    key: Callable[[Any], Any] | None = None
    widest: str = ""
    number: bool = True
    color: Callable[[Any], tuple[int, int, int]] | None = None
    shade: Callable[[Any], tuple[str, str] | None] | None = None
    bold: Callable[[Any], bool] | None = None
    checked: Callable[[Any], bool | None] | None = None
    copied: Callable[[Any], str] | None = None
    editable: bool = False


def sortable(value: float) -> float:
    """Return the value to sort a number by: an unknown one (NaN) comes before all others."""
    return -math.inf if math.isnan(value) else value


def number_text(value: float, form: str) -> str:
    """Format a number; NaN is empty, and zero has no sign."""
    return "" if math.isnan(value) else format(value, form).replace("-0.0", "0.0").replace("+0.0", "0.0")


class TableModel(QAbstractTableModel):
    toggled = Signal(object, bool)  # a row's check box was clicked: the row, whether it shall be on
    edited = Signal(object, str)  # the row, its new text

    def __init__(self, parent: QWidget, tip: Callable[[Any], str] | None = None) -> None:
        super().__init__(parent)
        self._view, self._tip = parent, tip
        self.columns: tuple[Column, ...] = ()
        self.rows: list[Any] = []

    def show_rows(self, rows: Sequence[Any], columns: Sequence[Column]) -> None:
        self.beginResetModel()
        self.columns, self.rows = tuple(columns), list(rows)
        self.endResetModel()

    def rowCount(self, parent: QModelIndex = QModelIndex()) -> int:  # noqa: B008
        return 0 if parent.isValid() else len(self.rows)

    def columnCount(self, parent: QModelIndex = QModelIndex()) -> int:  # noqa: B008
        return 0 if parent.isValid() else len(self.columns)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole):
        if orientation != Qt.Orientation.Horizontal:
            return None
        column = self.columns[section]
        if role == Qt.ItemDataRole.TextAlignmentRole:
            # the arrow of the sorted column is drawn at the right: numbers, narrow, have their header left of it
            side = Qt.AlignmentFlag.AlignHCenter if column.number else Qt.AlignmentFlag.AlignLeft
            return side | Qt.AlignmentFlag.AlignVCenter
        return {Qt.ItemDataRole.DisplayRole: column.header, Qt.ItemDataRole.ToolTipRole: column.tip}.get(role)

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole):
        row, column = self.rows[index.row()], self.columns[index.column()]
        if role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.EditRole):
            return column.text(row)
        if role == SORT_ROLE:
            return column.key(row) if column.key is not None else column.text(row)
        if role == Qt.ItemDataRole.TextAlignmentRole and column.number:
            return Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        if role == Qt.ItemDataRole.ToolTipRole and self._tip is not None:
            return self._tip(row)
        return self._look(row, column, role)

    def _look(self, row: Any, column: Column, role: int) -> Any:
        if role == Qt.ItemDataRole.DecorationRole and column.color is not None:
            return QColor(*column.color(row))
        if role == Qt.ItemDataRole.FontRole and column.bold is not None and column.bold(row):
            font = QFont(self._view.font())
            font.setBold(True)
            return font
        if role == Qt.ItemDataRole.ForegroundRole and column.shade is not None and (shades := column.shade(row)):
            return QColor(shades[on_dark_ground(self._view)])
        if role == Qt.ItemDataRole.CheckStateRole and column.checked is not None:
            states = {True: Qt.CheckState.Checked, False: Qt.CheckState.Unchecked, None: Qt.CheckState.PartiallyChecked}
            return states[column.checked(row)]
        return None

    def flags(self, index: QModelIndex) -> Qt.ItemFlag:
        flags, column = super().flags(index), self.columns[index.column()]
        if column.editable:
            flags |= Qt.ItemFlag.ItemIsEditable
        return flags | Qt.ItemFlag.ItemIsUserCheckable if column.checked is not None else flags

    def setData(self, index: QModelIndex, value: Any, role: int = Qt.ItemDataRole.EditRole) -> bool:
        row = self.rows[index.row()]
        if role == Qt.ItemDataRole.EditRole:
            self.edited.emit(row, str(value).strip())
        elif role == Qt.ItemDataRole.CheckStateRole:
            self.toggled.emit(row, Qt.CheckState(value) == Qt.CheckState.Checked)
        return role in (Qt.ItemDataRole.EditRole, Qt.ItemDataRole.CheckStateRole)


class _FilteredRows(QSortFilterProxyModel):
    """Sorts, and keeps the rows with every word of the filter."""

    def __init__(self, source: TableModel, searched: Callable[[Any], str]) -> None:
        super().__init__(source)
        self.words: list[str] = []
        self._rows, self._searched = source, searched
        self.setSortRole(SORT_ROLE)
        self.setSourceModel(source)

    def filterAcceptsRow(self, row: int, parent: QModelIndex) -> bool:
        text = self._searched(self._rows.rows[row]).lower()
        return all(word in text for word in self.words)


class Table(QTableView):
    """A view of rows.

    Keys: up and down pick the next row, Return confirms the selected ones, Ctrl+C copies them (all, if none is).

    Args:
        name: for screen readers.
        searched: returns the text of a row that the filter searches; that of all columns if None.
        tip: returns the tooltip of a row.
        names: the column of names, which gets the room that the others leave.
        least: a name that has room in the narrowest table.
    """

    picked = Signal(object, int)  # row, column: clicked, or gone to by a key
    confirmed = Signal(object)  # list of rows
    toggled = Signal(object, bool)  # row, whether its check box shall be on
    edited = Signal(object, str)  # row, its new text

    def __init__(
        self,
        name: str,
        *,
        searched: Callable[[Any], str] | None = None,
        tip: Callable[[Any], str] | None = None,
        names: int | None = None,
        least: str = "",
    ) -> None:
        super().__init__()
        self._names, self._least = names, least
        self._source = TableModel(self, tip)
        texts = searched or (lambda row: " ".join(column.text(row) for column in self.columns))
        self._filtered = _FilteredRows(self._source, texts)
        self.setModel(self._filtered)
        self._source.toggled.connect(self.toggled)
        self._source.edited.connect(self.edited)
        self.clicked.connect(self._on_clicked)
        if names is not None:
            self.setItemDelegateForColumn(names, _NameDelegate(self))
        self.setAccessibleName(name)
        self.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setSortingEnabled(True)
        self.sortByColumn(-1, Qt.SortOrder.AscendingOrder)  # in their own order
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setTabKeyNavigation(False)
        self.setWordWrap(False)
        self.setShowGrid(False)
        self.verticalHeader().hide()
        self.verticalHeader().setMinimumSectionSize(LINE)
        self.verticalHeader().setDefaultSectionSize(LINE)
        self.horizontalHeader().setMinimumSectionSize(24)

    @property
    def rows(self) -> list[Any]:
        """All rows in their own order, whatever is filtered."""
        return self._source.rows

    @property
    def columns(self) -> tuple[Column, ...]:
        return self._source.columns

    def show_rows(self, rows: Sequence[Any], columns: Sequence[Column]) -> None:
        self._source.show_rows(rows, columns)
        self._fit()

    def refresh(self) -> None:
        """Ask for all cells again, as after a change of colors."""
        if self.rows:
            last = self._source.index(len(self.rows) - 1, len(self.columns) - 1)
            self._source.dataChanged.emit(self._source.index(0, 0), last)

    def set_filter(self, text: str) -> None:
        self._filtered.words = text.lower().split()
        self._filtered.invalidate()

    def filter_line(self, tip: str) -> QLineEdit:
        """Make a line whose words filter the rows."""
        line = QLineEdit()
        line.setPlaceholderText("Filter, such as left hip")
        line.setToolTip(tip)
        line.setClearButtonEnabled(True)
        line.setMinimumWidth(60)
        line.textChanged.connect(self.set_filter)
        return line

    def fit_height(self, most: int) -> None:
        """Be as high as the rows, or as `most` of them."""
        header = 0 if self.horizontalHeader().isHidden() else self.horizontalHeader().sizeHint().height()
        self.setFixedHeight(header + LINE * min(len(self.rows), most) + 4)

    def row_at(self, index: QModelIndex) -> Any:
        return self.rows[self._filtered.mapToSource(index).row()]

    def listed(self) -> list[Any]:
        return [self.row_at(self._filtered.index(row, 0)) for row in range(self._filtered.rowCount())]

    def selected(self) -> list[Any]:
        return [self.row_at(index) for index in sorted(self.selectionModel().selectedRows(), key=QModelIndex.row)]

    def select(self, row: Any) -> None:
        """Make a row of `rows` the current one, without a signal of ours; None selects nothing."""
        if row is None:
            self.clearSelection()
            return
        number = next(number for number, one in enumerate(self.rows) if one is row)
        index = self._filtered.mapFromSource(self._source.index(number, 0))
        if index.row() != self.currentIndex().row() or not self.selected():
            self.selectRow(index.row())
            self.scrollTo(index)

    def copy(self) -> None:
        """Put the selected rows (all, if none is) on the clipboard, with the header, as text with tabs."""
        columns = [column for column in self.columns if column.header]
        lines = [[column.header for column in columns]]
        lines += [
            [(column.copied or column.text)(row) for column in columns] for row in self.selected() or self.listed()
        ]
        out = io.StringIO()
        csv.writer(out, delimiter="\t", lineterminator="\n").writerows(lines)
        QApplication.clipboard().setText(out.getvalue())

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.matches(QKeySequence.StandardKey.Copy):
            self.copy()
        elif event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and self.selected():
            self.confirmed.emit(self.selected())
        else:
            super().keyPressEvent(event)
            if event.key() in _MOVES and self.currentIndex().isValid():
                self.picked.emit(self.row_at(self.currentIndex()), self.currentIndex().column())
            return
        event.accept()

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        super().resizeEvent(event)
        self.fit_names()

    def fit_names(self) -> None:
        header = self.horizontalHeader()
        if self._names is None or header.count() <= self._names:
            return
        others = sum(header.sectionSize(one) for one in range(header.count()) if one != self._names)
        least = self.fontMetrics().horizontalAdvance(self._least)
        header.setSectionResizeMode(self._names, QHeaderView.ResizeMode.Fixed)
        header.resizeSection(self._names, max(least, self.viewport().width() - others))

    def _fit(self) -> None:
        header, metrics = self.horizontalHeader(), self.fontMetrics()
        for number, column in enumerate(self.columns):
            if number == self._names:
                continue
            texts = [column.widest] if column.widest else [column.text(row) for row in self.rows]
            arrow = 8 if column.number else 0
            widths = [*map(metrics.horizontalAdvance, texts), metrics.horizontalAdvance(column.header) + arrow]
            header.setSectionResizeMode(number, QHeaderView.ResizeMode.Fixed)
            header.resizeSection(number, max(widths) + metrics.horizontalAdvance("0") + ROOM)
        self.fit_names()

    def _on_clicked(self, index: QModelIndex) -> None:
        adding = Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier
        if self.columns[index.column()].checked is None and not QApplication.keyboardModifiers() & adding:
            self.picked.emit(self.row_at(index), index.column())


def on_dark_ground(widget: QWidget) -> bool:
    return widget.palette().color(QPalette.ColorRole.Base).lightness() < 128


# Names of structures in narrow columns

SHORT = (
    ("White-Matter", "WM"),
    ("Cerebral", "Cer"),
    ("Cortex", "Ctx"),
    ("Cerebellum", "Cbl"),
    ("Lateral", "Lat"),
    ("Ventricle", "Vent"),
    ("Hippocampus", "Hip"),
    ("Accumbens-area", "Accumbens"),
    ("hypointensities", "hypo"),
)
"""Parts of FreeSurfer's names and their usual abbreviations."""


def shorter(name: str) -> Iterator[str]:
    """Yield the name of a structure with more and more of its usual abbreviations: "Cerebellum-WM", "Cbl-WM"."""
    yield name
    for whole, short in SHORT:
        if whole in name:
            name = name.replace(whole, short)
            yield name


class _NameDelegate(QStyledItemDelegate):
    """Draws whole names if there is room for them, else shorter ones, and elides the middle of those.

    Endings tell structures apart: white matter from cortex, left from right parcels.
    """

    def initStyleOption(self, option: QStyleOptionViewItem, index: QModelIndex) -> None:
        super().initStyleOption(option, index)
        option.textElideMode = Qt.TextElideMode.ElideMiddle
        room = _room(option)
        for text in shorter(option.text) if room > 0 else ():
            option.text = text
            if option.fontMetrics.horizontalAdvance(text) <= room:
                break


def _room(option: QStyleOptionViewItem) -> int:
    """Return the width that a cell has for its text; 0 while it is only measured."""
    style = option.widget.style() if option.widget is not None else QApplication.style()
    if style is None or option.rect.width() <= 0:
        return 0
    place = style.subElementRect(QStyle.SubElement.SE_ItemViewItemText, option, option.widget)
    margin = style.pixelMetric(QStyle.PixelMetric.PM_FocusFrameHMargin, None, option.widget) + 1
    return place.width() - 2 * margin
