"""Layers of the training sample that a run shows now and then: image, truth and prediction.

They are made once and then given other voxels, so that the camera, the slices and the layers' looks stay.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels
from qtpy.compat import isalive
from qtpy.QtCore import QObject, QTimer

from napari_synthseg.widgets.layers.geometry import AXIS_LABELS, UNITS
from napari_synthseg.widgets.layers.labels_layer import OPACITY, label_colormap, label_features, labels_array
from napari_synthseg.widgets.view.view import anatomical_view

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

    from napari_synthseg.training.runs import RunPicture

MARK = "napari_synthseg_training"
"""Key in the metadata of layers made here; its value says which part of a sample it is."""
CLOSE = 0.01
"""Share of an image's range by which its limits may differ from those it is drawn with."""
BETWEEN_MS = 60
"""From one layer of a sample to the next: long enough for the window to be drawn in between."""
NAMES = {"image": "Training sample", "truth": "Training truth", "prediction": "Training prediction"}


@dataclass(frozen=True)
class TrainingSample:
    """A picture prepared for layers, in another thread.

    Attributes:
        run: the run's name.
        stage: of the run.
        step: of the stage.
        arrays: by part, in the order in which napari shows them.
        limits: of the image.
        values: of the labels, by part.
    """

    run: str
    stage: str
    step: int
    arrays: dict[str, np.ndarray]
    limits: tuple[float, float]
    values: dict[str, frozenset[int]]


@cache
def warm_up() -> None:
    """Create hidden layers, since the first ones of a session take a second; not in the window's thread."""
    small = np.zeros((2, 2, 2), np.uint16)
    Image(small, units=UNITS, axis_labels=AXIS_LABELS)
    labels = Labels(small, units=UNITS, axis_labels=AXIS_LABELS, features=label_features([2]))
    labels.colormap = label_colormap([2])


def prepared(picture: RunPicture, run: str) -> TrainingSample:
    """Prepare a run's picture for layers; 3D arrays are in (X, Y, Z) RAS order."""
    warm_up()
    arrays: dict[str, np.ndarray] = {}
    for part in NAMES:
        array = getattr(picture, part)
        if array is not None:
            array = np.asarray(array)
            array = array.T if array.ndim == 3 else array
            arrays[part] = np.ascontiguousarray(array, np.float32) if part == "image" else labels_array(array)
    image = arrays.get("image")
    low, high = (float(np.nanmin(image)), float(np.nanmax(image))) if image is not None else (0.0, 1.0)
    values = {part: frozenset(map(int, np.unique(one))) - {0} for part, one in arrays.items() if part != "image"}
    return TrainingSample(run, picture.stage, picture.step, arrays, (low, high if high > low else low + 1.0), values)


def is_sample(layer: Layer) -> bool:
    """Tell whether a layer shows samples of a training run."""
    return MARK in layer.metadata


class SampleLayers(QObject):
    """The three layers of a viewer that show samples.

    Args:
        viewer: where they are shown.
    """

    def __init__(self, viewer: ViewerModel, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._values: dict[str, frozenset[int]] = {}
        self._centre: np.ndarray | None = None
        self.layers: dict[str, Layer] = {
            str(one.metadata[MARK]): one for one in viewer.layers if one.metadata.get(MARK) in NAMES
        }
        viewer.layers.events.removed.connect(self._on_removed)
        self._fresh = False
        self._waiting: list[tuple[str, TrainingSample]] = []
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(BETWEEN_MS)
        self._timer.timeout.connect(self._show_next)

    def show(self, sample: TrainingSample) -> None:
        """Replace the sample, one layer at a time, so that the window is drawn in between."""
        self._fresh |= not self._viewer.layers
        self._waiting = [(part, sample) for part in sample.arrays]
        self._timer.start()

    def _show_next(self) -> None:
        part, sample = self._waiting.pop(0)
        array, layer = sample.arrays[part], self.layers.get(part)
        facts = {MARK: part, "run": sample.run, "stage": sample.stage, "step": sample.step}
        if layer is not None and layer.ndim != array.ndim:
            self._viewer.layers.remove(layer)
            layer = None
        if layer is None:
            self._add(part, sample, facts)
        else:
            self._refill(part, layer, sample, facts)
        if self._waiting:
            self._timer.start()
        elif self._fresh:
            self._fresh = False
            anatomical_view(self._viewer)

    def _add(self, part: str, sample: TrainingSample, facts: dict[str, Any]) -> None:
        selected = set(self._viewer.layers.selection)
        array = sample.arrays[part]
        kwargs: dict[str, Any] = {"name": NAMES[part], "metadata": facts, "translate": self._corner(array)}
        if array.ndim == 3:
            kwargs |= {"units": UNITS, "axis_labels": AXIS_LABELS}
        if part == "image":
            layer: Layer = Image(array, colormap="gray", contrast_limits=sample.limits, **kwargs)
        else:
            layer = Labels(array, opacity=OPACITY, visible=part == "prediction", **kwargs)
            self._color(part, layer, sample)
        self.layers[part] = layer
        self._viewer.add_layer(layer)
        if selected:
            self._viewer.layers.selection = selected

    def _refill(self, part: str, layer: Layer, sample: TrainingSample, facts: dict[str, Any]) -> None:
        array = sample.arrays[part]
        if part != "image":
            self._color(part, layer, sample)
        elif not np.allclose(layer.contrast_limits, sample.limits, atol=CLOSE * np.ptp(sample.limits)):
            layer.contrast_limits_range = sample.limits
            layer.contrast_limits = sample.limits
        if (layer.data.shape, layer.data.dtype) == (array.shape, array.dtype):
            np.copyto(layer.data, array)  # where it lies: other data would have the whole viewer measured anew
            layer.refresh(extent=False)
        else:
            layer.data = array
            layer.translate = self._corner(array)
        layer.metadata = facts

    def _corner(self, array: np.ndarray) -> np.ndarray:
        """Return the position of the first voxel for a sample in the middle of the other layers."""
        if self._centre is None or len(self._centre) != array.ndim:
            world = np.asarray(self._viewer.layers.extent.world) if len(self._viewer.layers) else np.zeros((2, 3))
            self._centre = np.nan_to_num(world.mean(axis=0)[-array.ndim :])
        return self._centre - (np.asarray(array.shape) - 1) / 2

    def _color(self, part: str, layer: Layer, sample: TrainingSample) -> None:
        """Set names and colors of the structures seen so far."""
        seen = self._values.get(part, frozenset())
        if part in self._values and sample.values[part] <= seen:
            return
        self._values[part] = seen | sample.values[part]
        layer.colormap = label_colormap(self._values[part])
        layer.features = label_features(self._values[part])

    def _on_removed(self, event: Any) -> None:
        if not isalive(self):
            return
        for part, layer in list(self.layers.items()):
            if layer is event.value:
                del self.layers[part]
                self._values.pop(part, None)
