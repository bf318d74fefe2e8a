"""The *Train* widget: one page asks what to train, the other shows all runs and follows the chosen one.

Actions on runs have threads, since starting a process or exporting weights must not hold up the window.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import fields
from functools import partial
from inspect import isgenerator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QUrl
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QMessageBox

from napari_synthseg.jobs import Progress
from napari_synthseg.networks.registry import spec_of
from napari_synthseg.training import runs
from napari_synthseg.training.runs import RECIPES
from napari_synthseg.weights import catalogue
from napari_synthseg.widgets._shared.choices import use_folders
from napari_synthseg.widgets._shared.choosers import WEIGHTS_MADE
from napari_synthseg.widgets._shared.face import TabbedFace
from napari_synthseg.widgets._shared.job import Job
from napari_synthseg.widgets._shared.user import complain
from napari_synthseg.widgets.train.model import doubts_about
from napari_synthseg.widgets.train.new_run import NewRunPage
from napari_synthseg.widgets.train.new_run_model import Request, make_run
from napari_synthseg.widgets.train.run_page import RunPage
from napari_synthseg.widgets.view.bar import ViewBar

if TYPE_CHECKING:
    import napari

PLAIN = {
    "launch": "Starting the run",
    "pause": "Pausing the run",
    "unpause": "Resuming the run",
    "stop": "Stopping the run",
}
"""Actions that are one call of `training.runs`, and the beginning of a sentence about each."""
PLACES = {"prompt": "can be chosen in Prompt", "segmenter": "can be chosen in Segment brain"}


RUNS = "Runs"
START, ACT, HERE = "start", "act", "here"
"""Kinds of jobs: one that makes a run, one about the chosen run, and one that keeps nothing else from being done."""


class TrainWidget(TabbedFace):
    """Starts and follows runs; a run outlives the widget, and another widget shows it again."""

    fresh_width = 380

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.jobs: dict[Job, str] = {}
        self.dialog: QMessageBox | None = None
        self.new = NewRunPage(napari_viewer, RECIPES)
        self.runs = RunPage(napari_viewer, {name: entry.title for name, entry in RECIPES.items()})
        self.view = ViewBar(napari_viewer, self)
        new = (self.new, "New run", "Choose a recipe and data, and start a run.")
        self.show_tabs(self.view, [new, (self.runs, RUNS, "All runs, and the progress of the chosen one.")])
        self.new.started.connect(self.start)
        self.runs.asked.connect(self.act)
        self.runs.pictures_wanted.connect(partial(self.do, "Asking for samples", runs.request_pictures))
        self.runs.counted.connect(lambda n: self.tabs.setTabText(1, f"{RUNS} ({n} active)" if n else RUNS))

    def do(
        self,
        doing: str,
        function: Callable[..., Any],
        *args: Any,
        then: Callable[[Any], Any] = lambda _: None,
        kind: str = ACT,
        title: str = "",
    ) -> None:
        """Call a function, or run the job that it returns, in a thread, and `then` on the main thread with the result.

        `doing` is the beginning of a sentence about it, such as "Stopping the run". With a `title` it has a line in
        napari's activity bar.
        """

        def job() -> Generator[Progress, None, Any]:
            yield Progress(doing)
            found = function(*args)
            return (yield from found) if isgenerator(found) else found

        def end(after: Callable[[Any], Any] = lambda _: None, result: Any = None) -> None:
            del self.jobs[one]
            one.deleteLater()
            self._show_busy()
            after(result)

        say = (self.new if kind == START else self.runs).status.say
        one = Job(
            self,
            returned=lambda result: end(then, result),
            failed=lambda error: end(say, complain(error, doing)),
            stopped=lambda: end(),
        )
        self.jobs[one] = kind
        one.start(title, job)
        self._show_busy()

    def _show_busy(self) -> None:
        self.new.set_busy(START in self.jobs.values())
        self.runs.set_busy(ACT in self.jobs.values())

    # Actions

    def start(self, request: Request) -> None:
        def made(run: Path) -> None:
            self.runs.choose(run)
            self.tabs.setCurrentWidget(self.runs)
            if request.here:
                self.do("Training", runs.train_run, run, kind=HERE, title=f"Train {run.name}")
            else:
                self.act("launch", run)

        self.new.status.say("")
        self.do("Starting the run", make_run, request, then=made, kind=START)

    def act(self, action: str, run: Path) -> None:
        """Carry out the action of a button, named in `run_page`."""
        self.runs.status.say("")
        if action in PLAIN:
            self.do(PLAIN[action], getattr(runs, action), run)
        else:
            getattr(self, f"_{action}")(run)

    def _use(self, run: Path) -> None:
        """Export weights to the folder where Segment brain and Prompt find them; asks first if they score badly."""

        def use() -> None:
            use_folders()
            self.runs.status.say("Writing the weights…")
            self.do("Exporting weights of the run", runs.use, run, then=used)

        def used(path: Path) -> None:
            WEIGHTS_MADE.emit(str(path))
            card = {**catalogue.read_card(path), "path": str(path)}
            place = PLACES.get(spec_of(card).role, "can be given to another training to start from")
            self.runs.status.say(f"{path.stem} {place} now.")
            self.runs.show_card(card)

        def read(doubts: str) -> None:
            if doubts:
                self._ask("Use weights", f"Use the weights of {run.name}?", doubts, "&Use", use)
            else:
                use()

        self.do("Reading the run", doubts_about, run, then=read)

    def _duplicate(self, run: Path) -> None:
        def read(config: Any) -> None:
            self.tabs.setCurrentWidget(self.new)
            self.new.fill(
                config.recipe, {one.name: getattr(config.options, one.name) for one in fields(config.options)}
            )

        self.do("Reading the run", runs.read_config, run, then=read)

    def _folder(self, run: Path) -> None:
        if not QDesktopServices.openUrl(QUrl.fromLocalFile(str(run))):
            self.runs.status.say(f"The folder is {run}.")

    def _delete(self, run: Path) -> None:
        question = f"Delete {run.name} with all its checkpoints?"
        why = "Weights exported from it stay. This cannot be undone."
        self._ask("Delete run", question, why, "&Delete", partial(self.do, "Deleting the run", runs.delete, run))

    def _ask(self, title: str, question: str, why: str, yes: str, then: Callable[[], Any]) -> None:
        """Open a dialog whose default is to cancel."""
        box = QMessageBox(self)
        box.setIcon(QMessageBox.Icon.Warning)
        box.setWindowTitle(title)
        box.setText(question)
        box.setInformativeText(why)
        accept = box.addButton(yes, QMessageBox.ButtonRole.DestructiveRole)
        box.setDefaultButton(box.addButton(QMessageBox.StandardButton.Cancel))
        box.buttonClicked.connect(lambda clicked: then() if clicked is accept else None)
        self.dialog = box
        box.finished.connect(lambda _: box.deleteLater())
        box.open()

    # Its life

    def showEvent(self, event: Any) -> None:
        self.runs.watcher.start()
        super().showEvent(event)

    def hidden(self) -> None:
        self.runs.watcher.stop()
        self.new.remember_choices()

    def close_down(self) -> None:
        """Stop the jobs of this process, training with a checkpoint; runs in other processes continue."""
        self.runs.close_down()
        self.new.estimate.stop()
        for one in [one for one, kind in self.jobs.items() if kind == HERE]:
            one.stop()
