"""The page *Runs*: the list of all runs, and of the chosen one all that is known of it, live."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QSize, Qt, Signal
from qtpy.QtWidgets import QCheckBox, QHBoxLayout, QSpinBox, QVBoxLayout, QWidget

from napari_synthseg.widgets._shared.controls import Message, WrappedLabel, keep_from_wheel
from napari_synthseg.widgets._shared.model_chooser import ModelCard
from napari_synthseg.widgets.train.buttons import RunButtons
from napari_synthseg.widgets.train.curves import Curves
from napari_synthseg.widgets.train.dice_table import DicePanel
from napari_synthseg.widgets.train.figures import RunHead
from napari_synthseg.widgets.train.runs_list import RunsList
from napari_synthseg.widgets.train.samples import SampleLayers
from napari_synthseg.widgets.train.scrolled import fill_scrolled, least_size
from napari_synthseg.widgets.train.watcher import Detail, Listed, Watcher

if TYPE_CHECKING:
    from napari.components import ViewerModel

EMPTY = (
    "There are no runs yet. Choose what to train and on which data under <b>New run</b>, and press <b>Start</b>: "
    "the run then appears here, goes on when napari is closed, and can be paused, stopped and continued."
)


class RunPage(QWidget):
    """Shows what the watcher tells; says what the user asks for.

    Args:
        viewer: where samples are shown.
        titles: of the recipes, by name.
    """

    asked = Signal(str, object)  # see `RunButtons.asked`; the run's folder
    pictures_wanted = Signal(object, object)  # the run's folder, and every how many steps; None: no more
    counted = Signal(int)  # how many runs there are

    def __init__(self, viewer: ViewerModel, titles: Mapping[str, str], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.watcher = Watcher(self)
        self.list = RunsList(titles)
        self.buttons = RunButtons()
        self.head = RunHead()
        self.curves = Curves()
        self.dice = DicePanel()
        self.card = ModelCard()
        self.status = Message()
        self.empty = WrappedLabel()
        self.empty.setTextFormat(Qt.TextFormat.RichText)
        self.empty.setText(EMPTY)
        self.samples = SampleLayers(viewer, self)
        self.show_samples = QCheckBox("Show a &sample every")
        self.show_samples.setToolTip("Put the current training sample, its truth and the prediction into the viewer.")
        self.every = QSpinBox()
        self.every.setRange(1, 100_000)
        self.every.setValue(25)
        self.every.setSuffix(" steps")
        keep_from_wheel(self.every)
        self.busy = False
        self._pictured: Path | None = None
        self._build()
        self.list.chosen.connect(self._on_chosen)
        self.buttons.asked.connect(self._on_asked)
        self.show_samples.toggled.connect(self._on_samples)
        self.every.editingFinished.connect(self._on_samples)
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
        fill_scrolled(self, inner)
        self._show_emptiness()

    @property
    def run(self) -> Path | None:
        """The chosen run."""
        one = self.list.current()
        return None if one is None else one.run

    def minimumSizeHint(self) -> QSize:
        """Nothing is cut off."""
        return least_size(self)

    def choose(self, run: Path) -> None:
        """Look at a run, as soon as it is listed."""
        self.list.choose(run)
        self.watcher.look_at(run, pictures=self.show_samples.isChecked())

    def say(self, text: str) -> None:
        """A sentence below the buttons."""
        self.status.say(text)

    def set_busy(self, busy: bool) -> None:
        """Something is being done to a run: its buttons wait."""
        self.busy = busy
        self._show_buttons()
        self.watcher.look_now()

    def show_card(self, card: dict[str, Any]) -> None:
        """Show the card of weights that were just made."""
        self.card.show_card(card)
        self.card.show()

    def close_down(self) -> None:
        """Look no longer, and ask for no more samples."""
        self._ask_no_more(None)
        self.watcher.stop()

    def _on_listed(self, rows: list[Listed]) -> None:
        self.list.show_runs(rows)
        self._show_emptiness()
        self.counted.emit(sum(one.state.kind in ("waiting", "starting", "running", "paused") for one in rows))
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
            for part in (self.head, self.curves, self.dice):
                part.show_detail(detail)

    def _on_pictured(self, run: Path, sample: Any) -> None:
        if run == self.run and self.show_samples.isChecked():
            self.samples.show(sample)

    def _on_samples(self) -> None:
        run, wanted = self.run, self.show_samples.isChecked()
        if run is None:
            return
        self._pictured = run if wanted else None
        self.watcher.look_at(run, pictures=wanted)
        self.pictures_wanted.emit(run, self.every.value() if wanted else None)

    def _ask_no_more(self, chosen: Path | None) -> None:
        """The run whose samples were shown is left: it need not make any."""
        before, self._pictured = self._pictured, None
        if before is not None and before != chosen:
            self.pictures_wanted.emit(before, None)
        self.show_samples.blockSignals(True)
        self.show_samples.setChecked(False)
        self.show_samples.blockSignals(False)

    def _on_asked(self, word: str) -> None:
        if self.run is not None:
            self.asked.emit(word, self.run)

    def _show_buttons(self) -> None:
        one = self.list.current()
        self.buttons.show_state(None if one is None else one.state, self.busy)

    def _show_emptiness(self) -> None:
        some = bool(self.list.runs.rows)
        self.empty.setVisible(not some)
        self.list.setVisible(some)
        self.about.setVisible(some)
