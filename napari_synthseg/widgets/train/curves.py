"""Curves of a run, drawn with pyqtgraph; where that is not installed, one sentence that says so.

pyqtgraph is imported when the first curve is wanted, since a widget opens without it.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
from napari.settings import get_settings
from napari.utils.theme import get_theme
from qtpy.compat import isalive
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QCheckBox, QComboBox, QHBoxLayout, QLabel, QSizePolicy, QVBoxLayout, QWidget

from napari_synthseg.widgets._shared.controls import Message, WrappedLabel, let_shrink
from napari_synthseg.widgets.train.watcher import Detail, smoothed
from napari_synthseg.widgets.train.words import plain

MISSING = "Curves need pyqtgraph, which is not installed: pip install pyqtgraph. Everything else works without it."
HEIGHT = 170
COLORS = ("#4c9be8", "#e8894c", "#53b56b", "#c46be0", "#d9b93c", "#5fc8c8", "#e0637c", "#9a9fe8")
FIRST = ("loss", "score", "dice", "lr", "rate")
"""Figures in the order in which they are offered; the others follow by name."""
Look = tuple[str, bool]
"""A line's colour, and whether it is faint."""


def has_plots() -> bool:
    """Whether pyqtgraph is installed."""
    return importlib.util.find_spec("pyqtgraph") is not None


