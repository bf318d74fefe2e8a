"""Parts of a preview tab: redraws that follow changes, and samples with their records."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from functools import partial
from typing import Any

from qtpy.QtCore import QObject, QSize, Qt, Signal
from qtpy.QtGui import QIcon, QImage, QPainter, QPixmap, QResizeEvent
from qtpy.QtWidgets import (
    QAbstractItemView,
    QLabel,
    QListView,
    QListWidget,
    QListWidgetItem,
    QWidget,
)
from superqt.utils import signals_blocked

from napari_synthseg.jobs import Progress
from napari_synthseg.widgets._shared.controls import button, column, row, single_shot, spin_box
from napari_synthseg.widgets._shared.job import Job
from napari_synthseg.widgets._shared.table import LINE, Column, Table
from napari_synthseg.widgets.preview.pictures import PICTURE, Thumbnail

WAIT_MS = 150
"""How long a change waits for the next one."""


class Redrawer(QObject):
    """Runs the latest request in a thread, in place of the one before; `pictured` brings quick look and full size.

    A request is a function that returns a job: a generator of `Progress`, with a `picture` among its figures if there
    is one to show, that returns the last picture.
    """

    pictured = Signal(object)
    staged = Signal(str)
    failed = Signal(object)
    busy = Signal(bool)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._waiting: Callable[[], Generator[Progress, None, Any]] | None = None
        self._timer = single_shot(self, WAIT_MS, self._start)
        self._job = Job(
            self,
            progressed=self._on_progressed,
            returned=lambda picture: self._on_ended(partial(self.pictured.emit, picture)),
            failed=lambda error: self._on_ended(partial(self.failed.emit, error)),
            stopped=lambda: self._on_ended(),
        )

    @property
    def running(self) -> bool:
        return self._waiting is not None or self._job.running

    def request(self, function: Callable[..., Generator], *args: Any, wait_ms: int = WAIT_MS) -> None:
        """Draw this soon, in place of the current drawing."""
        self._waiting = partial(function, *args)
        self._job.stop()
        self._timer.start(wait_ms)
        self.busy.emit(True)

    def stop(self) -> None:
        self._waiting = None
        self._timer.stop()
        self._job.stop()
        if not self._job.running:
            self.busy.emit(False)

    def _start(self) -> None:
        if self._waiting is None or self._job.running or self._timer.isActive():
            return  # `_on_ended` comes back here
        waiting, self._waiting = self._waiting, None
        self._job.start("", waiting)

    def _on_progressed(self, report: Progress) -> None:
        if self._waiting is not None:
            return
        self.staged.emit(report.stage)
        if PICTURE in report.figures:
            self.pictured.emit(report.figures[PICTURE])

    def _on_ended(self, *tell: Callable[[], None]) -> None:
        if self._waiting is not None:
            self._start()
            return
        self.busy.emit(False)
        for emit in tell:
            emit()


DEFAULT_COUNT = 6
LARGEST_COUNT = 24
SIDE = 72  # of a thumbnail, pixels


class SamplesPanel(QWidget):
    """Thumbnails of samples, and a table of their records; the page draws them."""

    wanted = Signal(int)  # number of samples to draw
    chosen = Signal(int)  # seed of the sample that becomes the current one

    def __init__(self, tips: Mapping[str, str], sheet_tip: str) -> None:
        super().__init__()
        self._tips = tips
        self.seeds: list[int] = []
        self._samples: dict[int, Thumbnail] = {}
        tip = "Number of samples to draw. Their seeds start at the current one."
        self.count = spin_box(1, LARGEST_COUNT, DEFAULT_COUNT, tip, "Number of samples")
        tip = "Draw this many samples with the priors as they are; click one to see it in the viewer."
        self.draw = button("Draw sa&mples", tip, lambda: self.wanted.emit(self.count.value()))
        self.sheet = _Sheet()
        self.sheet.setToolTip(sheet_tip)
        self.table = Table("Records of the samples")
        self.table.setToolTip("The record of each sample; Ctrl+C copies the current row.")
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        line = row(QLabel("Number"), self.count, (self.draw, 1))
        column(line, self.sheet, self.table, parent=self, spacing=4)
        self.sheet.currentRowChanged.connect(lambda place: self._choose(self.seeds[place]))
        self.table.picked.connect(lambda sample, _: self._choose(sample.seed))
        self.clear()

    def begin(self, seeds: Sequence[int]) -> None:
        """Make room for samples of these seeds; present ones stay until they are replaced."""
        if list(seeds) != self.seeds:
            self.clear()
            self.seeds = list(seeds)

    def clear(self) -> None:
        self.seeds, self._samples = [], {}
        with signals_blocked(self.sheet):
            self.sheet.clear()
        self.table.show_rows([], ())
        for view in (self.sheet, self.table):
            view.hide()

    def add(self, sample: Thumbnail) -> None:
        if sample.seed not in self.seeds:
            return
        self._samples[sample.seed] = sample
        current = self.sheet.currentRow()
        self.sheet.add(self.seeds.index(sample.seed), sample)
        rows = [self._samples[seed] for seed in self.seeds if seed in self._samples]
        self.table.show_rows(rows, self._columns(sample))
        bar = self.table.horizontalScrollBar().sizeHint().height()
        header = self.table.horizontalHeader().sizeHint().height()
        self.table.setFixedHeight(header + LINE * len(rows) + bar + 4)  # only the form around it scrolls
        for view in (self.sheet, self.table):
            view.show()
        self.sheet.fit()
        if current >= 0:
            self.mark(self.seeds[current])

    def mark(self, seed: int) -> None:
        with signals_blocked(self.sheet):
            self.sheet.setCurrentRow(self.seeds.index(seed) if seed in self.seeds else -1)
        self.table.select(self._samples.get(seed))

    def _choose(self, seed: int) -> None:
        self.mark(seed)
        self.chosen.emit(seed)

    def _columns(self, sample: Thumbnail) -> list[Column]:
        def column(name: str, number: bool) -> Column:
            def value(one: Thumbnail) -> str | float:
                return one.seed if name == "seed" else one.summary.get(name, "")

            def text(one: Thumbnail) -> str:
                return f"{value(one):g}" if isinstance(value(one), float) else str(value(one))

            tip = self._tips.get(name, "The seed of the sample.")
            return Column(name[:1].upper() + name[1:], tip, text, value, number=number)

        values = {"seed": sample.seed, **sample.summary}
        return [column(name, not isinstance(value, str)) for name, value in values.items()]


class _Sheet(QListWidget):
    """Thumbnails in rows that fill its width; as high as they need."""

    def __init__(self) -> None:
        super().__init__()
        self.setViewMode(QListView.ViewMode.IconMode)
        self.setIconSize(QSize(SIDE, SIDE))
        self.setGridSize(QSize(SIDE + 8, SIDE + 28))
        self.setResizeMode(QListView.ResizeMode.Adjust)
        self.setMovement(QListView.Movement.Static)
        self.setUniformItemSizes(True)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)

    def add(self, row: int, sample: Thumbnail) -> None:
        with signals_blocked(self):
            while self.count() <= row:
                self.addItem(QListWidgetItem(""))
            item = self.item(row)
            item.setText(str(sample.seed))
            item.setIcon(QIcon(_pixmap(sample)))
            item.setToolTip("\n".join(f"{name}: {value}" for name, value in sample.summary.items()))

    def fit(self) -> None:
        across = max((self.viewport().width() - 2) // self.gridSize().width(), 1)
        lines = -(-self.count() // across)
        self.setFixedHeight(lines * self.gridSize().height() + 6)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self.fit()


def _pixmap(sample: Thumbnail) -> QPixmap:
    rows, columns = sample.picture.shape
    image = QImage(sample.picture.tobytes(), columns, rows, columns, QImage.Format.Format_Grayscale8)
    keep = Qt.AspectRatioMode.KeepAspectRatio
    small = QPixmap.fromImage(image).scaled(SIDE, SIDE, keep, Qt.TransformationMode.SmoothTransformation)
    square = QPixmap(SIDE, SIDE)  # the list gives all items the size of the first
    square.fill(Qt.GlobalColor.transparent)
    painter = QPainter(square)
    painter.drawPixmap((SIDE - small.width()) // 2, (SIDE - small.height()) // 2, small)
    painter.end()
    return square
