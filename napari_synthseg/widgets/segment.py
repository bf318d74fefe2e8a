"""The *Segment brain* widget: choose a scan, press the button, get named structures lying on it and their volumes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import napari
from napari.layers import Image, Labels
from napari.utils.notifications import ErrorNotification, notification_manager, show_error
from qtpy.QtCore import QEvent, QSize, Qt
from qtpy.QtWidgets import QFormLayout, QHBoxLayout, QProgressBar, QPushButton, QVBoxLayout, QWidget

from napari_synthseg.progress import Progress
from napari_synthseg.widgets.choices import device_choices, model_choices, preference
from napari_synthseg.widgets.controls import Message, combo
from napari_synthseg.widgets.geometry import has_length_units, layer_problem, layer_scan, world_matrix
from napari_synthseg.widgets.job import Job
from napari_synthseg.widgets.layer_chooser import LayerChooser
from napari_synthseg.widgets.segment_job import Outcome, Steps, outcome_to_layer, pipeline_steps, segment_scan
from napari_synthseg.widgets.view import anatomical_view
from napari_synthseg.widgets.volumes_panel import VolumesPanel

if TYPE_CHECKING:
    from napari.layers import Layer

NO_SCAN = "Open a scan first, or take one of File > Open Sample > SynthSeg."


class SegmentWidget(QWidget):
    """Collects the choices, runs the pipeline in a thread and adds its result to the viewer.

    Args:
        napari_viewer: the viewer whose layers are offered.
        steps: gets a volume and the options as keywords, yields `Progress`, returns a `Segmentation`.
    """

    def __init__(self, napari_viewer: napari.viewer.Viewer, steps: Steps = pipeline_steps) -> None:
        super().__init__()
        self._viewer = napari_viewer
        self._steps = steps
        self._job = Job(self)
        self._input: Layer | None = None
        self._started = 0.0
        self._build()
        self._job.progressed.connect(self._on_progress)
        self._job.returned.connect(self._on_returned)
        self._job.failed.connect(self._on_failed)
        self._job.stopping.connect(self._on_stopping)
        self._job.stopped.connect(self._on_stopped)
        self._viewer.layers.events.removed.connect(self._on_layer_removed)
        self._viewer.layers.selection.events.active.connect(self._on_active_changed)
        self._on_image_changed()

    def _build(self) -> None:
        self.image = LayerChooser(self._viewer, Image, self)
        self.image.setToolTip("The scan to segment: any contrast, any resolution, with or without skull.")
        self.image.changed.connect(self._on_image_changed)
        self.model = combo(model_choices(), "The network and its weights.")
        self.device = combo(device_choices(), "Where the network runs; automatic takes a GPU if there is one.")
        self.device.setCurrentIndex(max(self.device.findData(preference("device", "auto")), 0))

        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
        form.setLabelAlignment(Qt.AlignmentFlag.AlignLeft)
        form.addRow("Image", self.image)
        form.addRow("Model", self.model)
        form.addRow("Device", self.device)
        self.hint = Message()

        self.run = QPushButton("Segment brain")
        self.run.setToolTip("Segment the chosen scan; the result is a new Labels layer on the scan's own grid.")
        self.run.clicked.connect(self._on_run)
        self.progress = QProgressBar()
        self.progress.setTextVisible(False)
        self.cancel = QPushButton("Cancel")
        self.cancel.setToolTip("Stop; nothing is added to the viewer.")
        self.cancel.clicked.connect(self._job.stop)
        running = QHBoxLayout()
        running.addWidget(self.progress, 1)
        running.addWidget(self.cancel)
        self.status = Message()
        self.volumes = VolumesPanel(self)
        self.view = QPushButton("Anatomical view")
        self.view.setToolTip("Turn the camera: the front of the head up in axial slices, the left on the left.")
        self.view.clicked.connect(lambda: anatomical_view(self._viewer))

        layout = QVBoxLayout(self)
        layout.addLayout(form)
        for part in (self.hint, self.run):
            layout.addWidget(part)
        layout.addLayout(running)
        layout.addWidget(self.status)
        layout.addWidget(self.volumes, 100)
        layout.addWidget(self.view)
        layout.addStretch(1)  # only of weight while there is no table
        self._show_running(False)

    # What the user does

    def _on_image_changed(self) -> None:
        layer = self.image.layer()
        problem = NO_SCAN if layer is None else layer_problem(layer)
        self.hint.say(problem or _notes(layer))
        self.run.setEnabled(problem is None and not self._job.running)

    def _on_run(self) -> None:
        layer = self.image.layer()
        if layer is None or self._job.running:
            return
        try:
            scan = layer_scan(layer, self._step(layer))
        except ValueError as error:
            self._complain(error)
            return
        options = {
            "model": self.model.currentData(),
            "device": self.device.currentData(),
            "threads": preference("threads", 0) or None,
        }
        self._input, self._started = layer, time.monotonic()
        self._show_running(True)
        self._job.start("Segment brain", segment_scan, scan, options, self._steps)

    def _on_layer_removed(self, event: Any) -> None:
        self.volumes.forget(event.value)
        if self._job.running and event.value is self._input:
            self._job.stop()

    def _on_active_changed(self, event: Any = None) -> None:
        active = self._viewer.layers.selection.active
        if isinstance(active, Labels):
            self.volumes.show_layer(active)

    # What the job says

    def _on_progress(self, report: Progress) -> None:
        self.progress.setRange(0, report.total)
        self.progress.setValue(report.done)
        count = f" ({report.done} of {report.total})" if report.total > 1 else ""
        self.status.say(f"{report.stage}{count}")

    def _on_returned(self, outcome: Outcome) -> None:
        layer, self._input = self._input, None
        self._show_running(False)
        if layer is None or layer not in self._viewer.layers:
            return
        added = self._viewer.add_layer(outcome_to_layer(outcome, layer))
        self.volumes.show_layer(added)
        self.status.say(f"Done in {time.monotonic() - self._started:.1f} s.")

    def _on_failed(self, error: Exception) -> None:
        self._input = None
        self._show_running(False)
        self._complain(error)

    def _on_stopping(self) -> None:
        self.cancel.setEnabled(False)
        self.status.say("Stopping…")

    def _on_stopped(self) -> None:
        self._input = None
        self._show_running(False)
        self.status.say("Stopped; nothing was added.")

    # Helpers

    def _show_running(self, running: bool) -> None:
        self.progress.setRange(0, 0)
        for part in (self.progress, self.cancel):
            part.setVisible(running)
        self.cancel.setEnabled(running)
        for part in (self.image, self.model, self.device, self.run):
            part.setEnabled(not running)
        self.status.say("Starting" if running else "")
        if not running:
            self._on_image_changed()

    def _complain(self, error: Exception) -> None:
        """One sentence here and as a notification; what is not the user's doing goes with its traceback."""
        if isinstance(error, ValueError):
            self.status.say(str(error))
            show_error(str(error))
            return
        self.status.say(f"Segmenting failed ({type(error).__name__}: {error}); napari's notification has the details.")
        notification_manager.dispatch(ErrorNotification(error))

    def _step(self, layer: Layer) -> int | None:
        """For a 4D layer the volume that is shown."""
        return self._viewer.dims.current_step[self._viewer.dims.ndim - 4] if layer.ndim == 4 else None

    def sizeHint(self) -> QSize:
        """Wide enough for the table in a fresh dock."""
        return super().sizeHint().expandedTo(QSize(340, 0))

    def minimumSizeHint(self) -> QSize:
        """A dock may be made narrower, as long as the names in the table can be told apart."""
        return super().minimumSizeHint().expandedTo(QSize(250, 0))

    def event(self, event: QEvent) -> bool:
        """Stop the job when the widget is taken out of its dock or closed."""
        if event.type() == QEvent.Type.Close or (event.type() == QEvent.Type.ParentChange and self.parent() is None):
            self._job.stop()
        return super().event(event)


def _notes(layer: Layer) -> str:
    """What the user should know before a layer is segmented."""
    series = "The volume that is shown is segmented. " if layer.ndim == 4 else ""
    if has_length_units(layer):
        return series.strip()
    spacing = " × ".join(f"{abs(size):g}" for size in (world_matrix(layer)[:3, :3] ** 2).sum(axis=0) ** 0.5)
    return f"{series}This layer has no unit of length; its voxels are taken as {spacing} mm."
