"""A sheet of several samples and the table of their records; the row that is clicked becomes the current sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from qtpy.QtCore import QSize, Qt, Signal
from qtpy.QtGui import QIcon, QImage, QKeyEvent, QKeySequence, QPainter, QPixmap, QResizeEvent
from qtpy.QtWidgets import (
    QAbstractItemView,
    QApplication,
    QHBoxLayout,
    QLabel,
    QListView,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QSpinBox,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_synthseg.widgets._shared.controls import keep_from_wheel
from napari_synthseg.widgets.preview.pictures import Thumbnail

DEFAULT_COUNT = 6
LARGEST_COUNT = 24
SIDE = 72  # of a thumbnail, pixels
LINE = 22  # of the table


class SamplesPanel(QWidget):
    """Shows thumbnails as they come; who owns it draws them.

    Args:
        tips: what each column of the records means.
        sheet_tip: what a thumbnail shows.
    """

    wanted = Signal(int)  # draw that many
    chosen = Signal(int)  # this seed becomes the current one

    def __init__(self, tips: Mapping[str, str], sheet_tip: str) -> None:
        super().__init__()
        self._tips = tips
        self.seeds: list[int] = []
        self.count = QSpinBox()
        self.count.setRange(1, LARGEST_COUNT)
        self.count.setValue(DEFAULT_COUNT)
        self.count.setToolTip("How many samples to draw; their seeds follow on the current one.")
        self.count.setAccessibleName("Number of samples")
        keep_from_wheel(self.count)
        self.draw = QPushButton("Draw sa&mples")
        self.draw.setToolTip("Draw this many samples with the priors as they are; click one to see it in the viewer.")
        self.draw.clicked.connect(lambda: self.wanted.emit(self.count.value()))
        self.sheet = _Sheet()
        self.sheet.setToolTip(sheet_tip)
        self.table = _Table(0, 0)
        self.table.setToolTip("What was drawn for each sample; Ctrl+C copies the current row.")
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setTabKeyNavigation(False)
        self.table.verticalHeader().setVisible(False)
        self.table.verticalHeader().setMinimumSectionSize(LINE)
        self.table.verticalHeader().setDefaultSectionSize(LINE)
        self.table.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        line = QHBoxLayout()
        line.addWidget(QLabel("Number"))
        line.addWidget(self.count)
        line.addWidget(self.draw, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addLayout(line)
        layout.addWidget(self.sheet)
        layout.addWidget(self.table)
        self.sheet.currentRowChanged.connect(self._on_row)
        self.table.currentCellChanged.connect(lambda row, *_: self._on_row(row))
        self.clear()

    def begin(self, seeds: Sequence[int]) -> None:
        """Make room for samples of these seeds; those that are there stay until their successors come."""
        if list(seeds) == self.seeds:
            return
        self.clear()
        self.seeds = list(seeds)

    def clear(self) -> None:
        """Show none."""
        self.seeds = []
        for view in (self.sheet, self.table):
            view.blockSignals(True)
            view.clear()
            view.blockSignals(False)
            view.hide()
        self.table.setRowCount(0)
        self.table.setColumnCount(0)

    def add(self, sample: Thumbnail) -> None:
        """Show a sample, in the place of an older one of its seed."""
        if sample.seed not in self.seeds:
            return
        row = self.seeds.index(sample.seed)
        for view in (self.sheet, self.table):
            view.blockSignals(True)
        self._add_to_sheet(row, sample)
        self._add_to_table(row, sample)
        for view in (self.sheet, self.table):
            view.blockSignals(False)
            view.show()
        self.sheet.fit()
        self._fit_table()

    def mark(self, seed: int) -> None:
        """Show which sample is the current one, if it is among them."""
        row = self.seeds.index(seed) if seed in self.seeds else -1
        for view in (self.sheet, self.table):
            view.blockSignals(True)
        self.sheet.setCurrentRow(row)
        if row >= 0:
            self.table.setCurrentCell(row, max(self.table.currentColumn(), 0))
        else:
            self.table.clearSelection()
        for view in (self.sheet, self.table):
            view.blockSignals(False)

    def _on_row(self, row: int) -> None:
        if 0 <= row < len(self.seeds):
            self.mark(self.seeds[row])
            self.chosen.emit(self.seeds[row])

    def _add_to_sheet(self, row: int, sample: Thumbnail) -> None:
        while self.sheet.count() <= row:
            self.sheet.addItem(QListWidgetItem(""))
        item = self.sheet.item(row)
        item.setText(str(sample.seed))
        item.setIcon(QIcon(_pixmap(sample)))
        item.setToolTip("\n".join(f"{name}: {value}" for name, value in sample.summary.items()))

    def _add_to_table(self, row: int, sample: Thumbnail) -> None:
        columns = {"seed": sample.seed, **sample.summary}
        if self.table.columnCount() != len(columns):
            self.table.setColumnCount(len(columns))
            for column, name in enumerate(columns):
                head = QTableWidgetItem(name[:1].upper() + name[1:])
                head.setToolTip(self._tips.get(name, "The seed of the sample."))
                self.table.setHorizontalHeaderItem(column, head)
        self.table.setRowCount(max(self.table.rowCount(), row + 1))
        for column, value in enumerate(columns.values()):
            item = QTableWidgetItem(str(value) if isinstance(value, (str, int)) else f"{value:g}")
            if not isinstance(value, str):
                item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
            self.table.setItem(row, column, item)

    def _fit_table(self) -> None:
        """As high as its rows, so that only the form around it scrolls."""
        self.table.resizeColumnsToContents()
        rows = sum(self.table.rowHeight(row) for row in range(self.table.rowCount()))
        bar = self.table.horizontalScrollBar().sizeHint().height()
        self.table.setFixedHeight(self.table.horizontalHeader().sizeHint().height() + rows + bar + 4)


class _Table(QTableWidget):
    """A table whose rows are copied with their heads."""

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Ctrl+C copies the current row, for a spreadsheet."""
        if not event.matches(QKeySequence.StandardKey.Copy) or self.currentRow() < 0:
            super().keyPressEvent(event)
            return
        columns = range(self.columnCount())
        head = [self.horizontalHeaderItem(column).text() for column in columns]
        row = [self.item(self.currentRow(), column).text() for column in columns]
        QApplication.clipboard().setText("\n".join("\t".join(line) for line in (head, row)))


