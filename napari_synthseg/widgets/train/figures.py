"""The head of a run's page: its state in a sentence, how far it is, and its newest figures."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QGridLayout, QLabel, QProgressBar, QSizePolicy, QVBoxLayout, QWidget

from napari_synthseg.widgets._shared.controls import Message
from napari_synthseg.widgets.train.watcher import Detail
from napari_synthseg.widgets.train.words import duration, pace, score_word, share, size

FIELDS = ("Loss", "Dice", "Rate", "Speed", "Memory", "Time left")
TIPS = {"Rate": "Learning rate", "Memory": "Most that was taken, of the GPU or of the machine"}
LOUD = ("failed", "interrupted")
"""States whose words are drawn as a warning."""


class RunHead(QWidget):
    """Stage and step over a bar, and six figures below it."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.where = QLabel()
        self.where.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.where.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.bar = QProgressBar()
        self.bar.setRange(0, 1000)
        self.bar.setTextVisible(False)
        self.bar.setFixedHeight(8)
        self.words, self.trouble = Message(), Message(warning=True)
        self.names: dict[str, QLabel] = {}
        self.values: dict[str, QLabel] = {}
        grid = QGridLayout()
        grid.setHorizontalSpacing(8)
        grid.setVerticalSpacing(2)
        for number, name in enumerate(FIELDS):
            text, value = QLabel(name), QLabel()
            text.setEnabled(False)  # softer
            text.setToolTip(TIPS.get(name, ""))
            value.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
            row, column = divmod(number, 2)
            grid.addWidget(text, row, 2 * column)
            grid.addWidget(value, row, 2 * column + 1)
            grid.setColumnStretch(2 * column + 1, 1)
            self.names[name], self.values[name] = text, value
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        for part in (self.where, self.bar, self.words, self.trouble):
            layout.addWidget(part)
        layout.addLayout(grid)

    def show_state(self, state: Any, recipe: str = "") -> None:
        """Show where a run of a recipe stands."""
        self.names["Dice"].setText(score_word(recipe))
        step = f", step {state.step:,} of {state.steps:,}" if state.steps else ""
        where = f"{state.stage}{step}" if state.stage else state.kind
        self.where.setText(f"{where} · {state.device}" if state.device else where)
        self.bar.setValue(round(1000 * share(state)))
        loud = state.kind in LOUD
        self.words.say("" if loud else state.message)
        self.trouble.say(state.message if loud else "")
        self._say("Speed", pace(state.steps_per_second) if state.kind == "running" else "")
        self._say("Memory", size(state.memory))
        self._say("Time left", duration(state.seconds_left) if state.kind == "running" else "")

    def show_detail(self, detail: Detail | None) -> None:
        """Show a run's newest figures."""
        figures = detail.figures if detail is not None else {}
        self._say("Loss", _number(figures.get("loss")))
        self._say("Dice", _dice(detail))
        rate = figures.get("lr", figures.get("rate"))
        self._say("Rate", "" if rate is None else f"{rate:.2e}")

    def _say(self, name: str, text: str) -> None:
        self.values[name].setText(text or "–")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _dice(detail: Detail | None) -> str:
    """The newest score, and the best of its stage."""
    if detail is None:
        return ""
    for stage in reversed(detail.series):
        score = detail.series[stage].get("score")
        if score is not None and len(score[1]):
            newest, best = float(score[1][-1]), float(score[1].max())
            return f"{newest:.3f}" if newest >= best else f"{newest:.3f} (best {best:.3f})"
    return ""
