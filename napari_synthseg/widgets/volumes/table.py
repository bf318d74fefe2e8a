"""The table of volumes: sorted by a click on a header, driven by clicks and keys, copied as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QModelIndex, Qt, Signal
from qtpy.QtGui import QAction, QContextMenuEvent, QKeyEvent, QKeySequence
from qtpy.QtWidgets import QAbstractItemView, QApplication, QHeaderView, QMenu, QWidget

from napari_synthseg.widgets._shared.name_column import NamedTable
from napari_synthseg.widgets.volumes.model import (
    NAME_COLUMN,
    PAIRS,
    QUALITY,
    STRUCTURES,
    FilteredRows,
    Row,
    VolumesModel,
)
from napari_synthseg.widgets.volumes.rows import VolumeRow, as_tsv, pairs_of

if TYPE_CHECKING:
    from napari.layers import Labels

SIGNS = "! ●▲■"
_MOVES = (Qt.Key.Key_Up, Qt.Key.Key_Down, Qt.Key.Key_PageUp, Qt.Key.Key_PageDown, Qt.Key.Key_Home, Qt.Key.Key_End)


class VolumesTable(NamedTable):
    """A view of the volumes of one layer; it says what is wanted and changes nothing itself.

    Keys: up and down centre on the next structure, Space shows or hides the selected ones, Return shows only them
    (and all again), Ctrl+C copies them.
    """

    chosen = Signal(tuple)  # labels to centre on
    isolated = Signal(tuple)  # labels to show alone, or all again
    toggled = Signal(tuple, bool)  # labels to show or hide
    probability = Signal(int)  # the label whose probability is wanted

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(NAME_COLUMN, "Cer-Ctx 0", parent)
        self._rows: list[VolumeRow] = []
        self._paired = False
        self._source = VolumesModel(self)
        self._source.toggled.connect(self.toggled)
        self._filtered = FilteredRows(self)
        self._filtered.setSourceModel(self._source)
        self.setModel(self._filtered)
        self.clicked.connect(self._on_clicked)
        self.doubleClicked.connect(self._on_double_clicked)
        self._look()

    def _look(self) -> None:
        self.setSortingEnabled(True)
        self.sortByColumn(0, Qt.SortOrder.AscendingOrder)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setTabKeyNavigation(False)
        self.setWordWrap(False)
        self.setTextElideMode(Qt.TextElideMode.ElideRight)
        self.setShowGrid(False)
        self.setAccessibleName("Volumes")
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(22)
        self.setMinimumHeight(150)
        self.horizontalHeader().setMinimumSectionSize(24)

    @property
    def rows(self) -> list[VolumeRow]:
        """Every structure, in the order of the labels, whatever is filtered or paired."""
        return self._rows

    @property
    def paired(self) -> bool:
        """Whether a row is a pair of sides."""
        return self._paired

    def set_rows(self, rows: list[VolumeRow], layer: Labels | None = None) -> None:
        """Show other rows; an empty list empties the table.

        Args:
            rows: every structure.
            layer: whose colours and visibility the first column shows.
        """
        self._rows = rows
        self._show(layer)

    def set_paired(self, paired: bool) -> None:
        """Show left, right and asymmetry side by side, or a row for every structure."""
        if paired != self._paired:
            self._paired = paired
            self._show(self._source.layer)

    def set_filter(self, text: str) -> None:
        """Keep the rows that hold these words."""
        self._filtered.set_filter(text)

    def refresh_shown(self) -> None:
        """The layer's colours have changed."""
        self._source.refresh_shown()

    def listed(self) -> tuple[int, ...]:
        """The labels of the rows that the filter keeps."""
        return _values(self._row(self._filtered.index(row, 0)) for row in range(self._filtered.rowCount()))

    def selected(self) -> tuple[int, ...]:
        """The labels of the selected rows, from top to bottom."""
        return _values(self._row(index) for index in self._selection())

    def copy(self) -> None:
        """Put the selected rows (all, if none is) on the clipboard, with the header, as text with tabs."""
        lines = [[column.header for column in self._source.columns[1:]]]
        indexes = self._selection() or [self._filtered.index(row, 0) for row in range(self._filtered.rowCount())]
        for index in indexes:
            lines.append([column.text(self._row(index)).lstrip(SIGNS) for column in self._source.columns[1:]])
        QApplication.clipboard().setText(as_tsv(lines))

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """See the class."""
        if event.matches(QKeySequence.StandardKey.Copy):
            self.copy()
        elif event.key() == Qt.Key.Key_Space and self.selected():
            self._toggle_selected()
        elif event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and self.selected():
            self.isolated.emit(self.selected())
        else:
            super().keyPressEvent(event)
            if event.key() in _MOVES and self.currentIndex().isValid():
                self.chosen.emit(self._row(self.currentIndex()).values)
            return
        event.accept()

    def contextMenuEvent(self, event: QContextMenuEvent) -> None:
        """The menu of the row under the mouse, or with the keyboard's menu key of the current one."""
        keyed = event.reason() == QContextMenuEvent.Reason.Keyboard
        index = self.currentIndex() if keyed else self.indexAt(event.pos())
        if not index.isValid():
            return
        menu = self.menu_at(index)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        menu.popup(self.viewport().mapToGlobal(self.visualRect(index).center()) if keyed else event.globalPos())

    def menu_at(self, index: QModelIndex) -> QMenu:
        """The menu of a row."""
        row = self._row(index)
        values = self.selected() if index in self.selectionModel().selectedIndexes() else row.values
        menu = QMenu(self)
        self._add(menu, "Centre on it", lambda: self.chosen.emit(row.values))
        self._add(menu, "Show only this", lambda: self.isolated.emit(values))
        menu.addSeparator()
        parts = (row,) if isinstance(row, VolumeRow) else (row.left, row.right)
        for part in parts:
            side = "" if len(parts) == 1 else f" ({part.side})"
            self._add(menu, f"Probability as a layer{side}", lambda value=part.value: self.probability.emit(value))
        menu.addSeparator()
        self._add(menu, "Copy rows", self.copy)
        return menu

    def _add(self, menu: QMenu, text: str, act) -> QAction:
        action = menu.addAction(text)
        action.triggered.connect(lambda *_: act())
        return action

    def _show(self, layer: Labels | None) -> None:
        listed = pairs_of(self._rows) if self._paired else self._rows
        self._source.set_rows(PAIRS if self._paired else STRUCTURES, list(listed), layer)

        self._set_widths()
        rated = any(row.quality >= 0 for row in self._rows)  # of labels that come from a file nothing is known
        for number, column in enumerate(self._source.columns):
            self.setColumnHidden(number, column.header == QUALITY and not rated)
        self.fit_names()

    def _set_widths(self) -> None:
        """Each column as wide as its texts and its header, the names with what is left."""
        header, room = self.horizontalHeader(), self.fontMetrics().horizontalAdvance("00")
        for number, column in enumerate(self._source.columns):
            if column.widest:
                header.setSectionResizeMode(number, QHeaderView.ResizeMode.Fixed)
                widths = [self.fontMetrics().horizontalAdvance(text) for text in (column.widest, column.header)]
                arrow = 8 if column.number else 0
                header.resizeSection(number, max(widths[0], widths[1] + arrow) + room)

    def _row(self, index: QModelIndex) -> Row:
        return self._source.rows[self._filtered.mapToSource(index).row()]

    def _selection(self) -> list[QModelIndex]:
        return sorted(self.selectionModel().selectedRows(), key=lambda index: index.row())

    def _part(self, index: QModelIndex) -> tuple[int, ...]:
        """The labels a cell stands for: of a pair's left or right volume, that side alone."""
        row = self._row(index)
        if isinstance(row, VolumeRow):
            return row.values
        return {2: (row.left.value,), 3: (row.right.value,)}.get(index.column(), row.values)

    def _toggle_selected(self) -> None:
        first = self._filtered.index(self._selection()[0].row(), 0)
        state = Qt.CheckState(first.data(Qt.ItemDataRole.CheckStateRole))  # PySide gives a number
        self.toggled.emit(self.selected(), state != Qt.CheckState.Checked)

    def _on_clicked(self, index: QModelIndex) -> None:
        if index.column() > 0 and not _modified():
            self.chosen.emit(self._part(index))

    def _on_double_clicked(self, index: QModelIndex) -> None:
        if index.column() > 0:
            self.isolated.emit(self._part(index))


def _modified() -> bool:
    """Whether rows are being added to a selection."""
    keys = Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier
    return bool(QApplication.keyboardModifiers() & keys)


def _values(rows) -> tuple[int, ...]:
    return tuple(value for row in rows for value in row.values)