class Plot(QWidget):
    """One set of axes, in the colours of napari's theme; scrolling over it scrolls the form, a double click shows all.

    Which line is which stands above the axes, where it hides none of them.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._lines: dict[str, Any] = {}
        self._looks: dict[str, Look] = {}
        self._values: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self.plot: Any = None
        self.legend = WrappedLabel()
        self.legend.setTextFormat(Qt.TextFormat.RichText)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._layout.setSpacing(2)
        self._layout.addWidget(self.legend)

    def show_lines(self, lines: dict[str, tuple[np.ndarray, np.ndarray]], *, faint: Sequence[str] = ()) -> None:
        """Draw these lines; those that are there get other values, the rest goes.

        Args:
            lines: places and values by name, in the order of their colours.
            faint: names that are drawn thin and are not in the legend: what lies behind a smoothed line.
        """
        self._make()
        for name in [one for one in self._lines if one not in lines]:
            self.plot.removeItem(self._lines.pop(name))
            del self._looks[name], self._values[name]
        bold = [name for name in lines if name not in faint]
        for name, (x, y) in lines.items():
            self._show_line(name, self._look(name, bold, name in faint), x, y)
        self._show_legend(bold)

    def _show_line(self, name: str, look: Look, x: np.ndarray, y: np.ndarray) -> None:
        """Change of a line what is different: whatever is changed has the whole window drawn again."""
        if name not in self._lines:
            self._lines[name] = self._line()
        if self._looks.get(name) != look:
            self._looks[name] = look
            self._lines[name].setPen(_pen(look))
        known = self._values.get(name)
        if known is None or not (np.array_equal(known[0], x) and np.array_equal(known[1], y, equal_nan=True)):
            self._values[name] = (x, y)
            self._lines[name].setData(x, y)

    def set_log(self, on: bool) -> None:
        """Logarithmic values."""
        self._make()
        self.plot.setLogMode(y=on)

    def drawn(self) -> dict[str, np.ndarray]:
        """The values of every line, by name."""
        return {name: np.asarray(line.getOriginalDataset()[1]) for name, line in self._lines.items()}

    def _line(self) -> Any:
        import pyqtgraph as pg

        line = pg.PlotDataItem(connect="finite")
        line.setDownsampling(auto=True, method="peak")
        line.setClipToView(True)
        self.plot.addItem(line)
        return line

    @staticmethod
    def _look(name: str, bold: Sequence[str], faint: bool) -> Look:
        owner = name.removesuffix(FAINT)
        return COLORS[(bold.index(owner) if owner in bold else 0) % len(COLORS)], faint

    def _show_legend(self, names: Sequence[str]) -> None:
        parts = [
            f'<span style="color:{COLORS[number % len(COLORS)]}">━</span>&nbsp;{escape(name).replace(" ", "&nbsp;")}'
            for number, name in enumerate(names)
        ]
        self.legend.setText(" &nbsp; ".join(parts) if len(parts) > 1 else "")
        self.legend.setVisible(len(parts) > 1)

    def _make(self) -> None:
        if self.plot is not None:
            return
        pg = importlib.import_module("pyqtgraph")
        box = _box_class()()
        box.setMenuEnabled(False)
        self.plot = pg.PlotWidget(viewBox=box)
        self.plot.setAntialiasing(True)
        self.plot.hideButtons()
        self.plot.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.plot.setFrameShape(self.plot.Shape.NoFrame)
        self.plot.setFixedHeight(HEIGHT)
        self._layout.addWidget(self.plot)
        get_settings().appearance.events.theme.connect(self._on_theme)
        self._on_theme()

    def _on_theme(self, event: Any = None) -> None:
        if not isalive(self) or self.plot is None:
            get_settings().appearance.events.theme.disconnect(self._on_theme)
            return
        theme = get_theme(get_settings().appearance.theme)
        ink = theme.text.as_hex()
        self.plot.setBackground(theme.background.as_hex())
        for side in ("left", "bottom"):
            axis = self.plot.getAxis(side)
            axis.setPen(theme.secondary.as_hex())
            axis.setTextPen(ink)
            axis.enableAutoSIPrefix(False)
        self.plot.getAxis("bottom").setLabel("step", color=ink, **{"font-size": "8pt"})
        self.plot.showGrid(x=True, y=True, alpha=0.12)


FAINT = " (each step)"


def _pen(look: Look) -> Any:
    import pyqtgraph as pg

    color = pg.mkColor(look[0])
    if look[1]:
        color.setAlpha(90)
    return pg.mkPen(color, width=1 if look[1] else 2)


def _box_class() -> Any:
    """A view box that leaves the wheel to the form around it; dragging marks what to enlarge."""
    pg = importlib.import_module("pyqtgraph")

    class Box(pg.ViewBox):
        def __init__(self) -> None:
            super().__init__()
            self.setMouseMode(self.RectMode)

        def wheelEvent(self, event: Any, axis: int | None = None) -> None:
            event.ignore()

        def mouseDoubleClickEvent(self, event: Any) -> None:
            self.enableAutoRange()
            event.accept()

    return Box


class Curves(QWidget):
    """Any figure of a run over its steps, a line for each stage."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._detail: Detail | None = None
        self.figure = QComboBox()
        self.figure.setToolTip("Which figure is drawn, a line for each stage.")
        let_shrink(self.figure)
        self.log = QCheckBox("log scale")
        self.log.setToolTip("Draw the values on a logarithmic scale.")
        self.plot = Plot()
        self.missing = Message()
        row = QHBoxLayout()
        row.addWidget(QLabel("Curve"))
        row.addWidget(self.figure, 1)
        row.addWidget(self.log)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addLayout(row)
        layout.addWidget(self.plot)
        layout.addWidget(self.missing)
        self.figure.currentIndexChanged.connect(lambda _: self._draw())
        self.log.toggled.connect(self._on_log)

    def show_detail(self, detail: Detail | None) -> None:
        """Draw what is known of a run now."""
        self._detail = detail
        if not has_plots():
            self.missing.say(MISSING)
            for part in (self.plot, self.figure, self.log):
                part.hide()
            return
        self._list_figures(detail)
        self._draw()

    def _list_figures(self, detail: Detail | None) -> None:
        names = {name for one in (detail.series.values() if detail else ()) for name in one}
        order = sorted(names, key=lambda name: (FIRST.index(name) if name in FIRST else len(FIRST), name))
        if order == [self.figure.itemData(row) for row in range(self.figure.count())]:
            return
        before = self.figure.currentData()
        self.figure.blockSignals(True)
        self.figure.clear()
        for name in order:
            self.figure.addItem(plain(name), name)
        self.figure.setCurrentIndex(order.index(before) if before in order else 0 if order else -1)
        self.figure.blockSignals(False)

    def _draw(self) -> None:
        detail, name = self._detail, self.figure.currentData()
        self.plot.setVisible(bool(detail and name))
        if detail is None or name is None:
            return
        lines: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        faint = []
        for stage, series in detail.series.items():
            if name in series and len(series[name][0]):
                x, y = series[name][0] + detail.offset(stage), series[name][1]
                soft = smoothed(y)
                if soft is not y:
                    lines[stage + FAINT] = (x, y)
                    faint.append(stage + FAINT)
                lines[stage] = (x, soft)
        self.plot.show_lines(lines, faint=faint)

    def _on_log(self, on: bool) -> None:
        self.plot.set_log(on)
