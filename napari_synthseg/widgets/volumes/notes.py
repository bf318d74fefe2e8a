"""Notes above the table of volumes: the expected quality of the scan, and labels that are newer than their volumes."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QEvent, Qt
from qtpy.QtWidgets import QHBoxLayout, QLabel, QPushButton, QWidget

from napari_synthseg.inference.quality.rating import QcRating
from napari_synthseg.jobs import Progress
from napari_synthseg.widgets._shared.controls import Message
from napari_synthseg.widgets._shared.job import Job
from napari_synthseg.widgets._shared.notices import complain
from napari_synthseg.widgets._shared.table import on_dark_ground
from napari_synthseg.widgets.layers.geometry import MEASURED, METADATA_KEY, VOXELS, world_matrix
from napari_synthseg.widgets.layers.labels_layer import recounted

if TYPE_CHECKING:
    from napari.layers import Labels


class Light(QLabel):
    """A sign in its color, the expected mean Dice and a word; hidden while nothing is known."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._verdict: QcRating | None = None
        self.setWordWrap(True)
        self.setTextFormat(Qt.TextFormat.RichText)
        self.setToolTip(
            "Mean over the scored structures of the Dice to expect, estimated without a ground truth and calibrated on "
            "synthetic scans of all qualities."
        )
        self.hide()

    def show_verdict(self, verdict: QcRating | None) -> None:
        """Show another verdict; None hides the line."""
        self._verdict = verdict
        self.setVisible(verdict is not None)
        if verdict is None:
            return
        if not verdict.calibrated:
            self.setText("Quality is not calibrated for these weights.")
            return
        light = verdict.light
        sign = (
            f'<span style="color:{light.on_dark if on_dark_ground(self) else light.on_light}">{light.sign}</span> '
            if light.sign
            else ""
        )
        self.setText(f"{sign}Expected Dice {verdict.mean:.2f}: <b>{light.word}</b>")

    def changeEvent(self, event: QEvent | None) -> None:
        """Another theme has another ground."""
        super().changeEvent(event)
        if event is not None and event.type() == QEvent.Type.PaletteChange:
            self.show_verdict(self._verdict)


class Recount(QWidget):
    """A note with a button, shown while the labels of a layer are newer than its volumes."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._layer: Labels | None = None
        self._edited: set[int] | None = set()  # None: nobody knows what
        self._counting: set[int] | None = set()
        self._job = Job(self)
        self._job.returned.connect(self._on_counted)
        self._job.failed.connect(self._on_failed)
        self._job.stopped.connect(self._take_back)
        self.note = Message(warning=True)
        self.button = QPushButton("Count again")
        self.button.setToolTip("Measure the structures that were edited by counting their voxels; the others stay.")
        self.button.clicked.connect(lambda: self.count())
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.note, 1)
        layout.addWidget(self.button)
        self.hide()

    def watch(self, layer: Labels | None) -> None:
        """Listen to another layer."""
        self._job.stop()
        if self._layer is not None:
            self._layer.events.paint.disconnect(self._on_paint)
            self._layer.events.data.disconnect(self._on_data)
        self._layer, self._edited, self._counting = layer, set(), set()
        self.hide()
        if layer is not None and layer.ndim == 3:
            layer.events.paint.connect(self._on_paint)
            layer.events.data.connect(self._on_data)

    def count(self) -> None:
        """Count the voxels of the layer's labels in a thread."""
        if self._layer is not None and not self._job.running:
            voxel = float(abs(np.linalg.det(world_matrix(self._layer)[:3, :3])))
            self._counting, self._edited = self._edited, set()  # what is painted from now on may not be counted
            self._job.start("Count volumes", _count, self._layer.data, voxel)

    def _on_paint(self, event: Any) -> None:
        """Each part of the event has where, the labels before, and the label after."""
        if self._edited is not None:
            for *_, before, after in event.value:
                self._edited |= {int(value) for value in (*np.unique(before), *np.unique(after))} - {0}
        self._say()

    def _on_data(self, event: Any = None) -> None:
        self._edited = None
        self._say()

    def _say(self) -> None:
        self.note.say("Edited since it was measured.")
        self.show()

    def _on_counted(self, counted_mm3: dict[int, float]) -> None:
        if self._layer is None:
            return
        features = recounted(self._layer.features, counted_mm3, self._counting)
        if self._counting is None:  # all of them
            kept = self._layer.metadata.get(METADATA_KEY, {})
            self._layer.metadata = {**self._layer.metadata, METADATA_KEY: {**kept, MEASURED: VOXELS}}
        self._counting = set()
        self.setVisible(self._edited != set())
        self._layer.features = features

    def _on_failed(self, error: Exception) -> None:
        self._take_back()
        complain(error, "Counting")

    def _take_back(self) -> None:
        """Nothing was counted."""
        counting, self._counting = self._counting, set()
        self._edited = None if self._edited is None or counting is None else self._edited | counting


def _count(array: Any, voxel_mm3: float) -> Generator[Progress, None, dict[int, float]]:
    """Runs in a thread."""
    yield Progress("Counting")
    from napari_synthseg.evaluation.metrics import count_labels

    return {value: count * voxel_mm3 for value, count in count_labels(np.asarray(array)).items() if value}
