"""Curves of a run, drawn with pyqtgraph, and the Dice of each structure.

pyqtgraph is imported when the first curve is wanted, since a widget opens without it.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
from napari.settings import get_settings
from napari.utils.theme import get_theme
from qtpy.QtCore import QItemSelectionModel, Qt
from qtpy.QtWidgets import QFrame, QLabel, QSizePolicy, QWidget
from superqt.utils import signals_blocked

from napari_synthseg.widgets._shared.controls import (
    Message,
    Section,
    WrappedLabel,
    check_box,
    column,
    combo,
    listen,
    row,
)
from napari_synthseg.widgets._shared.table import Column, Table, number_text, sortable
from napari_synthseg.widgets.train.model import Detail, Series, figure_label, smoothed

HEIGHT = 170
COLORS = ("#4c9be8", "#e8894c", "#53b56b", "#c46be0", "#d9b93c", "#5fc8c8", "#e0637c", "#9a9fe8")
FIRST = ("loss", "score", "dice", "lr", "rate")
"""First figures of the list; the others follow by name."""
FAINT = " (each step)"
"""Ends the name of a thin line without a legend: the raw values behind a smoothed line."""


class Plot(QWidget):
    """Axes in the colors of napari's theme; the wheel scrolls the form, a drag enlarges, the A shows everything.

    The legend stands above the axes, where it hides no line.
    """

    def __init__(self) -> None:
        super().__init__()
        self._lines: dict[str, Any] = {}
        self._colors: dict[str, str] = {}
        self._values: dict[str, Series] = {}
        self.plot: Any = None
        self.legend = WrappedLabel()
        self.legend.setTextFormat(Qt.TextFormat.RichText)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self._layout = column(self.legend, parent=self, spacing=2)

    def show_lines(self, lines: dict[str, Series]) -> None:
        """Draw lines, given as steps and values by name; existing ones get new values, others are removed."""
        self._make()
        for name in [one for one in self._lines if one not in lines]:
            self.plot.removeItem(self._lines.pop(name))
            del self._colors[name], self._values[name]
        bold = [name for name in lines if not name.endswith(FAINT)]
        colors = {name: COLORS[number % len(COLORS)] for number, name in enumerate(bold)}
        for name, (x, y) in lines.items():
            self._show_line(name, colors.get(name.removesuffix(FAINT), COLORS[0]), x, y)
        parts = [
            f'<span style="color:{color}">━</span>&nbsp;{escape(name).replace(" ", "&nbsp;")}'
            for name, color in colors.items()
        ]
        self.legend.setText(" &nbsp; ".join(parts) if len(parts) > 1 else "")
        self.legend.setVisible(len(parts) > 1)

    def _show_line(self, name: str, color: str, x: np.ndarray, y: np.ndarray) -> None:
        """Change only the differences, since every change redraws the whole window."""
        import pyqtgraph as pg

        if name not in self._lines:
            line = self._lines[name] = pg.PlotDataItem(connect="finite")
            line.setDownsampling(auto=True, method="peak")
            line.setClipToView(True)
            self.plot.addItem(line)
        if self._colors.get(name) != color:
            self._colors[name] = color
            faint, ink = name.endswith(FAINT), pg.mkColor(color)
            ink.setAlpha(90 if faint else 255)
            self._lines[name].setPen(pg.mkPen(ink, width=1 if faint else 2))
        known = self._values.get(name)
        if known is None or not (np.array_equal(known[0], x) and np.array_equal(known[1], y, equal_nan=True)):
            self._values[name] = (x, y)
            self._lines[name].setData(x, y)

    def set_log(self, on: bool) -> None:
        self._make()
        self.plot.setLogMode(y=on)

    def drawn(self) -> dict[str, np.ndarray]:
        return {name: np.asarray(line.getOriginalDataset()[1]) for name, line in self._lines.items()}

    def _make(self) -> None:
        if self.plot is not None:
            return
        import pyqtgraph as pg

        self.plot = pg.PlotWidget(enableMenu=False)
        self.plot.setMouseEnabled(x=False, y=False)
        self.plot.getViewBox().setMouseMode(pg.ViewBox.RectMode)
        self.plot.setAntialiasing(True)
        self.plot.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.plot.setFrameShape(self.plot.Shape.NoFrame)
        self.plot.setFixedHeight(HEIGHT)
        self._layout.addWidget(self.plot)
        listen(self, Plot._on_theme, get_settings().appearance.events.theme)
        self._on_theme()

    def _on_theme(self, event: Any = None) -> None:
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


class CurvesPanel(QWidget):
    """Shows any figure of a run over its steps, a line for each stage."""

    def __init__(self) -> None:
        super().__init__()
        self._detail: Detail | None = None
        self.figure = combo([], "The figure that is drawn, a line for each stage.")
        self.log = check_box("log scale", "Draw the values on a logarithmic scale.")
        self.plot = Plot()
        column(row(QLabel("Curve"), (self.figure, 1), self.log), self.plot, parent=self, spacing=4)
        self.figure.currentIndexChanged.connect(lambda _: self._draw())
        self.log.toggled.connect(self.plot.set_log)

    def show_detail(self, detail: Detail | None) -> None:
        self._detail = detail
        names = {name for one in (detail.series.values() if detail else ()) for name in one}
        order = sorted(names, key=lambda name: (FIRST.index(name) if name in FIRST else len(FIRST), name))
        if order != [self.figure.itemData(number) for number in range(self.figure.count())]:
            before = self.figure.currentData()
            with signals_blocked(self.figure):
                self.figure.clear()
                for name in order:
                    self.figure.addItem(figure_label(name), name)
                self.figure.setCurrentIndex(order.index(before) if before in order else 0 if order else -1)
        self._draw()

    def _draw(self) -> None:
        detail, name = self._detail, self.figure.currentData()
        self.plot.setVisible(bool(detail and name))
        if detail is None or name is None:
            return
        lines: dict[str, Series] = {}
        for stage, (x, y) in detail.curves(name).items():
            soft = smoothed(y)
            if soft is not y:
                lines[stage + FAINT] = (x, y)
            lines[stage] = (x, soft)
        self.plot.show_lines(lines)


ALL = "in all"
SCORE = ("score", "dice")
"""Overall figures of a validation; the first one found is drawn."""
COLUMNS = (
    Column("Structure", "FreeSurfer's name", lambda row: row.name, lambda row: row.name.casefold(), number=False),
    Column("Dice", "Of the last validation, 0 to 1", lambda row: f"{row.dice:.3f}", lambda row: row.dice),
    Column("Change", "Since the validation before", lambda row: number_text(row.change, "+.3f"),
           lambda row: sortable(row.change)),
)  # fmt: skip
TIP = "Click a structure to see its curve, several with Ctrl; Ctrl+C copies the table."
MOST_ROWS = 8


@dataclass(frozen=True)
class DiceRow:
    """A structure, its newest Dice, and the change since the validation before (NaN if unknown)."""

    name: str
    dice: float
    change: float


def dice_rows(detail: Detail | None) -> list[DiceRow]:
    rows = []
    for name, value in sorted(detail.dice.items(), key=lambda one: one[0].casefold()) if detail is not None else ():
        values = detail.history[name][1] if name in detail.history else ()
        rows.append(DiceRow(name, value, float(values[-1] - values[-2]) if len(values) > 1 else float("nan")))
    return rows


class DicePanel(Section):
    """Section with the curve and the table of the validation Dice."""

    def __init__(self) -> None:
        super().__init__("Validation Dice", "Dice of the validation: in all, and of each structure", unfolded=True)
        self._detail: Detail | None = None
        self._shown: int | None = None
        self.plot, self.nothing = Plot(), Message()
        self.table = Table("Dice of each structure", names=0, tip=lambda row: f"{row.name}. {TIP}")
        self.table.setToolTip(TIP)
        self.table.setFrameShape(QFrame.Shape.NoFrame)
        self.table.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.table.hide()
        column(self.nothing, self.plot, self.table, parent=self.body, spacing=4)
        self.table.selectionModel().selectionChanged.connect(lambda *_: self._draw())

    def show_detail(self, detail: Detail | None) -> None:
        self._detail = detail
        self._fill_table()
        self._draw()

    def _fill_table(self) -> None:
        shown = self._detail.validations if self._detail is not None else None
        if shown == self._shown and shown is not None:
            return
        self._shown = shown
        chosen, selection = {row.name for row in self.table.selected()}, self.table.selectionModel()
        with signals_blocked(selection):
            self.table.show_rows(dice_rows(self._detail), COLUMNS)
            for number, one in enumerate(self.table.listed()):
                if one.name in chosen:
                    flags = QItemSelectionModel.SelectionFlag
                    selection.select(self.table.model().index(number, 0), flags.Select | flags.Rows)
        self.table.setVisible(bool(self.table.rows))
        self.table.fit_height(MOST_ROWS)

    def _draw(self) -> None:
        lines = self._lines(self._detail) if self._detail is not None else {}
        self.nothing.say("" if lines or self._detail is None else "No validation yet.")
        self.plot.setVisible(bool(lines))
        if lines:
            self.plot.show_lines(lines)

    def _lines(self, detail: Detail) -> dict[str, Series]:
        score = next((curves for one in SCORE if (curves := detail.curves(one))), {})
        names = [ALL if len(detail.stages) == 1 else f"{stage}, {ALL}" for stage in score]
        chosen = [row.name for row in self.table.selected()]
        return dict(zip(names, score.values(), strict=True)) | {
            name: detail.history[name] for name in chosen if name in detail.history
        }
