"""The list of all runs, and the buttons that act on the chosen one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QFrame, QGridLayout, QListWidget, QListWidgetItem, QPushButton, QSizePolicy, QWidget

from napari_synthseg.widgets._shared.controls import button, icon_on
from napari_synthseg.widgets.train.model import ACTIVE_HERE, COLORS, SIGNS, Listed, fraction_done, status_line

MOST_ROWS = 5


class RunsList(QListWidget):
    """All runs, two lines each; it keeps its choice while other runs come and go.

    Args:
        titles: of the recipes, by name.
    """

    chosen = Signal(object)  # the run's folder, or None

    def __init__(self, titles: Mapping[str, str]) -> None:
        super().__init__()
        self._titles = titles
        self._current: Path | None = None
        self.rows: list[Listed] = []
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setAccessibleName("Training runs")
        self.currentRowChanged.connect(self._on_current)

    def show_runs(self, rows: list[Listed]) -> None:
        """Show the current runs; the newest one is chosen if none was."""
        others = [one.run for one in rows] != [one.run for one in self.rows]
        before, self.rows = self.rows, rows
        if others:
            self.blockSignals(True)
            self.clear()
            self.addItems([""] * len(rows))
            self.blockSignals(False)
        for number, one in enumerate(rows):
            if others or one != before[number]:
                self._show(self.item(number), one)
        if others:
            known = [one.run for one in rows]
            self.choose(self._current if self._current in known else known[0] if known else None)
            self.setFixedHeight(min(max(len(rows), 1), MOST_ROWS) * max(self.sizeHintForRow(0), 40) + 2)

    def current(self) -> Listed | None:
        """Return the chosen run with its latest status."""
        return next((one for one in self.rows if one.run == self._current), None)

    def choose(self, run: Path | None) -> None:
        """Choose a run, as soon as it is listed."""
        known = [one.run for one in self.rows]
        if run in known:
            self.setCurrentRow(known.index(run))
        elif run is not None:
            self._current = run
        else:
            self._tell(None)

    def line(self, one: Listed) -> str:
        """Return the second line of a run."""
        return status_line(one.state, self._titles, one.recipe, one.dice)

    def _show(self, item: QListWidgetItem, one: Listed) -> None:
        done = f"   {100 * fraction_done(one.state):.0f} %" if one.state.total else ""
        line = self.line(one)
        item.setText(f"{SIGNS.get(one.state.kind, '·')}  {one.run.name}{done}\n{line}")
        item.setToolTip("\n".join(filter(None, (one.run.name, line, one.state.message, str(one.run)))))
        item.setData(Qt.ItemDataRole.AccessibleTextRole, f"{one.run.name}: {line}")
        item.setData(Qt.ItemDataRole.DecorationRole, QColor(COLORS.get(one.state.kind, "#8a8f98")))

    def _on_current(self, number: int) -> None:
        if 0 <= number < len(self.rows):
            self._tell(self.rows[number].run)

    def _tell(self, run: Path | None) -> None:
        if run != self._current or run is None:
            self._current = run
            self.chosen.emit(run)


@dataclass(frozen=True)
class _Main:
    """The first button in one state."""

    text: str
    action: str
    icon: str
    tip: str


_PAUSE = _Main("Pause", "pause", "pause", "Pause the training; its memory stays allocated.")
_RESUME = _Main("Resume", "launch", "play", "Resume from the newest checkpoint, as if it had never stopped.")
MAIN = {
    "new": _Main("Start", "launch", "play", "Start this run."),
    "running": _PAUSE,
    "paused": _Main("Resume", "unpause", "play", "Resume after the pause."),
    "stopped": _RESUME,
    "interrupted": _RESUME,
    "failed": _RESUME,
    "finished": _Main("Train longer…", "longer", "play", "Ask for more steps; the learning rate rises again."),
}
"""The first button by the state of the run; in other states it is disabled."""
OTHERS = (
    ("stop", "Stop", "stop", "End the training with a checkpoint; it can be resumed later."),
    ("use", "Use weights", "use", "Add these weights to Segment brain or Prompt, with their card."),
    ("duplicate", "Duplicate…", "copy", "Fill the form with this run's options, to change some."),
    ("folder", "Open folder", "open", "Show the run's folder."),
    ("delete", "Delete…", "trash", "Delete the run with its checkpoints; asks first."),
)
"""Action, text, icon and tooltip of the other buttons."""


class RunButtons(QWidget):
    """Two rows of three buttons; the state of the run decides which are enabled, and the action of the first one."""

    asked = Signal(str)  # an action: pause, unpause, launch, longer, stop, use, duplicate, folder, delete

    def __init__(self) -> None:
        super().__init__()
        self._main = _PAUSE
        self.main = self._button(_PAUSE.text, _PAUSE.icon, _PAUSE.tip, lambda: self._main.action)
        self.others = {
            action: self._button(text, icon, tip, lambda action=action: action) for action, text, icon, tip in OTHERS
        }
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setSpacing(4)
        for number, one in enumerate((self.main, *self.others.values())):
            grid.addWidget(one, number // 3, number % 3)
            grid.setColumnStretch(number % 3, 1)
        self.show_state(None)

    def show_state(self, state: Any, busy: bool = False) -> None:
        """Enable the actions that are possible now.

        Args:
            state: status of the run, or None.
            busy: another action is under way.
        """
        kind = state.kind if state is not None else ""
        main = MAIN.get(kind, _PAUSE)
        if main != self._main:
            self._main = main
            self.main.setText(main.text)
            self.main.setToolTip(main.tip)
            icon_on(self.main, main.icon, 16)
        self.main.setEnabled(kind in MAIN and not busy)
        some = state is not None
        possible = {
            "stop": kind in ACTIVE_HERE and kind != "stopping" and not busy,
            "use": some and (state.done > 0 or state.weights is not None) and not busy,
            "duplicate": some,
            "folder": some,
            "delete": some and not state.active and not busy,
        }
        for action, one in self.others.items():
            one.setEnabled(possible[action])

    def _button(self, text: str, icon: str, tip: str, action: Callable[[], str]) -> QPushButton:
        made = button(text, tip, lambda: self.asked.emit(action()), icon=icon)
        made.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        return made
