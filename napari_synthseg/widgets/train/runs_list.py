"""The list of all runs: two lines each, with a thin progress bar."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qtpy.QtCore import QAbstractListModel, QModelIndex, QPersistentModelIndex, QRect, QSize, Qt, Signal
from qtpy.QtGui import QColor, QFont, QFontMetrics, QPainter, QPalette
from qtpy.QtWidgets import (
    QAbstractItemView,
    QFrame,
    QListView,
    QSizePolicy,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QWidget,
)

from napari_synthseg.widgets.train.model import COLORS, SIGNS, Listed, fraction_done, status_line

MARGIN, BAR, SIGN_WIDTH = 5, 3, 20
FEWEST_ROWS, MOST_ROWS = 1, 5
LISTED = Qt.ItemDataRole.UserRole
Index = QModelIndex | QPersistentModelIndex


class RunsModel(QAbstractListModel):
    """Runs as the watcher last saw them.

    Args:
        titles: of the recipes, by name.
    """

    def __init__(self, titles: Mapping[str, str], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._titles = titles
        self.rows: list[Listed] = []

    def rowCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008
        """Return the number of runs."""
        return 0 if parent.isValid() else len(self.rows)

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Return a run, its name, or its description."""
        if not index.isValid() or index.row() >= len(self.rows):
            return None
        one = self.rows[index.row()]
        if role == LISTED:
            return one
        if role == Qt.ItemDataRole.DisplayRole:
            return one.run.name
        if role == Qt.ItemDataRole.ToolTipRole:
            return "\n".join(filter(None, (one.run.name, self.line(one), one.state.message, str(one.run))))
        if role == Qt.ItemDataRole.AccessibleTextRole:
            return f"{one.run.name}: {self.line(one)}"
        return None

    def line(self, one: Listed) -> str:
        """Return the second line of a row."""
        return status_line(one.state, self._titles, one.recipe, one.dice)

    def set_rows(self, rows: list[Listed]) -> bool:
        """Show the current runs; returns whether they are other runs than before."""
        if [one.run for one in rows] != [one.run for one in self.rows]:
            self.beginResetModel()
            self.rows = rows
            self.endResetModel()
            return True
        before, self.rows = self.rows, rows
        for number, (old, new) in enumerate(zip(before, rows, strict=True)):
            if old != new:
                self.dataChanged.emit(self.index(number), self.index(number))
        return False


class RowDelegate(QStyledItemDelegate):
    """Draws a row: a colored sign, name and percentage; below it the rest, in a softer color."""

    def sizeHint(self, option: QStyleOptionViewItem, index: Index) -> QSize:
        """Two lines and the bar."""
        return QSize(200, 2 * QFontMetrics(option.font).height() + BAR + 2 * MARGIN + 3)

    def paint(self, painter: QPainter | None, option: QStyleOptionViewItem, index: Index) -> None:
        """Draw one row."""
        one = index.data(LISTED)
        if one is None or painter is None:
            return
        painter.save()
        selected = bool(option.state & QStyle.StateFlag.State_Selected)
        palette = option.palette
        if selected:
            painter.fillRect(option.rect, palette.color(QPalette.ColorRole.Highlight))
        text = palette.color(QPalette.ColorRole.HighlightedText if selected else QPalette.ColorRole.Text)
        area = option.rect.adjusted(MARGIN, MARGIN, -MARGIN, -MARGIN)
        self._draw_name(painter, option.font, area, one, text)
        self._draw_line(painter, option.font, area, index, text)
        self._draw_bar(painter, area, one, text)
        painter.restore()

    def _draw_name(self, painter: QPainter, base: QFont, area: QRect, one: Listed, text: QColor) -> None:
        font = QFont(base)
        font.setBold(True)
        metrics, height = QFontMetrics(font), QFontMetrics(base).height()
        painter.setFont(base)
        painter.setPen(QColor(COLORS.get(one.state.kind, "#8a8f98")))
        left = Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
        painter.drawText(QRect(area.left(), area.top(), SIGN_WIDTH, height), left, SIGNS.get(one.state.kind, "·"))
        done = f"{100 * fraction_done(one.state):.0f} %" if one.state.total else ""
        width = metrics.horizontalAdvance("100 %")
        painter.setPen(text)
        painter.setFont(font)
        room = area.width() - SIGN_WIDTH - width - 6
        name = metrics.elidedText(one.run.name, Qt.TextElideMode.ElideMiddle, room)
        painter.drawText(QRect(area.left() + SIGN_WIDTH, area.top(), room, height), left, name)
        right = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        painter.drawText(QRect(area.right() - width, area.top(), width, height), right, done)

    def _draw_line(self, painter: QPainter, font: QFont, area: QRect, index: Index, text: QColor) -> None:
        metrics = QFontMetrics(font)
        model = index.model()
        line = model.line(index.data(LISTED)) if isinstance(model, RunsModel) else ""
        soft = QColor(text)
        soft.setAlpha(170)
        painter.setFont(font)
        painter.setPen(soft)
        place = QRect(area.left() + SIGN_WIDTH, area.top() + metrics.height() + 2, area.width() - SIGN_WIDTH,
                      metrics.height())  # fmt: skip
        shown = metrics.elidedText(line, Qt.TextElideMode.ElideRight, place.width())
        painter.drawText(place, Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter, shown)

    def _draw_bar(self, painter: QPainter, area: QRect, one: Listed, text: QColor) -> None:
        whole = QRect(area.left() + SIGN_WIDTH, area.bottom() - BAR + 2, area.width() - SIGN_WIDTH, BAR)
        empty = QColor(text)
        empty.setAlpha(40)
        painter.fillRect(whole, empty)
        done = QRect(whole)
        done.setWidth(round(whole.width() * fraction_done(one.state)))
        painter.fillRect(done, QColor(COLORS.get(one.state.kind, "#8a8f98")))


class RunsList(QListView):
    """View of the list; it keeps its choice while other runs come and go.

    Args:
        titles: of the recipes, by name.
    """

    chosen = Signal(object)  # the run's folder, or None

    def __init__(self, titles: Mapping[str, str], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.runs = RunsModel(titles, self)
        self._current: Path | None = None
        self.setModel(self.runs)
        self.setItemDelegate(RowDelegate(self))
        self.setUniformItemSizes(True)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setAccessibleName("Training runs")
        self.selectionModel().currentChanged.connect(self._on_current)

    def show_runs(self, rows: list[Listed]) -> None:
        """Show the current runs; the newest one is chosen if none was."""
        if self.runs.set_rows(rows):
            known = [one.run for one in rows]
            wanted = self._current if self._current in known else (known[0] if known else None)
            self.choose(wanted)
            if wanted is None:
                self._tell(None)
            self._fit()

    def current(self) -> Listed | None:
        """Return the chosen run as it was last seen."""
        return next((one for one in self.runs.rows if one.run == self._current), None)

    def choose(self, run: Path | None) -> None:
        """Choose a run, as soon as it is listed."""
        known = [one.run for one in self.runs.rows]
        if run in known:
            self.setCurrentIndex(self.runs.index(known.index(run)))
        elif run is not None:
            self._current = run

    def _fit(self) -> None:
        rows = min(max(len(self.runs.rows), FEWEST_ROWS), MOST_ROWS)
        self.setFixedHeight(rows * max(self.sizeHintForRow(0), 40) + 2)

    def _on_current(self, index: QModelIndex, before: QModelIndex) -> None:
        if index.isValid():
            self._tell(self.runs.rows[index.row()].run)

    def _tell(self, run: Path | None) -> None:
        if run != self._current or run is None:
            self._current = run
            self.chosen.emit(run)
