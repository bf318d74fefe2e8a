"""The *Segment brain* widget: choose scans, press the button, get named structures lying on them and their volumes."""

from __future__ import annotations

from typing import Any

import napari
from napari.layers import Image, Labels

from napari_synthseg.jobs import Progress
from napari_synthseg.widgets._shared.choices import so_far
from napari_synthseg.widgets._shared.controls import Message, ProgressRow, button, listen
from napari_synthseg.widgets._shared.face import ScrolledFace
from napari_synthseg.widgets._shared.user import complain
from napari_synthseg.widgets.segment import model
from napari_synthseg.widgets.segment.choices import SegmentChoices
from napari_synthseg.widgets.segment.probabilities import Probabilities
from napari_synthseg.widgets.segment.queue import DONE, STOPPING, QueueList, Run, SegmentQueue
from napari_synthseg.widgets.view.bar import ViewBar
from napari_synthseg.widgets.volumes.panel import VolumesPanel

DOING = "Segmenting"
RUN = "&Segment brain"


class SegmentWidget(ScrolledFace):
    """Collects the choices, runs the pipeline in a thread and adds its results to the viewer.

    `steps` gets a volume and the options as keywords, yields `Progress`, and returns a `Segmentation`.
    """

    fresh_width = 340

    def __init__(self, napari_viewer: napari.viewer.Viewer, steps: model.Steps = model.pipeline_steps) -> None:
        super().__init__()
        self._viewer = napari_viewer
        self.queue = SegmentQueue(steps, self)
        self.probabilities = Probabilities(napari_viewer, self)
        self._build()
        self.queue.progressed.connect(self._on_progress)
        self.queue.finished.connect(self._on_finished)
        self.queue.failed.connect(lambda run, error: self.status.say(complain(error, DOING)))
        self.queue.stopped.connect(lambda run: self.status.say("Stopped; nothing was added."))
        self.queue.changed.connect(self._show_state)
        self.probabilities.said.connect(self.status.say)
        listen(self, SegmentWidget._on_layer_removed, napari_viewer.layers.events.removed)
        listen(self, SegmentWidget._on_active_changed, napari_viewer.layers.selection.events.active)
        self._show_state()
        self._on_active_changed()

    def _build(self) -> None:
        self.choices = SegmentChoices(self._viewer)
        self.choices.changed.connect(self._show_state)
        self.image, self.model, self.hint = self.choices.image, self.choices.model, self.choices.hint
        self.device = self.choices.form.controls["device"]
        tip = "Segment the chosen scan, or all that are selected; each result is a Labels layer."
        self.run = button(RUN, tip, self._on_run)
        self._progress = ProgressRow(self, self.queue.stop_all, "Stop; nothing half-made is added to the viewer.")
        self.progress, self.cancel = self._progress.bar, self._progress.cancel
        self.status = Message(lines=1)
        self.list = QueueList(self.queue)
        self.volumes = VolumesPanel(self._viewer)
        self.volumes.probability_requested.connect(
            lambda value: self.volumes.layer is not None and self.probabilities.request(self.volumes.layer, value)
        )
        self.view = ViewBar(self._viewer, self)
        above = (self.choices, self.run, self._progress, self.list, self.status)
        self.show_inside(*above, (self.volumes, 100), self.view, None)

    def _on_run(self) -> None:
        if self.queue.busy or self.choices.problem() is not None:
            return
        layers, options = self.choices.layers(), self.choices.options()
        self.choices.remember()
        runs = []
        for layer in layers:
            index = self.choices.index_of(layer)
            runs.append(Run(layer, {**options, "index": index}, index))
        self.queue.add(runs)

    def _on_layer_removed(self, event: Any) -> None:
        self.volumes.forget(event.value)
        self.probabilities.keep(event.value, None)
        self.queue.stop_layer(event.value)
        self._show_state()

    def _on_active_changed(self, event: Any = None) -> None:
        active = self._viewer.layers.selection.active
        others = all(run.layer is not active for run in self.queue.runs)
        if isinstance(active, Image) and others and not self.queue.busy:
            self.status.say("")  # the message was about other scans
        if isinstance(active, Labels):
            self.volumes.show_layer(active)
            self._show_state()

    def _on_progress(self, run: Run, report: Progress) -> None:
        self._progress.show_report(report)
        name = f"{run.layer.name}: " if len(self.queue.runs) > 1 else ""
        self.status.say(f"{name}{so_far(report, run.elapsed)}")

    def _on_finished(self, run: Run, outcome: model.SegmentedLayer) -> None:
        image, segmentation = run.layer, outcome.segmentation
        if image not in self._viewer.layers:
            return
        result = self._viewer.add_layer(model.outcome_to_layer(outcome, image, index=run.index))
        run.result = result
        tissues = model.show_tissues(self._viewer, outcome, result) if run.options.get("tissues") else []
        for layer in (result, *tissues):
            model.lock_to(image, layer, self._viewer)
        self.probabilities.keep(result, segmentation.posteriors)
        self._hide_others(run)
        self.volumes.show_layer(result)
        self.status.say(f"Done in {run.seconds:.1f} s.")

    def _hide_others(self, last: Run) -> None:
        """Of several scans show the last one and its labels: they lie in one place, or far apart."""
        for run in self.queue.runs:
            if run.layer is not last.layer:
                run.layer.visible = False
                if run.result is not None:
                    run.result.visible = False
        if len(self.queue.runs) > 1:
            last.layer.visible = True

    def _show_state(self) -> None:
        busy = self.queue.busy
        if busy and self._progress.isHidden():
            self.status.say("Starting")
        self._progress.set_running(busy)
        current = self.queue.current
        stopping = self.queue.open == 1 and current is not None and current.state == STOPPING
        self.cancel.setEnabled(busy and not stopping)
        self.cancel.setText("&Cancel all" if self.queue.open > 1 else "&Cancel")
        if stopping:
            self.status.say("Stopping…")
        self.choices.setEnabled(not busy)
        self.run.setEnabled(not busy and self.choices.problem() is None)
        count = len(self.choices.layers())
        self.run.setText(f"&Segment {count} brains" if count > 1 else RUN)
        if not busy and len(self.queue.runs) > 1:
            self._sum_up()

    def _sum_up(self) -> None:
        """Say how a queue ended; failures are explained by tooltips and notifications."""
        done = sum(run.state == DONE for run in self.queue.runs)
        warned = sum(bool(run.warnings) for run in self.queue.runs)
        note = f" {warned} with warnings: select a result to see them above its table." if warned else ""
        poor = ", ".join(run.layer.name for run in self.queue.runs if run.poor)
        failed = f" Probably failed: {poor}." if poor else ""
        self.status.say(f"{done} of {len(self.queue.runs)} scans segmented.{failed}{note}")

    def showEvent(self, event: Any) -> None:
        self.model.refresh()
        super().showEvent(event)

    def close_down(self) -> None:
        self.queue.stop_all()
        self.probabilities.job.stop()