class _Sheet(QListWidget):
    """Thumbnails in lines, as many in each as there is room for; as high as they need."""

    def __init__(self) -> None:
        super().__init__()
        self.setViewMode(QListView.ViewMode.IconMode)
        self.setIconSize(QSize(SIDE, SIDE))
        self.setGridSize(QSize(SIDE + 8, SIDE + 24))
        self.setResizeMode(QListView.ResizeMode.Adjust)
        self.setMovement(QListView.Movement.Static)
        self.setUniformItemSizes(True)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)

    def fit(self) -> None:
        """Take the height that the thumbnails need at the present width."""
        across = max((self.viewport().width() - 2) // self.gridSize().width(), 1)
        lines = -(-self.count() // across)
        self.setFixedHeight(lines * self.gridSize().height() + 6)

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Another width is another number of lines."""
        super().resizeEvent(event)
        self.fit()


def _pixmap(sample: Thumbnail) -> QPixmap:
    rows, columns = sample.picture.shape
    image = QImage(sample.picture.tobytes(), columns, rows, columns, QImage.Format.Format_Grayscale8)
    keep = Qt.AspectRatioMode.KeepAspectRatio
    small = QPixmap.fromImage(image).scaled(SIDE, SIDE, keep, Qt.TransformationMode.SmoothTransformation)
    square = QPixmap(SIDE, SIDE)  # the sheet takes all for as large as the first
    square.fill(Qt.GlobalColor.transparent)
    painter = QPainter(square)
    painter.drawPixmap((SIDE - small.width()) // 2, (SIDE - small.height()) // 2, small)
    painter.end()
    return square
