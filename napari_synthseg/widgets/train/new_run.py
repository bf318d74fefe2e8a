"""The page *New run*: recipe, data, options, an estimate of time and memory, and the button that starts it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_synthseg.jobs import Progress
from napari_synthseg.widgets._shared.choices import Choice, preference
from napari_synthseg.widgets._shared.controls import Message, ScrolledPage, combo, form_layout, set_tab_order
from napari_synthseg.widgets._shared.job import Job
from napari_synthseg.widgets._shared.memory import recall, remember
from napari_synthseg.widgets._shared.notices import complain
from napari_synthseg.widgets.train.model import duration, pace
from napari_synthseg.widgets.train.new_run_model import Request, try_out
from napari_synthseg.widgets.train.recipe_form import RecipeForm

if TYPE_CHECKING:
    from napari.components import ViewerModel

ESTIMATE, STOP = "&Estimate", "Stop &estimate"


class EstimatePanel(QFrame):
    """Shows an estimate of time and memory, hidden until one is under way.

    Attributes:
        button: starts and stops it; placed by the page.
    """

    measured = Signal(object)  # training.runs.Estimate

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setFrameShape(QFrame.Shape.StyledPanel)
        self.button = QPushButton(ESTIMATE)
        self.button.setToolTip("Try a few steps of each stage in the background: how long will it take, in how much?")
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setFixedHeight(8)
        self.words = Message()
        self._grid = QGridLayout()
        self._grid.setHorizontalSpacing(10)
        self._grid.setVerticalSpacing(2)
        self._possible = False
        self._kept = False
        self._job = Job(self)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 4, 6, 4)
        layout.addWidget(self.bar)
        layout.addWidget(self.words)
        layout.addLayout(self._grid)
        self._job.progressed.connect(self._on_progress)
        self._job.returned.connect(self._on_returned)
        self._job.failed.connect(self._on_failed)
        self._job.stopped.connect(self._on_stopped)
        self.hide()

    @property
    def running(self) -> bool:
        """Whether an estimate is under way."""
        return self._job.running

    def begin(self, request: Request) -> None:
        """Estimate a run that is not created yet."""
        self._clear()
        self.bar.setRange(0, 0)
        self.bar.show()
        self.show()
        self.words.say("Trying a few steps…")
        self._job.start("Estimate", try_out, request)
        self._show_button()

    def stop(self) -> None:
        """Stop the estimate."""
        self._job.stop()

    def forget(self) -> None:
        """Hide the estimate, since other options are chosen."""
        if not self.running and not self._kept:
            self.hide()

    def keep(self, change: Callable[[], None]) -> None:
        """Change options because of the estimate, which stays visible."""
        self._kept = True
        change()
        self._kept = False

    def set_possible(self, possible: bool) -> None:
        """Enable the button if there is something to estimate."""
        self._possible = possible
        self._show_button()

    def _show_button(self) -> None:
        self.button.setText(STOP if self.running else ESTIMATE)
        self.button.setEnabled(self._possible or self.running)

    def _on_progress(self, report: Progress) -> None:
        self.bar.setRange(0, report.total)
        self.bar.setValue(report.done)
        self.words.say(f"Trying a few steps: {report.stage}")

    def _on_returned(self, found: Any) -> None:
        self._end(found.sentence)
        self._show_table(found)
        self.measured.emit(found)

    def _on_failed(self, error: Exception) -> None:
        self._end(complain(error, "Estimating"))

    def _on_stopped(self) -> None:
        self._end("Stopped; nothing was estimated.")

    def _end(self, words: str) -> None:
        self.bar.hide()
        self.words.say(words)
        self._show_button()

    def _show_table(self, found: Any) -> None:
        rows = [("", "a step", "a validation")]
        for stage, seconds in found.seconds_per_step.items():
            check = found.validation_seconds.get(stage)
            rows.append((stage, pace(1 / seconds) if seconds else "", duration(check) if check else "–"))
        for row, texts in enumerate(rows):
            for column, text in enumerate(texts):
                label = QLabel(text)
                label.setEnabled(bool(row and column))  # the rest is softer
                label.setAlignment(Qt.AlignmentFlag.AlignLeft if not column else Qt.AlignmentFlag.AlignRight)
                self._grid.addWidget(label, row, column)

    def _clear(self) -> None:
        while (item := self._grid.takeAt(0)) is not None:
            part = item.widget()
            if part is not None:
                part.deleteLater()


FACE = "train"
START = "&Start training"


class NewRunPage(ScrolledPage):
    """Collects the request for a run, and emits it.

    Args:
        viewer: whose layers are offered.
        recipes: `training.runs.RECIPES`.
    """

    started = Signal(object)  # Request
    changed = Signal()

    def __init__(self, viewer: ViewerModel, recipes: Mapping[str, Any], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer, self._recipes = viewer, recipes
        self.forms: dict[str, RecipeForm] = {}
        choices = [Choice(name, entry.title, entry.summary) for name, entry in recipes.items()]
        self.recipe = combo(choices, "What is trained, and how.")
        self.summary = Message()
        self.here = QCheckBox("Train in this &window")
        self.here.setToolTip(
            "Train in a thread of napari, not in a process of its own: nothing else is started, "
            "but the window may stutter, and closing napari stops the run (it can be continued)."
        )
        self.estimate = EstimatePanel(self)
        self.hint = Message()
        self.status = Message()
        self.start = QPushButton(START)
        self.start.setToolTip("Start the run, or queue it behind those that hold the same device.")
        self.start.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.start.clicked.connect(self._on_start)
        self.estimate.button.clicked.connect(self._on_estimate)
        self.estimate.measured.connect(self._on_measured)
        self._busy = False
        self._night = False
        self._devices: Mapping[str, str] = {}
        self._build()
        self.recipe.currentIndexChanged.connect(lambda _: self._show_recipe())
        kept = recall(FACE)
        row = self.recipe.findData(kept.get("recipe"))
        self.recipe.setCurrentIndex(max(row, 0))
        self._show_recipe()

    def _build(self) -> None:
        form = form_layout()
        label = QLabel("&Recipe")
        label.setBuddy(self.recipe)
        form.addRow(label, self.recipe)
        self._place = QVBoxLayout()
        buttons = QHBoxLayout()
        buttons.addWidget(self.estimate.button)
        buttons.addWidget(self.start, 1)
        inner = QWidget()
        layout = QVBoxLayout(inner)
        layout.setContentsMargins(6, 6, 6, 6)
        layout.setSpacing(6)
        layout.addLayout(form)
        layout.addWidget(self.summary)
        layout.addLayout(self._place)
        layout.addWidget(self.here)
        layout.addWidget(self.hint)
        layout.addLayout(buttons)
        layout.addWidget(self.estimate)
        layout.addWidget(self.status)
        layout.addStretch(1)
        self._inner = inner
        self.set_content(inner)

    @property
    def form(self) -> RecipeForm:
        """Form of the chosen recipe."""
        return self.forms[self.recipe.currentData()]

    def fill(self, recipe: str, values: Mapping[str, Any]) -> None:
        """Show a recipe with the options of another run."""
        row = self.recipe.findData(recipe)
        if row >= 0:
            self.recipe.setCurrentIndex(row)
            self._show_recipe()
            self.form.fill(values)
            self.say("The options are those of the other run: change what is to be different, and start.")

    def request(self) -> Request:
        """Return the request.

        Raises:
            InputError: something is missing or cannot be used.
        """
        return self.form.request(here=self.here.isChecked())

    def say(self, text: str) -> None:
        """Show a sentence below the buttons."""
        self.status.say(text)

    def set_devices(self, names: Mapping[str, str]) -> None:
        """Offer the GPUs, by device, once they are known."""
        self._devices = names
        for form in self.forms.values():
            form.set_devices(names)

    def set_busy(self, busy: bool) -> None:
        """Disable the buttons while a run is being started."""
        self._busy = busy
        self._show_state()

    def remember_choices(self) -> None:
        """Remember the choices for the next time the widget is opened."""
        kept = {name: form.kept() for name, form in self.forms.items()}
        remember(FACE, {"recipe": self.recipe.currentData(), "forms": {**recall(FACE).get("forms", {}), **kept}})

    def close_down(self) -> None:
        """Stop the estimate."""
        self.estimate.stop()

    def _show_recipe(self) -> None:
        name = self.recipe.currentData()
        if name is None:
            return
        if name not in self.forms:
            form = RecipeForm(self._viewer, self._recipes[name])
            form.changed.connect(self._on_changed)
            form.night_wanted.connect(self._on_night)
            form.set_devices(self._devices)
            form.recall(recall(FACE).get("forms", {}).get(name, {}), str(preference("device", "auto")))
            self.forms[name] = form
            self._place.addWidget(form)
        for other, form in self.forms.items():
            form.setVisible(other == name)
        self.summary.say(self._recipes[name].summary)
        set_tab_order(self._inner)
        self._on_changed()

    def _on_changed(self) -> None:
        self.say("")
        self._night = False
        self.estimate.forget()
        self._show_state()
        self.changed.emit()

    def _show_state(self) -> None:
        problem = self.form.problem()
        self.hint.say(problem or "")
        self.start.setEnabled(problem is None and not self._busy)
        self.start.setText("Starting…" if self._busy else START)
        self.estimate.set_possible(problem is None and not self._busy)

    def _on_start(self) -> None:
        try:
            request = self.request()
        except ValueError as error:
            self.hint.say(str(error))
            return
        self.remember_choices()
        self.started.emit(request)

    def _on_estimate(self) -> None:
        if self.estimate.running:
            self.estimate.stop()
            return
        self._night = False
        try:
            self.estimate.begin(self.request())
        except ValueError as error:
            self.hint.say(str(error))

    def _on_night(self) -> None:
        """Estimate the options, then ask for as many steps as fit into a night."""
        if self.form.problem() is None and not self.estimate.running:
            self._night = True
            self.estimate.begin(self.request())

    def _on_measured(self, found: Any) -> None:
        wanted, self._night = self._night, False
        if wanted:
            self.estimate.keep(lambda: self.form.set_night(found.seconds))
