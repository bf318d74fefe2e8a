"""What the buttons of a run do: each asks the run, or its folder, and tells the page how it went."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

from qtpy.QtCore import QObject, QUrl, Signal
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QInputDialog, QMessageBox, QWidget

from napari_synthseg.networks.registry import spec_of
from napari_synthseg.weights import catalogue
from napari_synthseg.widgets._shared.choices import use_folders
from napari_synthseg.widgets._shared.model_chooser import NEWS
from napari_synthseg.widgets.train.buttons import CONTINUE, GO_ON, LONGER, PAUSE, START
from napari_synthseg.widgets.train.commands import Commands
from napari_synthseg.widgets.train.presets import scaled
from napari_synthseg.widgets.train.request import Request, make_run
from napari_synthseg.widgets.train.words import run_name

MOST_STEPS = 100_000_000


class RunActions(QObject):
    """Does what is asked for, one thread an action.

    Args:
        parent: the widget that dialogs belong to.
    """

    said = Signal(str)  # about the chosen run
    refused = Signal(str)  # why a run could not be started
    made = Signal(object)  # the folder of a run that was just made
    used = Signal(object)  # the card of weights that were just made
    filled = Signal(str, object)  # recipe and options for the form
    changed = Signal()  # busy or no longer

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._parent = parent
        self.commands = Commands(self)
        self.starting = Commands(self)
        self.here = Commands(self)
        self.dialog: QInputDialog | QMessageBox | None = None
        self._acts: dict[str, Callable[[Path], None]] = {
            PAUSE: self.pause, GO_ON: self.go_on, CONTINUE: self.launch, START: self.launch, LONGER: self.ask_longer,
            "stop": self.stop, "use": self.use, "duplicate": self.duplicate, "folder": self.open_folder,
            "delete": self.ask_delete,
        }  # fmt: skip
        for commands in (self.commands, self.starting):
            commands.changed.connect(self.changed)
        self.commands.failed.connect(self.said)
        self.here.failed.connect(self.said)
        self.starting.failed.connect(self.refused)

    @property
    def busy(self) -> bool:
        """Whether something is being done to a run."""
        return self.commands.busy

    def act(self, word: str, run: Path) -> None:
        """Do what a button asks for."""
        self.said.emit("")
        self._acts[word](run)

    def start(self, request: Request) -> None:
        """Make a run and start it."""

        def made(run: Path) -> None:
            self.made.emit(run)
            if request.here:
                self.train_here(run)
            else:
                self.launch(run)

        self.starting.drive("Starting the run", make_run, request, then=made)

    def launch(self, run: Path) -> None:
        """Start or continue a run in a process of its own."""
        from napari_synthseg.training import runs

        self.commands.do("Starting the run", runs.launch, run)

    def train_here(self, run: Path) -> None:
        """Start or continue a run in a thread of this process."""
        from napari_synthseg.training import runs

        self.here.drive("Training", runs.train_run, run, title=f"Train {run_name(run)}")

    def pause(self, run: Path) -> None:
        """Hold a run."""
        from napari_synthseg.training import runs

        self.commands.do("Pausing the run", runs.pause, run)

    def go_on(self, run: Path) -> None:
        """Let a run go on."""
        from napari_synthseg.training import runs

        self.commands.do("Letting the run go on", runs.unpause, run)

    def stop(self, run: Path) -> None:
        """Ask a run to end with a checkpoint."""
        from napari_synthseg.training import runs

        self.commands.do("Stopping the run", runs.stop, run)

    def ask_pictures(self, run: Path, every: int | None) -> None:
        """Ask a run for pictures, or for no more of them."""
        from napari_synthseg.training import runs

        self.commands.do("Asking for samples", runs.request_pictures, run, every)

    def use(self, run: Path) -> None:
        """Make weights of a run, in the folder where Segment brain and Prompt look for them."""
        from napari_synthseg.training import runs

        use_folders()

        def used(path: Path) -> None:
            NEWS.made.emit(str(path))
            card = {**catalogue.read_card(path), "path": str(path)}
            self.said.emit(f"{path.stem} {_where(card)} now.")
            self.used.emit(card)

        self.said.emit("Writing the weights…")
        self.commands.do("Making weights of the run", runs.use, run, then=used)

    def duplicate(self, run: Path) -> None:
        """Fill the form with a run's options."""
        from napari_synthseg.training import runs

        def read(config: Any) -> None:
            options = config.options
            self.filled.emit(config.recipe, {one.name: getattr(options, one.name) for one in fields(options)})

        self.commands.do("Reading the run", runs.read_config, run, then=read)

    def open_folder(self, run: Path) -> None:
        """Show a run's folder in the system's file manager."""
        if not QDesktopServices.openUrl(QUrl.fromLocalFile(str(run))):
            self.said.emit(f"The folder is {run}.")

    def ask_delete(self, run: Path) -> None:
        """Delete a run once the user has said so again."""
        box = QMessageBox(self._parent)
        box.setIcon(QMessageBox.Icon.Warning)
        box.setWindowTitle("Delete a training run")
        box.setText(f"Delete {run_name(run)} with all its checkpoints?")
        box.setInformativeText("Weights that were made of it stay. This cannot be undone.")
        delete = box.addButton("&Delete", QMessageBox.ButtonRole.DestructiveRole)
        cancel = box.addButton(QMessageBox.StandardButton.Cancel)
        box.setDefaultButton(cancel)
        box.buttonClicked.connect(lambda button: self._delete(run) if button is delete else None)
        self._open(box)

    def ask_longer(self, run: Path) -> None:
        """Train a finished run for more steps, which are asked for."""
        from napari_synthseg.training import runs

        def read(config: Any) -> None:
            total = sum(config.stages.values())
            dialog = QInputDialog(self._parent)
            dialog.setInputMode(QInputDialog.InputMode.IntInput)
            dialog.setWindowTitle("Train longer")
            dialog.setLabelText(f"Steps in all (so far {total:,}):")
            dialog.setIntRange(total + 1, MOST_STEPS)
            dialog.setIntValue(2 * total)
            dialog.intValueSelected.connect(lambda steps: self._train_longer(run, config, steps))
            self._open(dialog)

        self.commands.do("Reading the run", runs.read_config, run, then=read)

    def close_down(self) -> None:
        """What trains in this process ends with a checkpoint; processes of their own go on."""
        self.here.stop_all()

    def _open(self, dialog: QInputDialog | QMessageBox) -> None:
        self.dialog = dialog
        dialog.finished.connect(lambda _: dialog.deleteLater())
        dialog.open()

    def _delete(self, run: Path) -> None:
        from napari_synthseg.training import runs

        self.commands.do("Deleting the run", runs.delete, run)

    def _train_longer(self, run: Path, config: Any, steps: int) -> None:
        from napari_synthseg.training import runs

        changes = scaled(config.options, config.stages, steps)

        def go() -> None:
            runs.change(run, **changes)
            runs.launch(run)

        self.commands.do("Training longer", go)


def _where(card: dict[str, Any]) -> str:
    """Where weights can be used."""
    role = spec_of(card).role
    if role == "prompt":
        return "can be chosen in Prompt"
    return "can be chosen in Segment brain" if role == "segmenter" else "can be given to another training to start from"
