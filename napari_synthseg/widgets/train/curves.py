"""Curves of a run, drawn with pyqtgraph, and the Dice of each structure; without pyqtgraph a sentence says so.

pyqtgraph is imported when the first curve is wanted, since a widget opens without it.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
from napari.settings import get_settings
from napari.utils.theme import get_theme
from qtpy.compat import isalive
from qtpy.QtCore import QItemSelectionModel, Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFrame,
    QHBoxLayout,
    QLabel,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_synthseg.widgets._shared.controls import Message, Section, WrappedLabel, let_shrink
from napari_synthseg.widgets._shared.table import LINE, Column, Table, number_text, sortable
from napari_synthseg.widgets.train.model import Detail, figure_label, smoothed

MISSING = "Curves need pyqtgraph, which is not installed: pip install pyqtgraph. Everything else works without it."
HEIGHT = 170
COLORS = ("#4c9be8", "#e8894c", "#53b56b", "#c46be0", "#d9b93c", "#5fc8c8", "#e0637c", "#9a9fe8")
FIRST = ("loss", "score", "dice", "lr", "rate")
"""First figures of the list; the others follow by name."""
Look = tuple[str, bool]
"""Color of a line, and whether it is faint."""


def has_plots() -> bool:
    """Tell whether pyqtgraph is installed."""
    return importlib.util.find_spec("pyqtgraph") is not None


class Plot(QWidget):
    """Axes in the colors of napari's theme; the wheel scrolls the form, a double click shows everything.

    The legend stands above the axes, where it hides no line.
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
        """Draw lines; existing ones get new values, others are removed.

        Args:
            lines: steps and values by name, in the order of their colors.
            faint: names of thin lines without a legend, such as the raw values behind a smoothed line.
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
        """Change only what differs, since every change redraws the whole window."""
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
        """Use a logarithmic axis."""
        self._make()
        self.plot.setLogMode(y=on)

    def drawn(self) -> dict[str, np.ndarray]:
        """Return the values of every line, by name."""
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
    """Return a view box that leaves the wheel to the form around it; dragging marks what to enlarge."""
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


class CurvesPanel(QWidget):
    """Shows any figure of a run over its steps, a line for each stage."""

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
        """Draw the current figures of a run."""
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
            self.figure.addItem(figure_label(name), name)
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


ALL = "in all"
SCORE = ("score", "dice")
"""Overall figures of a validation; the first one found is drawn."""
COLUMNS = (
    Column("Structure", "FreeSurfer's name", lambda row: row.name, lambda row: row.name.casefold(), number=False),
    Column("Dice", "Of the last validation, 0 to 1", lambda row: f"{row.dice:.3f}", lambda row: row.dice, "0.000"),
    Column(
        "Change",
        "Since the validation before",
        lambda row: number_text(row.change, "+.3f"),
        lambda row: sortable(row.change),
        "+0.000",
    ),
)
TIP = "Click a structure to see its curve, several with Ctrl; Ctrl+C copies the table."
MOST_ROWS = 8


@dataclass(frozen=True)
class DiceRow:
    """A structure, its newest Dice, and the change since the validation before (NaN if unknown)."""

    name: str
    dice: float
    change: float


def dice_rows(detail: Detail | None) -> list[DiceRow]:
    """Return the newest Dice of each structure, by name."""
    rows = []
    for name, value in sorted(detail.dice.items(), key=lambda one: one[0].casefold()) if detail is not None else ():
        values = detail.history[name][1] if detail is not None and name in detail.history else ()
        rows.append(DiceRow(name, value, float(values[-1] - values[-2]) if len(values) > 1 else float("nan")))
    return rows


class DicePanel(Section):
    """Section with the curve and the table of the validation Dice."""

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
        self.table.selectionModel().selectionChanged.connect(lambda *_: self._draw())

    def show_detail(self, detail: Detail | None) -> None:
        """Show the current figures of a run."""
        self._detail = detail
        self.table.show_dice(detail)
        self._draw()

    def _draw(self) -> None:
        lines = self._lines(self._detail)
        self.nothing.say("" if lines or self._detail is None else "No validation yet.")
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
        chosen = {name: detail.history[name] for name in self.table.selected_names() if name in detail.history}
        return lines | chosen


class DiceTable(Table):
    """Structures by name, the newest Dice of each, and its change since the validation before."""

    def __init__(self) -> None:
        super().__init__("Dice of each structure", names=0, tip=lambda row: f"{row.name}. {TIP}")
        self.setToolTip(TIP)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._shown: int | None = None
        self.hide()

    def show_dice(self, detail: Detail | None) -> None:
        """Show the newest validation; selected structures stay selected."""
        shown = detail.validations if detail is not None else None
        if shown == self._shown and shown is not None:
            return
        self._shown = shown
        chosen, rows = set(self.selected_names()), dice_rows(detail)
        before = self.selectionModel().blockSignals(True)
        self.show_rows(rows, COLUMNS)
        for number, row in enumerate(self.listed()):
            if row.name in chosen:
                index = self.model().index(number, 0)
                flags = QItemSelectionModel.SelectionFlag
                self.selectionModel().select(index, flags.Select | flags.Rows)
        self.selectionModel().blockSignals(before)
        self.setVisible(bool(rows))
        self.setFixedHeight(self.horizontalHeader().sizeHint().height() + LINE * min(len(rows), MOST_ROWS) + 4)

    def selected_names(self) -> list[str]:
        """Return the selected structures, from top to bottom."""
        return [row.name for row in self.selected()]
