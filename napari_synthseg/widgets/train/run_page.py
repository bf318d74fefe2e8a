"""The page *Runs*: the list of all runs, and live the status, figures and buttons of the chosen one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QGridLayout,
    QLabel,
    QProgressBar,
    QSizePolicy,
    QSpinBox,
    QWidget,
)

from napari_synthseg.widgets._shared.choices import duration
from napari_synthseg.widgets._shared.controls import (
    Message,
    VerticalScroll,
    WrappedLabel,
    check_box,
    column,
    keep_from_wheel,
    row,
)
from napari_synthseg.widgets._shared.model_chooser import ModelCard
from napari_synthseg.widgets.train.curves import CurvesPanel, DicePanel
from napari_synthseg.widgets.train.model import (
    ACTIVE_HERE,
    EVERY,
    Detail,
    Listed,
    fraction_done,
    pace,
    sample_interval,
    score_word,
    size,
)
from napari_synthseg.widgets.train.runs_list import RunButtons, RunsList
from napari_synthseg.widgets.train.samples import SampleLayers
from napari_synthseg.widgets.train.watcher import Watcher

if TYPE_CHECKING:
    from napari.components import ViewerModel

FIELDS = {
    "Loss": "",
    "Dice": "",
    "Rate": "Learning rate",
    "Speed": "",
    "Memory": "Peak memory of the GPU or of the machine",
    "Time left": "",
}
"""Figures of a run, with tooltips."""


class RunHead(QWidget):
    """Status of the chosen run: stage and step over a bar, a message, and six figures."""

    def __init__(self) -> None:
        super().__init__()
        self.where = _selectable()
        self.where.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.bar = QProgressBar()
        self.bar.setRange(0, 1000)
        self.bar.setTextVisible(False)
        self.bar.setFixedHeight(8)
        self.words, self.trouble = Message(), Message(warning=True)
        self.names = {name: QLabel(name) for name in FIELDS}
        self.values = {name: _selectable() for name in FIELDS}
        grid = QGridLayout()
        grid.setHorizontalSpacing(8)
        grid.setVerticalSpacing(2)
        for number, (name, tip) in enumerate(FIELDS.items()):
            self.names[name].setEnabled(False)  # softer
            self.names[name].setToolTip(tip)
            grid.addWidget(self.names[name], number // 2, 2 * (number % 2))
            grid.addWidget(self.values[name], number // 2, 2 * (number % 2) + 1)
            grid.setColumnStretch(2 * (number % 2) + 1, 1)
        column(self.where, self.bar, self.words, self.trouble, grid, parent=self, spacing=4)

    def show_state(self, state: Any, recipe: str = "") -> None:
        """Show the status of a run of a recipe."""
        self.names["Dice"].setText(score_word(recipe))
        step = f", step {state.step:,} of {state.steps:,}" if state.steps else ""
        where = f"{state.stage}{step}" if state.stage else state.kind
        self.where.setText(f"{where} · {state.device}" if state.device else where)
        self.bar.setValue(round(1000 * fraction_done(state)))
        loud = state.kind in ("failed", "interrupted")
        self.words.say("" if loud else state.message)
        self.trouble.say(state.message if loud else "")
        running = state.kind == "running"
        self._say("Speed", pace(state.steps_per_second) if running else "")
        self._say("Memory", size(state.memory))
        self._say("Time left", duration(state.seconds_left) if running else "")

    def show_detail(self, detail: Detail | None) -> None:
        """Show the newest figures of a run."""
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
    """Shows the runs that the watcher reports, and emits the actions the user asks for.

    Args:
        viewer: where samples are shown.
        titles: of the recipes, by name.
    """

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
        self.every = QSpinBox()
        self.every.setRange(1, 100_000)
        self.every.setValue(EVERY)
        self.every.setSuffix(" steps")
        keep_from_wheel(self.every)
        self.busy = False
        self._pictured: Path | None = None
        self._fitted: Path | None = None  # run whose stages the sample interval fits
        self._every_changed = False
        sample = row(self.show_samples, self.every, None)
        self.about, inner = QWidget(), QWidget()
        above = (self.head, self.buttons, self.status, self.card)
        column(*above, sample, self.curves, self.dice, parent=self.about, spacing=8)
        column(self.empty, self.list, self.about, None, parent=inner, margin=6, spacing=8)
        column(VerticalScroll(inner), parent=self)
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
        """Folder of the chosen run."""
        one = self.list.current()
        return None if one is None else one.run

    def choose(self, run: Path) -> None:
        """Choose a run as soon as it is listed."""
        self.list.choose(run)
        self.watcher.look_at(run, pictures=self.show_samples.isChecked())

    def set_busy(self, busy: bool) -> None:
        """Disable the buttons while an action is under way."""
        self.busy = busy
        self._show_state()
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
        self._show_state()

    def _on_chosen(self, run: Path | None) -> None:
        self.status.say("")
        self.card.hide()
        self._ask_no_more(run)
        for part in (self.head, self.curves, self.dice):
            part.show_detail(None)
        self._show_state()
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
        if run is not None:
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

    def _show_state(self) -> None:
        one = self.list.current()
        if one is not None:
            self.head.show_state(one.state, one.recipe)
        self.buttons.show_state(None if one is None else one.state, self.busy)

    def _show_emptiness(self) -> None:
        some = bool(self.list.rows)
        self.empty.setVisible(not some)
        self.list.setVisible(some)
        self.about.setVisible(some)
