"""The page *Runs*: the list of all runs, and live the status, figures and buttons of the chosen one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_synthseg.widgets._shared.controls import Message, ScrolledPage, WrappedLabel, icon_on, keep_from_wheel
from napari_synthseg.widgets._shared.model_chooser import ModelCard
from napari_synthseg.widgets.train.curves import CurvesPanel, DicePanel
from napari_synthseg.widgets.train.model import (
    ACTIVE_HERE,
    EVERY,
    Detail,
    Listed,
    duration,
    fraction_done,
    pace,
    sample_interval,
    score_word,
    size,
)
from napari_synthseg.widgets.train.runs_list import RunsList
from napari_synthseg.widgets.train.samples import SampleLayers
from napari_synthseg.widgets.train.watcher import Watcher

if TYPE_CHECKING:
    from napari.components import ViewerModel


@dataclass(frozen=True)
class _Main:
    """The first button in one state: its text, action, icon and tooltip."""

    text: str
    action: str
    icon: str
    tip: str


_PAUSE = _Main("Pause", "pause", "pause", "Pause the training; its memory stays allocated.")
_RESUME = _Main("Resume", "launch", "play", "Continue from the newest checkpoint, as if it had never stopped.")
MAIN = {
    "new": _Main("Start", "launch", "play", "Start this run."),
    "running": _PAUSE,
    "paused": _Main("Resume", "unpause", "play", "Continue from the pause."),
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
FIELDS = ("Loss", "Dice", "Rate", "Speed", "Memory", "Time left")
TIPS = {"Rate": "Learning rate", "Memory": "Peak memory of the GPU or of the machine"}
EMPTY = (
    "There are no runs yet. Choose what to train and on which data under <b>New run</b>, and press <b>Start</b>: "
    "the run then appears here, continues when napari is closed, and can be paused, stopped and resumed."
)


class RunButtons(QWidget):
    """Two rows of three buttons; the state of the run decides which are enabled and what the first one does."""

    asked = Signal(str)  # an action: pause, unpause, launch, longer, stop, use, duplicate, folder, delete

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._main = _PAUSE
        self.main = self._button(_PAUSE.text, _PAUSE.icon, _PAUSE.tip)
        self.main.clicked.connect(lambda: self.asked.emit(self._main.action))
        self.others = {action: self._button(text, icon, tip) for action, text, icon, tip in OTHERS}
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setSpacing(4)
        for number, button in enumerate((self.main, *self.others.values())):
            grid.addWidget(button, number // 3, number % 3)
            grid.setColumnStretch(number % 3, 1)
        for action, button in self.others.items():
            button.clicked.connect(lambda *_, action=action: self.asked.emit(action))
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
        some, here = state is not None, kind in ACTIVE_HERE
        possible = {
            "stop": here and kind != "stopping" and not busy,
            "use": some and (state.done > 0 or state.weights is not None) and not busy,
            "duplicate": some,
            "folder": some,
            "delete": some and not state.active and not busy,
        }
        for action, button in self.others.items():
            button.setEnabled(possible[action])

    @staticmethod
    def _button(text: str, icon: str, tip: str) -> QPushButton:
        button = QPushButton(text)
        button.setToolTip(tip)
        icon_on(button, icon, 16)
        button.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        return button


class RunHead(QWidget):
    """Status of the chosen run: stage and step over a bar, a message, and six figures."""

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
        """Show the status of a run.

        Args:
            state: its status.
            recipe: name of its recipe.
        """
        self.names["Dice"].setText(score_word(recipe))
        step = f", step {state.step:,} of {state.steps:,}" if state.steps else ""
        where = f"{state.stage}{step}" if state.stage else state.kind
        self.where.setText(f"{where} · {state.device}" if state.device else where)
        self.bar.setValue(round(1000 * fraction_done(state)))
        loud = state.kind in ("failed", "interrupted")
        self.words.say("" if loud else state.message)
        self.trouble.say(state.message if loud else "")
        self._say("Speed", pace(state.steps_per_second) if state.kind == "running" else "")
        self._say("Memory", size(state.memory))
        self._say("Time left", duration(state.seconds_left) if state.kind == "running" else "")

    def show_detail(self, detail: Detail | None) -> None:
        """Show the newest figures of a run."""
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
    """Return the newest score, and the best one of its stage."""
    if detail is None:
        return ""
    for stage in reversed(detail.series):
        score = detail.series[stage].get("score")
        if score is not None and len(score[1]):
            newest, best = float(score[1][-1]), float(score[1].max())
            return f"{newest:.3f}" if newest >= best else f"{newest:.3f} (best {best:.3f})"
    return ""


class RunPage(ScrolledPage):
    """Shows the runs that the watcher reports, and emits the actions the user asks for.

    Args:
        viewer: where samples are shown.
        titles: of the recipes, by name.
    """

    asked = Signal(str, object)  # an action of `RunButtons`, the run's folder
    pictures_wanted = Signal(object, object)  # the run's folder, and the interval in steps or None
    counted = Signal(int)  # number of active runs

    def __init__(self, viewer: ViewerModel, titles: Mapping[str, str], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.watcher = Watcher(self)
        self.list = RunsList(titles)
        self.buttons = RunButtons()
        self.head = RunHead()
        self.curves = CurvesPanel()
        self.dice = DicePanel()
        self.card = ModelCard()
        self.status = Message()
        self.empty = WrappedLabel()
        self.empty.setTextFormat(Qt.TextFormat.RichText)
        self.empty.setText(EMPTY)
        self.samples = SampleLayers(viewer, self)
        self.show_samples = QCheckBox("Show a &sample every")
        self.show_samples.setToolTip(
            "Show training samples, their truth and the prediction in the viewer, the first one at once."
        )
        self.every = QSpinBox()
        self.every.setRange(1, 100_000)
        self.every.setValue(EVERY)
        self.every.setSuffix(" steps")
        keep_from_wheel(self.every)
        self.busy = False
        self._pictured: Path | None = None
        self._fitted: Path | None = None  # run whose stages the sample interval fits
        self._every_changed = False
        self._build()
        self.list.chosen.connect(self._on_chosen)
        self.buttons.asked.connect(self._on_asked)
        self.show_samples.toggled.connect(self._on_samples)
        self.every.editingFinished.connect(self._on_every)
        self.watcher.listed.connect(self._on_listed)
        self.watcher.followed.connect(self._on_followed)
        self.watcher.pictured.connect(self._on_pictured)

    def _build(self) -> None:
        sample = QHBoxLayout()
        sample.addWidget(self.show_samples)
        sample.addWidget(self.every)
        sample.addStretch(1)
        self.about = QWidget()
        about = QVBoxLayout(self.about)
        about.setContentsMargins(0, 0, 0, 0)
        about.setSpacing(8)
        for part in (self.head, self.buttons, self.status, self.card):
            about.addWidget(part)
        about.addLayout(sample)
        about.addWidget(self.curves)
        about.addWidget(self.dice)
        inner = QWidget()
        layout = QVBoxLayout(inner)
        layout.setContentsMargins(6, 6, 6, 6)
        layout.setSpacing(8)
        layout.addWidget(self.empty)
        layout.addWidget(self.list)
        layout.addWidget(self.about)
        layout.addStretch(1)
        self.set_content(inner)
        self._show_emptiness()

    @property
    def run(self) -> Path | None:
        """Folder of the chosen run."""
        one = self.list.current()
        return None if one is None else one.run

    def choose(self, run: Path) -> None:
        """Choose a run as soon as it is listed."""
        self.list.choose(run)
        self.watcher.look_at(run, pictures=self.show_samples.isChecked())

    def say(self, text: str) -> None:
        """Show a sentence below the buttons."""
        self.status.say(text)

    def set_busy(self, busy: bool) -> None:
        """Disable the buttons while an action is under way."""
        self.busy = busy
        self._show_buttons()
        self.watcher.look_now()

    def show_card(self, card: dict[str, Any]) -> None:
        """Show the card of newly exported weights."""
        self.card.show_card(card)
        self.card.show()

    def close_down(self) -> None:
        """Stop watching, and ask for no more samples."""
        self._ask_no_more(None)
        self.watcher.stop()

    def _on_listed(self, rows: list[Listed]) -> None:
        self.list.show_runs(rows)
        self._show_emptiness()
        self.counted.emit(sum(one.state.kind in ACTIVE_HERE for one in rows))
        one = self.list.current()
        if one is not None:
            self.head.show_state(one.state, one.recipe)
        self._show_buttons()

    def _on_chosen(self, run: Path | None) -> None:
        self.say("")
        self.card.hide()
        self._ask_no_more(run)
        for part in (self.head, self.curves, self.dice):
            part.show_detail(None)
        one = self.list.current()
        if one is not None:
            self.head.show_state(one.state, one.recipe)
        self._show_buttons()
        self.watcher.look_at(run)

    def _on_followed(self, detail: Detail) -> None:
        if detail.run == self.run:
            if not self._every_changed and detail.run != self._fitted:
                self._fitted = detail.run
                self.every.setValue(sample_interval(detail.stages))
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
        if run is None:
            return
        self._pictured = run if wanted else None
        self.watcher.look_at(run, pictures=wanted)
        self.pictures_wanted.emit(run, self.every.value() if wanted else None)

    def _ask_no_more(self, chosen: Path | None) -> None:
        """Ask the run whose samples were shown for no more."""
        before, self._pictured = self._pictured, None
        if before is not None and before != chosen:
            self.pictures_wanted.emit(before, None)
        self.show_samples.blockSignals(True)
        self.show_samples.setChecked(False)
        self.show_samples.blockSignals(False)

    def _on_asked(self, action: str) -> None:
        if self.run is not None:
            self.asked.emit(action, self.run)

    def _show_buttons(self) -> None:
        one = self.list.current()
        self.buttons.show_state(None if one is None else one.state, self.busy)

    def _show_emptiness(self) -> None:
        some = bool(self.list.runs.rows)
        self.empty.setVisible(not some)
        self.list.setVisible(some)
        self.about.setVisible(some)
