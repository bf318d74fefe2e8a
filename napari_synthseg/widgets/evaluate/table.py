"""The table of scores: sorted by a click on a header, driven by clicks and keys, copied as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QModelIndex, Qt, Signal
from qtpy.QtGui import QKeyEvent, QKeySequence
from qtpy.QtWidgets import QAbstractItemView, QApplication, QHeaderView, QWidget

from napari_synthseg.widgets._shared.name_column import NamedTable
from napari_synthseg.widgets.evaluate.model import COLUMNS, NAME_COLUMN, ScoresModel
from napari_synthseg.widgets.evaluate.rows import ScoreRow
from napari_synthseg.widgets.volumes.model import FilteredRows
from napari_synthseg.widgets.volumes.rows import as_tsv

if TYPE_CHECKING:
    from napari.layers import Labels

_MOVES = (Qt.Key.Key_Up, Qt.Key.Key_Down, Qt.Key.Key_PageUp, Qt.Key.Key_PageDown, Qt.Key.Key_Home, Qt.Key.Key_End)


class ScoresTable(NamedTable):
    """A view of the scores of one comparison; it says what is wanted and changes nothing itself.

    Keys: up and down go to the next structure's worst slice, Return to the current one's, Ctrl+C copies.
    """

    chosen = Signal(int)  # the label to go to

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(NAME_COLUMN, "■■ L Inf-Lat-Vent", parent)
        self._source = ScoresModel(self)
        self._filtered = FilteredRows(self)
        self._filtered.setSourceModel(self._source)
        self.setModel(self._filtered)
        self.clicked.connect(self._on_clicked)
        self._look()

    def _look(self) -> None:
        self.setSortingEnabled(True)
        self.sortByColumn(-1, Qt.SortOrder.AscendingOrder)  # by label, as they come
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setTabKeyNavigation(False)
        self.setWordWrap(False)
        self.setShowGrid(False)
        self.setAccessibleName("Scores")
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(22)
        self.setMinimumHeight(150)
        header, room = self.horizontalHeader(), self.fontMetrics().horizontalAdvance("0") + 4
        header.setMinimumSectionSize(24)
        for number, column in enumerate(COLUMNS):
            if column.widest:
                header.setSectionResizeMode(number, QHeaderView.ResizeMode.Fixed)
                widths = [self.fontMetrics().horizontalAdvance(text) for text in (column.widest, column.header)]
                header.resizeSection(number, max(widths[0], widths[1] + 8 * column.number) + room)
        self.fit_names()

    @property
    def rows(self) -> list[ScoreRow]:
        """Every structure, in the order of the labels, whatever is filtered."""
        return self._source.rows

    def set_rows(self, rows: list[ScoreRow], layer: Labels | None = None) -> None:
        """Show other rows; an empty list empties the table.

        Args:
            rows: every structure.
            layer: whose colours the first column shows.
        """
        self._source.set_rows(rows, layer)

    def set_filter(self, text: str) -> None:
        """Keep the rows that hold these words."""
        self._filtered.set_filter(text)

    def copy(self) -> None:
        """Put the selected rows (all, if none is) on the clipboard, with the header, as text with tabs."""
        lines = [[column.header for column in COLUMNS]]
        chosen = sorted(self.selectionModel().selectedRows(), key=lambda index: index.row())
        indexes = chosen or [self._filtered.index(row, 0) for row in range(self._filtered.rowCount())]
        for index in indexes:
            lines.append([column.text(self._row(index)) for column in COLUMNS])
        QApplication.clipboard().setText(as_tsv(lines))

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """See the class."""
        if event.matches(QKeySequence.StandardKey.Copy):
            self.copy()
        elif event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and self.currentIndex().isValid():
            self._on_clicked(self.currentIndex())
        else:
            super().keyPressEvent(event)
            if event.key() in _MOVES and self.currentIndex().isValid():
                self._on_clicked(self.currentIndex())
            return
        event.accept()

    def _row(self, index: QModelIndex) -> ScoreRow:
        return self._source.rows[self._filtered.mapToSource(index).row()]

    def _on_clicked(self, index: QModelIndex) -> None:
        self.chosen.emit(self._row(index).value)
