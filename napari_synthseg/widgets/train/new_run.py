"""The page *New run*: recipe, data, options, an estimate of time and memory, and the button that starts it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFrame, QVBoxLayout, QWidget

from napari_synthseg.jobs import Progress
from napari_synthseg.widgets._shared.choices import Choice, preference
from napari_synthseg.widgets._shared.controls import (
    Message,
    button,
    check_box,
    column,
    combo,
    form_layout,
    progress_bar,
    row,
)
from napari_synthseg.widgets._shared.face import scrolled, set_tab_order
from napari_synthseg.widgets._shared.job import Job
from napari_synthseg.widgets._shared.user import complain, recall, remember
from napari_synthseg.widgets.train.new_run_model import Request, try_out
from napari_synthseg.widgets.train.recipe_form import RecipeForm

if TYPE_CHECKING:
    from napari.components import ViewerModel

FACE = "train"
START, ESTIMATE, STOP = "&Start training", "&Estimate", "Stop &estimate"


class EstimatePanel(QFrame):
    """Shows an estimate of time and memory, hidden until one is under way; its `button` is placed by the page."""

    def __init__(self) -> None:
        super().__init__()
        self.setFrameShape(QFrame.Shape.StyledPanel)
        self.button = button(ESTIMATE, "Try a few steps of each stage in the background, for time and memory.")
        self.bar = progress_bar(8)
        self.words = Message()
        column(self.bar, self.words, parent=self, margin=5)
        self._job = Job(
            self,
            progressed=self._on_progress,
            returned=lambda found: self._end(found.sentence),
            failed=lambda error: self._end(complain(error, "Estimating")),
            stopped=lambda: self._end("Stopped; nothing was estimated."),
        )
        self.stop = self._job.stop
        self.hide()

    @property
    def running(self) -> bool:
        return self._job.running

    def begin(self, request: Request) -> None:
        self.bar.setRange(0, 0)
        self.bar.show()
        self.show()
        self.words.say("Trying a few steps…")
        self._job.start("Estimate", try_out, request)
        self.set_possible(True)

    def set_possible(self, possible: bool) -> None:
        self.button.setText(STOP if self.running else ESTIMATE)
        self.button.setEnabled(possible or self.running)

    def _on_progress(self, report: Progress) -> None:
        self.bar.setRange(0, report.total)
        self.bar.setValue(report.done)
        self.words.say(f"Trying a few steps: {report.stage}")

    def _end(self, words: str) -> None:
        self.bar.hide()
        self.words.say(words)
        self.set_possible(True)


class NewRunPage(QWidget):
    """Collects the request for a run of one of the `training.runs.RECIPES`, and emits it."""

    started = Signal(object)  # Request

    def __init__(self, viewer: ViewerModel, recipes: Mapping[str, Any]) -> None:
        super().__init__()
        self._viewer, self._recipes = viewer, recipes
        self._busy = False
        self.forms: dict[str, RecipeForm] = {}
        choices = [Choice(name, entry.title, entry.summary) for name, entry in recipes.items()]
        self.recipe = combo(choices, "The network that is trained, and the method.")
        self.here = check_box(
            "Train in this &window",
            "Train in a thread of napari, not in a process of its own: nothing else is started, "
            "but the window may stutter, and closing napari stops the run (it can be resumed).",
        )
        self.summary, self.hint, self.status = Message(), Message(), Message()
        self.estimate = EstimatePanel()
        self.estimate.button.clicked.connect(self._on_estimate)
        tip = "Start the run, or queue it behind those that hold the same device."
        self.start = button(START, tip, self._on_start)
        form = form_layout()
        form.addRow("&Recipe", self.recipe)
        self._place = QVBoxLayout()
        buttons = row(self.estimate.button, (self.start, 1))
        parts = (form, self.summary, self._place, self.here, self.hint, buttons, self.estimate, self.status, None)
        self._inner = scrolled(self, *parts, spacing=6)
        self.recipe.currentIndexChanged.connect(lambda _: self._show_recipe())
        self.recipe.setCurrentIndex(max(self.recipe.findData(recall(FACE).get("recipe")), 0))
        self._show_recipe()

    @property
    def form(self) -> RecipeForm:
        return self.forms[self.recipe.currentData()]

    def fill(self, recipe: str, values: Mapping[str, Any]) -> None:
        number = self.recipe.findData(recipe)
        if number >= 0:
            self.recipe.setCurrentIndex(number)
            self._show_recipe()
            self.form.fill(values)
            self.status.say("The options are those of the other run: change some, and start.")

    def request(self) -> Request:
        """Return the request; raises as `RecipeForm.request`."""
        return self.form.request(here=self.here.isChecked())

    def set_busy(self, busy: bool) -> None:
        self._busy = busy
        self._show_state()

    def remember_choices(self) -> None:
        kept = {name: form.kept() for name, form in self.forms.items()}
        remember(FACE, {"recipe": self.recipe.currentData(), "forms": {**recall(FACE).get("forms", {}), **kept}})

    def _show_recipe(self) -> None:
        name = self.recipe.currentData()
        if name not in self.forms:
            form = self.forms[name] = RecipeForm(self._viewer, self._recipes[name])
            form.changed.connect(self._on_changed)
            form.recall(recall(FACE).get("forms", {}).get(name, {}), str(preference("device", "auto")))
            self._place.addWidget(form)
        for other, form in self.forms.items():
            form.setVisible(other == name)
        self.summary.say(self._recipes[name].summary)
        set_tab_order(self._inner)
        self._on_changed()

    def _on_changed(self) -> None:
        self.status.say("")
        if not self.estimate.running:
            self.estimate.hide()
        self._show_state()

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
        try:
            self.estimate.begin(self.request())
        except ValueError as error:
            self.hint.say(str(error))
