"""The *Train* widget: one page asks what to train, the other shows all runs and follows the chosen one.

Actions on runs have threads, since starting a process or exporting weights must not hold up the window.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import fields
from inspect import isgenerator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QUrl, Signal
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QInputDialog, QMessageBox, QWidget

from napari_synthseg.jobs import Progress
from napari_synthseg.networks.registry import spec_of
from napari_synthseg.training import runs
from napari_synthseg.training.runs import RECIPES
from napari_synthseg.weights import catalogue
from napari_synthseg.widgets._shared.choices import use_folders
from napari_synthseg.widgets._shared.choosers import NEWS
from napari_synthseg.widgets._shared.face import TabbedFace
from napari_synthseg.widgets._shared.job import Job
from napari_synthseg.widgets._shared.user import complain
from napari_synthseg.widgets.train.model import doubts_about, gpus
from napari_synthseg.widgets.train.new_run import NewRunPage
from napari_synthseg.widgets.train.new_run_model import Request, make_run, scaled
from napari_synthseg.widgets.train.run_page import RunPage
from napari_synthseg.widgets.view.bar import ViewBar

if TYPE_CHECKING:
    import napari

MAX_STEPS = 100_000_000
PLAIN = {
    "launch": "Starting the run",
    "pause": "Pausing the run",
    "unpause": "Resuming the run",
    "stop": "Stopping the run",
}
"""Actions that are one call of `training.runs`, and the beginning of a sentence about each."""
PLACES = {"prompt": "can be chosen in Prompt", "segmenter": "can be chosen in Segment brain"}


class Commands(QObject):
    """Runs functions in threads, several at once if need be."""

    failed = Signal(str)  # a sentence
    changed = Signal()  # one has begun or ended

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._jobs: list[Job] = []

    @property
    def busy(self) -> bool:
        return bool(self._jobs)

    def do(
        self,
        doing: str,
        function: Callable[..., Any],
        *args: Any,
        then: Callable[[Any], Any] = lambda _: None,
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

        def end() -> None:
            self._jobs.remove(one)
            one.deleteLater()
            self.changed.emit()

        def returned(result: Any) -> None:
            end()
            then(result)

        def failed(error: Exception) -> None:
            end()
            self.failed.emit(complain(error, doing))

        one = Job(self, returned=returned, failed=failed, stopped=end)
        self._jobs.append(one)
        one.start(title, job)
        self.changed.emit()

    def stop_all(self) -> None:
        for one in list(self._jobs):
            one.stop()


class RunActions(QObject):
    """Carries out the actions of the buttons; its parent is that of dialogs."""

    said = Signal(str)  # about the chosen run
    refused = Signal(str)  # why a run could not be started
    made = Signal(object)  # folder of a new run
    used = Signal(object)  # card of newly exported weights
    filled = Signal(str, object)  # recipe and options for the form
    changed = Signal()  # busy or idle

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._parent = parent
        self.commands, self.starting, self.here = Commands(self), Commands(self), Commands(self)
        self.dialog: QInputDialog | QMessageBox | None = None
        for commands in (self.commands, self.starting):
            commands.changed.connect(self.changed)
        self.commands.failed.connect(self.said)
        self.here.failed.connect(self.said)
        self.starting.failed.connect(self.refused)

    def act(self, action: str, run: Path) -> None:
        """Carry out the action of a button, named in `run_page`."""
        self.said.emit("")
        if action in PLAIN:
            self.commands.do(PLAIN[action], getattr(runs, action), run)
        else:
            getattr(self, action)(run)

    def start(self, request: Request) -> None:
        def made(run: Path) -> None:
            self.made.emit(run)
            if request.here:
                self.here.do("Training", runs.train_run, run, title=f"Train {run.name}")
            else:
                self.act("launch", run)

        self.refused.emit("")  # any more
        self.starting.do("Starting the run", make_run, request, then=made)

    def request_pictures(self, run: Path, every: int | None) -> None:
        self.commands.do("Asking for samples", runs.request_pictures, run, every)

    def use(self, run: Path) -> None:
        """Export weights to the folder where Segment brain and Prompt find them; asks first if they score badly."""

        def use() -> None:
            use_folders()
            self.said.emit("Writing the weights…")
            self.commands.do("Exporting weights of the run", runs.use, run, then=used)

        def used(path: Path) -> None:
            NEWS.made.emit(str(path))
            card = {**catalogue.read_card(path), "path": str(path)}
            place = PLACES.get(spec_of(card).role, "can be given to another training to start from")
            self.said.emit(f"{path.stem} {place} now.")
            self.used.emit(card)

        def read(doubts: str) -> None:
            if doubts:
                self._ask("Use weights", f"Use the weights of {run.name}?", doubts, "&Use", use)
            else:
                use()

        self.commands.do("Reading the run", doubts_about, run, then=read)

    def duplicate(self, run: Path) -> None:

        def read(config: Any) -> None:
            options = config.options
            self.filled.emit(config.recipe, {one.name: getattr(options, one.name) for one in fields(options)})

        self.commands.do("Reading the run", runs.read_config, run, then=read)

    def folder(self, run: Path) -> None:
        if not QDesktopServices.openUrl(QUrl.fromLocalFile(str(run))):
            self.said.emit(f"The folder is {run}.")

    def delete(self, run: Path) -> None:
        question = f"Delete {run.name} with all its checkpoints?"
        why = "Weights exported from it stay. This cannot be undone."
        delete = lambda: self.commands.do("Deleting the run", runs.delete, run)  # noqa: E731
        self._ask("Delete run", question, why, "&Delete", delete)

    def longer(self, run: Path) -> None:
        """Train a finished run for more steps, after asking how many."""

        def read(config: Any) -> None:
            total = sum(config.stages.values())
            dialog = QInputDialog(self._parent)
            dialog.setInputMode(QInputDialog.InputMode.IntInput)
            dialog.setWindowTitle("Train longer")
            dialog.setLabelText(f"Steps in all (so far {total:,}):")
            dialog.setIntRange(total + 1, MAX_STEPS)
            dialog.setIntValue(2 * total)
            dialog.intValueSelected.connect(
                lambda steps: self.commands.do("Training longer", longer, scaled(config.options, config.stages, steps))
            )
            self._open(dialog)

        def longer(changes: dict[str, int]) -> None:
            runs.change(run, **changes)
            runs.launch(run)

        self.commands.do("Reading the run", runs.read_config, run, then=read)

    def _ask(self, title: str, question: str, why: str, yes: str, then: Callable[[], Any]) -> None:
        """Open a dialog whose default is to cancel."""
        box = QMessageBox(self._parent)
        box.setIcon(QMessageBox.Icon.Warning)
        box.setWindowTitle(title)
        box.setText(question)
        box.setInformativeText(why)
        accept = box.addButton(yes, QMessageBox.ButtonRole.DestructiveRole)
        box.setDefaultButton(box.addButton(QMessageBox.StandardButton.Cancel))
        box.buttonClicked.connect(lambda clicked: then() if clicked is accept else None)
        self._open(box)

    def _open(self, dialog: QInputDialog | QMessageBox) -> None:
        self.dialog = dialog
        dialog.finished.connect(lambda _: dialog.deleteLater())
        dialog.open()


RUNS = "Runs"


class TrainWidget(TabbedFace):
    """Starts and follows runs; a run outlives the widget, and another widget shows it again."""

    fresh_width = 380

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._asked = False
        self.new = NewRunPage(napari_viewer, RECIPES)
        self.runs = RunPage(napari_viewer, {name: entry.title for name, entry in RECIPES.items()})
        self.actions = RunActions(self)
        self.view = ViewBar(napari_viewer, self)
        new = (self.new, "New run", "Choose a recipe and data, and start a run.")
        self.show_tabs(self.view, [new, (self.runs, RUNS, "All runs, and the progress of the chosen one.")])
        self.new.started.connect(self.actions.start)
        self.runs.asked.connect(self.actions.act)
        self.runs.pictures_wanted.connect(self.actions.request_pictures)
        self.runs.counted.connect(self._on_counted)
        self.actions.said.connect(self.runs.status.say)
        self.actions.refused.connect(self.new.status.say)
        self.actions.made.connect(self._on_made)
        self.actions.used.connect(self.runs.show_card)
        self.actions.filled.connect(self._on_filled)
        self.actions.changed.connect(self._on_busy)

    def showEvent(self, event: Any) -> None:
        self.runs.watcher.start()
        if not self._asked:
            self._asked = True
            self.actions.here.do("Looking for GPUs", gpus, then=self.new.set_devices)
        super().showEvent(event)

    def hidden(self) -> None:
        self.runs.watcher.stop()
        self.new.remember_choices()

    def close_down(self) -> None:
        """Stop the jobs of this process, training with a checkpoint; runs in other processes continue."""
        self.runs.close_down()
        self.new.estimate.stop()
        self.actions.here.stop_all()

    def _on_made(self, run: Path) -> None:
        self.runs.choose(run)
        self.tabs.setCurrentWidget(self.runs)

    def _on_filled(self, recipe: str, values: Any) -> None:
        self.tabs.setCurrentWidget(self.new)
        self.new.fill(recipe, values)

    def _on_busy(self) -> None:
        self.new.set_busy(self.actions.starting.busy)
        self.runs.set_busy(self.actions.commands.busy)

    def _on_counted(self, active: int) -> None:
        self.tabs.setTabText(1, f"{RUNS} ({active} active)" if active else RUNS)
