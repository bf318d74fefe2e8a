"""Validation Dice of a run: its curve in all, and a table of the structures whose curves join it when selected."""

from __future__ import annotations

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtGui import QKeyEvent, QKeySequence
from qtpy.QtWidgets import (
    QAbstractItemView,
    QApplication,
    QFrame,
    QHeaderView,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_synthseg.widgets._shared.controls import Message, Section
from napari_synthseg.widgets.train.curves import Plot, has_plots
from napari_synthseg.widgets.train.watcher import Detail

ALL = "in all"
SCORE = ("score", "dice")
"""Figures of a validation as a whole; the first one found is drawn."""
COLUMNS = ("Structure", "Dice", "Change")
TIP = "Click a structure to see its curve, several with Ctrl; Ctrl+C copies the table."
MOST_ROWS = 8


class DicePanel(Section):
    """Unfolds to the curve and the table."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("Validation Dice", "Dice of the validation: in all, and of each structure", unfolded=True)
        self._detail: Detail | None = None
        self.plot = Plot()
        self.table = DiceTable()
        self.nothing = Message()
        layout = QVBoxLayout(self.body)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        for part in (self.nothing, self.plot, self.table):
            layout.addWidget(part)
        self.table.itemSelectionChanged.connect(self._draw)

    def show_detail(self, detail: Detail | None) -> None:
        """Show what is known of a run now."""
        self._detail = detail
        self.table.show_dice(detail)
        self._draw()

    def _draw(self) -> None:
        lines = self._lines(self._detail)
        self.nothing.say("" if lines or self._detail is None else "The first validation is still to come.")
        self.plot.setVisible(bool(lines) and has_plots())
        if lines and has_plots():
            self.plot.show_lines(lines)

    def _lines(self, detail: Detail | None) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        if detail is None:
            return {}
        lines: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        for stage, series in detail.series.items():
            name = next((one for one in SCORE if one in series and len(series[one][0])), None)
            if name is not None:
                label = ALL if len(detail.stages) == 1 else f"{stage}, {ALL}"
                lines[label] = (series[name][0] + detail.offset(stage), series[name][1])
        chosen = {name: detail.history[name] for name in self.table.selected() if name in detail.history}
        return lines | chosen


class DiceTable(QTableWidget):
    """Structures by name, the newest Dice of each and its change since the validation before."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(0, len(COLUMNS), parent)
        self.setHorizontalHeaderLabels(COLUMNS)
        self.setToolTip(TIP)
        self.setAccessibleName("Dice of each structure")
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setShowGrid(False)
        self.setWordWrap(False)
        self.setTabKeyNavigation(False)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(22)
        header = self.horizontalHeader()
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        for column in (1, 2):
            header.setSectionResizeMode(column, QHeaderView.ResizeMode.Fixed)
            header.resizeSection(column, self.fontMetrics().horizontalAdvance("Change") + 26)
        self.hide()

    def show_dice(self, detail: Detail | None) -> None:
        """Show the newest validation."""
        dice = detail.dice if detail is not None else {}
        names = sorted(dice, key=str.casefold)
        if names != self.names():
            self._rebuild(names)
        for row, name in enumerate(names):
            history = detail.history.get(name) if detail is not None else None
            change = float(history[1][-1] - history[1][-2]) if history is not None and len(history[1]) > 1 else None
            self.item(row, 1).setText(f"{dice[name]:.3f}")
            self.item(row, 2).setText("" if change is None else f"{change:+.3f}")
        self.setVisible(bool(names))

    def names(self) -> list[str]:
        """The structures, from top to bottom."""
        return [self.item(row, 0).text() for row in range(self.rowCount())]

    def selected(self) -> list[str]:
        """The selected structures, from top to bottom."""
        rows = sorted({index.row() for index in self.selectedIndexes()})
        return [self.item(row, 0).text() for row in rows]

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        """Ctrl+C copies the whole table as text with tabs."""
        if event is not None and event.matches(QKeySequence.StandardKey.Copy):
            rows = [[self.item(row, column).text() for column in range(3)] for row in range(self.rowCount())]
            QApplication.clipboard().setText("\n".join("\t".join(row) for row in [list(COLUMNS), *rows]))
            return
        super().keyPressEvent(event)

    def _rebuild(self, names: list[str]) -> None:
        self.blockSignals(True)
        self.setRowCount(len(names))
        for row, name in enumerate(names):
            for column, text in enumerate((name, "", "")):
                item = QTableWidgetItem(text)
                item.setToolTip(f"{name}. {TIP}")
                if column:
                    item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
                self.setItem(row, column, item)
        self.clearSelection()
        self.blockSignals(False)
        rows = min(len(names), MOST_ROWS)
        self.setFixedHeight(self.horizontalHeader().sizeHint().height() + 22 * rows + 4)
