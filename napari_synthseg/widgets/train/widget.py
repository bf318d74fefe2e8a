"""The *Train* widget: one page asks what to train, the other shows all runs and follows the chosen one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QSize
from qtpy.QtWidgets import QTabWidget

from napari_synthseg.training.runs import RECIPES
from napari_synthseg.widgets._shared.controls import column
from napari_synthseg.widgets._shared.face import Face
from napari_synthseg.widgets.train.actions import RunActions
from napari_synthseg.widgets.train.model import gpus
from napari_synthseg.widgets.train.new_run import NewRunPage
from napari_synthseg.widgets.train.new_run_model import Request
from napari_synthseg.widgets.train.run_page import RunPage
from napari_synthseg.widgets.view.bar import ViewBar

if TYPE_CHECKING:
    import napari

RUNS = "Runs"
FRESH_WIDTH = 380


class TrainWidget(Face):
    """Starts and follows runs; a run outlives the widget, and another widget shows it again.

    Args:
        napari_viewer: the viewer whose layers can be trained on, and that samples are shown in.
    """

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._asked = False
        self.new = NewRunPage(napari_viewer, RECIPES)
        self.runs = RunPage(napari_viewer, {name: entry.title for name, entry in RECIPES.items()})
        self.actions = RunActions(self)
        self.tabs = QTabWidget()
        self.tabs.setDocumentMode(True)
        self.tabs.setTabToolTip(self.tabs.addTab(self.new, "New run"), "Choose a recipe and data, and start a run.")
        self.tabs.setTabToolTip(self.tabs.addTab(self.runs, RUNS), "All runs, and the progress of the chosen one.")
        self.view = ViewBar(napari_viewer, self)
        self.view.layout().setContentsMargins(6, 0, 6, 6)
        layout = column((self.tabs, 1), self.view, parent=self)
        layout.setContentsMargins(0, 6, 0, 0)  # a dock's title hides what touches it
        self.new.started.connect(self._on_started)
        self.runs.asked.connect(self.actions.act)
        self.runs.pictures_wanted.connect(self.actions.request_pictures)
        self.runs.counted.connect(self._on_counted)
        self.actions.said.connect(self.runs.status.say)
        self.actions.refused.connect(self.new.status.say)
        self.actions.made.connect(self._on_made)
        self.actions.used.connect(self.runs.show_card)
        self.actions.filled.connect(self._on_filled)
        self.actions.changed.connect(self._on_busy)

    def sizeHint(self) -> QSize:
        """Return a width that suits curves in a new dock."""
        return QSize(FRESH_WIDTH, super().sizeHint().height())

    def showEvent(self, event: Any) -> None:
        """Watch the runs while they are visible."""
        self.runs.watcher.start()
        if not self._asked:
            self._asked = True
            self.actions.here.do("Looking for GPUs", gpus, then=self.new.set_devices)
        super().showEvent(event)

    def hidden(self) -> None:
        """Stop watching, and remember the choices."""
        self.runs.watcher.stop()
        self.new.remember_choices()

    def close_down(self) -> None:
        """Stop what belongs to the window, training here with a checkpoint; runs in other processes continue."""
        self.runs.close_down()
        self.new.estimate.stop()
        self.actions.here.stop_all()

    def _on_started(self, request: Request) -> None:
        self.new.status.say("")
        self.actions.start(request)

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
