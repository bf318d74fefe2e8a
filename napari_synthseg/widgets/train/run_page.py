"""The page *Runs*: the list of all runs, and live the status, figures and buttons of the chosen one."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from qtpy.QtCore import QSize, Qt, Signal
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QFrame, QGridLayout, QLabel, QListWidget, QListWidgetItem, QSizePolicy, QWidget
from superqt.utils import signals_blocked

from napari_synthseg.jobs import duration
from napari_synthseg.widgets._shared.choosers import ModelCard
from napari_synthseg.widgets._shared.controls import (
    Message,
    WrappedLabel,
    button,
    check_box,
    column,
    progress_bar,
    row,
    spin_box,
)
from napari_synthseg.widgets._shared.face import scrolled
from napari_synthseg.widgets.train import model
from napari_synthseg.widgets.train.curves import CurvesPanel, DicePanel
from napari_synthseg.widgets.train.watcher import SampleLayers, Watcher

if TYPE_CHECKING:
    from napari.components import ViewerModel

MOST_ROWS = 5


class RunsList(QListWidget):
    """All runs, two lines each; it keeps its choice while other runs come and go. `titles` are of recipes, by name."""

    chosen = Signal(object)  # the run's folder, or None

    def __init__(self, titles: Mapping[str, str]) -> None:
        super().__init__()
        self._titles = titles
        self._current: Path | None = None
        self.rows: list[model.Listed] = []
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setIconSize(QSize(10, 10))
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setAccessibleName("Training runs")
        self.currentRowChanged.connect(self._on_current)

    def show_runs(self, rows: list[model.Listed]) -> None:
        """Show the current runs; the newest one is chosen if none was."""
        others = [one.run for one in rows] != [one.run for one in self.rows]
        before, self.rows = self.rows, rows
        if others:
            with signals_blocked(self):
                self.clear()
                self.addItems([""] * len(rows))
        for number, one in enumerate(rows):
            if others or one != before[number]:
                self._show(self.item(number), one)
        if others:
            known = [one.run for one in rows]
            self.choose(self._current if self._current in known else known[0] if known else None)
            self.setFixedHeight(min(max(len(rows), 1), MOST_ROWS) * max(self.sizeHintForRow(0), 30) + 4)

    def current(self) -> model.Listed | None:
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

    def _show(self, item: QListWidgetItem, one: model.Listed) -> None:
        done = f"   {100 * model.fraction_done(one.state):.0f} %" if one.state.total else ""
        line = model.status_line(one.state, self._titles, one.recipe, one.dice)
        sign, color = model.LOOKS.get(one.state.kind, ("·", model.GRAY))
        item.setText(f"{sign}  {one.run.name}{done}\n{line}")
        item.setToolTip("\n".join(filter(None, (one.run.name, line, one.state.message, str(one.run)))))
        item.setData(Qt.ItemDataRole.AccessibleTextRole, f"{one.run.name}: {line}")
        item.setData(Qt.ItemDataRole.DecorationRole, QColor(color))

    def _on_current(self, number: int) -> None:
        if 0 <= number < len(self.rows):
            self._tell(self.rows[number].run)

    def _tell(self, run: Path | None) -> None:
        if run != self._current or run is None:
            self._current = run
            self.chosen.emit(run)


class _Action(NamedTuple):
    name: str
    text: str
    tip: str


_PAUSE = _Action("pause", "Pause", "Pause the training; its memory stays allocated.")
_RESUME = _Action("launch", "Resume", "Resume from the newest checkpoint, as if it had never stopped.")
MAIN = {
    "new": _Action("launch", "Start", "Start this run."),
    "running": _PAUSE,
    "paused": _Action("unpause", "Resume", "Resume after the pause."),
    "stopped": _RESUME,
    "interrupted": _RESUME,
    "failed": _RESUME,
}
"""Action of the first button by the state of the run; in other states it is disabled."""
OTHERS = (
    _Action("stop", "Stop", "End the training with a checkpoint; it can be resumed later."),
    _Action("use", "Use weights", "Add these weights to Segment brain or Prompt, with their card."),
    _Action("duplicate", "Duplicate…", "Fill the form with this run's options, to change some."),
    _Action("folder", "Open folder", "Show the run's folder."),
    _Action("delete", "Delete…", "Delete the run with its checkpoints; asks first."),
)


class RunButtons(QWidget):
    """Two rows of three buttons; the state of the run decides which are enabled, and the action of the first one."""

    asked = Signal(str)  # name of an action

    def __init__(self) -> None:
        super().__init__()
        self._main = _PAUSE
        self.main = button(_PAUSE.text, _PAUSE.tip, lambda: self.asked.emit(self._main.name))
        self.others = {one.name: button(one.text, one.tip, partial(self.asked.emit, one.name)) for one in OTHERS}
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setSpacing(4)
        for number, one in enumerate((self.main, *self.others.values())):
            one.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
            grid.addWidget(one, number // 3, number % 3)
            grid.setColumnStretch(number % 3, 1)
        self.show_state(None)

    def show_state(self, state: Any, busy: bool = False) -> None:
        """Enable the actions that are possible in the state of a run, while no other is under way."""
        kind = state.kind if state is not None else ""
        main = MAIN.get(kind, _PAUSE)
        if main != self._main:
            self._main = main
            self.main.setText(main.text)
            self.main.setToolTip(main.tip)
        self.main.setEnabled(kind in MAIN and not busy)
        some = state is not None
        possible = {
            "stop": kind in model.ACTIVE_HERE and kind != "stopping" and not busy,
            "use": some and (state.done > 0 or state.weights is not None) and not busy,
            "duplicate": some,
            "folder": some,
            "delete": some and not state.active and not busy,
        }
        for action, one in self.others.items():
            one.setEnabled(possible[action])


FIELDS = ("Loss", "Dice", "Rate", "Speed", "Memory", "Time left")
TIPS = {"Rate": "Learning rate", "Memory": "Peak memory of the GPU or of the machine"}


class RunHead(QWidget):
    """Status of the chosen run: stage and step over a bar, a message, and six figures."""

    def __init__(self) -> None:
        super().__init__()
        self.where = _selectable()
        self.where.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.bar = progress_bar(8)
        self.bar.setRange(0, 1000)
        self.words, self.trouble = Message(), Message(warning=True)
        self.names = {name: QLabel(name) for name in FIELDS}
        self.values = {name: _selectable() for name in FIELDS}
        grid = QGridLayout()
        grid.setHorizontalSpacing(8)
        grid.setVerticalSpacing(2)
        for number, name in enumerate(FIELDS):
            self.names[name].setEnabled(False)  # softer
            self.names[name].setToolTip(TIPS.get(name, ""))
            grid.addWidget(self.names[name], number // 2, 2 * (number % 2))
            grid.addWidget(self.values[name], number // 2, 2 * (number % 2) + 1)
            grid.setColumnStretch(2 * (number % 2) + 1, 1)
        column(self.where, self.bar, self.words, self.trouble, grid, parent=self, spacing=4)

    def show_state(self, state: Any, recipe: str = "") -> None:
        self.names["Dice"].setText(model.score_word(recipe))
        step = f", step {state.step:,} of {state.steps:,}" if state.steps else ""
        where = f"{state.stage}{step}" if state.stage else state.kind
        self.where.setText(f"{where} · {state.device}" if state.device else where)
        self.bar.setValue(round(1000 * model.fraction_done(state)))
        loud = state.kind in ("failed", "interrupted")
        self.words.say("" if loud else state.message)
        self.trouble.say(state.message if loud else "")
        running = state.kind == "running"
        self._say("Speed", model.pace(state.steps_per_second) if running else "")
        self._say("Memory", model.size(state.memory))
        self._say("Time left", duration(state.seconds_left) if running else "")

    def show_detail(self, detail: model.Detail | None) -> None:
        figures = detail.figures if detail is not None else {}
        loss, rate = figures.get("loss"), figures.get("lr", figures.get("rate"))
        self._say("Loss", "" if loss is None else f"{loss:.4g}")
        self._say("Dice", "" if detail is None else detail.score_text())
        self._say("Rate", "" if rate is None else f"{rate:.2e}")

    def _say(self, name: str, text: str) -> None:
        self.values[name].setText(text or "–")


def _selectable() -> QLabel:
    label = QLabel()
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    return label


EMPTY = (
    "There are no runs yet. Choose what to train and on which data under <b>New run</b>, and press <b>Start</b>: "
    "the run then appears here, continues when napari is closed, and can be paused, stopped and resumed."
)


class RunPage(QWidget):
    """Shows the runs that the watcher reports, and emits the actions the user asks for."""

    asked = Signal(str, object)  # an action of `RunButtons`, the run's folder
    pictures_wanted = Signal(object, object)  # the run's folder, and the interval in steps or None
    counted = Signal(int)  # number of active runs

    def __init__(self, viewer: ViewerModel, titles: Mapping[str, str]) -> None:
        super().__init__()
        self.watcher = Watcher(self)
        self.list, self.buttons, self.head = RunsList(titles), RunButtons(), RunHead()
        self.curves, self.dice, self.card = CurvesPanel(), DicePanel(), ModelCard()
        self.status, self.empty = Message(), WrappedLabel()
        self.empty.setTextFormat(Qt.TextFormat.RichText)
        self.empty.setText(EMPTY)
        self.samples = SampleLayers(viewer, self)
        tip = "Show training samples, their truth and the prediction in the viewer, the first one at once."
        self.show_samples = check_box("Show a &sample every", tip)
        self.every = spin_box(1, 100_000, model.EVERY, tip, "Steps between samples")
        self.every.setSuffix(" steps")
        self.busy = False
        self._pictured: Path | None = None
        self._fitted: Path | None = None  # run whose stages the sample interval fits
        self._every_changed = False
        sample = row(self.show_samples, self.every, None)
        self.about = QWidget()
        above = (self.head, self.buttons, self.status, self.card)
        column(*above, sample, self.curves, self.dice, parent=self.about, spacing=8)
        scrolled(self, self.empty, self.list, self.about, None, spacing=8)
        self._show_emptiness()
        self.list.chosen.connect(self._on_chosen)
        self.buttons.asked.connect(lambda action: self.run is not None and self.asked.emit(action, self.run))
        self.show_samples.toggled.connect(self._on_samples)
        self.every.editingFinished.connect(self._on_every)
        self.watcher.listed.connect(self._on_listed)
        self.watcher.followed.connect(self._on_followed)
        self.watcher.pictured.connect(self._on_pictured)

    @property
    def run(self) -> Path | None:
        one = self.list.current()
        return None if one is None else one.run

    def choose(self, run: Path) -> None:
        self.list.choose(run)
        self.watcher.look_at(run, pictures=self.show_samples.isChecked())

    def set_busy(self, busy: bool) -> None:
        self.busy = busy
        self._show_state()
        self.watcher.wake.set()  # look now

    def show_card(self, card: dict[str, Any]) -> None:
        self.card.show_card(card)
        self.card.show()

    def close_down(self) -> None:
        self._ask_no_more(None)
        self.watcher.stop()

    def _on_listed(self, rows: list[model.Listed]) -> None:
        self.list.show_runs(rows)
        self._show_emptiness()
        self.counted.emit(sum(one.state.kind in model.ACTIVE_HERE for one in rows))
        self._show_state()

    def _on_chosen(self, run: Path | None) -> None:
        self.status.say("")
        self.card.hide()
        self._ask_no_more(run)
        for part in (self.head, self.curves, self.dice):
            part.show_detail(None)
        self._show_state()
        self.watcher.look_at(run)

    def _on_followed(self, detail: model.Detail) -> None:
        if detail.run == self.run:
            if not self._every_changed and detail.run != self._fitted:
                self._fitted = detail.run
                self.every.setValue(model.sample_interval(detail.stages))
            for part in (self.head, self.curves, self.dice):
                part.show_detail(detail)

    def _on_pictured(self, run: Path, sample: Any) -> None:
        if run == self.run and self.show_samples.isChecked():
            self.samples.show(sample)

    def _on_every(self) -> None:
        self._every_changed = True
        self._on_samples()

    def _on_samples(self) -> None:
        run, wanted = self.run, self.show_samples.isChecked()
        if run is not None:
            self._pictured = run if wanted else None
            self.watcher.look_at(run, pictures=wanted)
            self.pictures_wanted.emit(run, self.every.value() if wanted else None)

    def _ask_no_more(self, chosen: Path | None) -> None:
        before, self._pictured = self._pictured, None
        if before is not None and before != chosen:
            self.pictures_wanted.emit(before, None)
        with signals_blocked(self.show_samples):
            self.show_samples.setChecked(False)

    def _show_state(self) -> None:
        one = self.list.current()
        if one is not None:
            self.head.show_state(one.state, one.recipe)
        self.buttons.show_state(None if one is None else one.state, self.busy)

    def _show_emptiness(self) -> None:
        some = bool(self.list.rows)
        self.empty.setHidden(some)
        self.list.setVisible(some)
        self.about.setVisible(some)
