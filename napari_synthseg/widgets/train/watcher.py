"""Watch the runs from a thread, so that the window's thread reads no file, and show their samples in layers.

Every second or so the watcher reports all runs (`listed`) and, after changes, the figures of the chosen one
(`followed`). The layers of samples are given other voxels as long as these have the same shape, so that the camera, the
slices and the layers' looks stay.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels
from qtpy.QtCore import QObject, Signal

from napari_synthseg.training import runs
from napari_synthseg.widgets._shared.controls import listen, single_shot
from napari_synthseg.widgets.layers.geometry import AXIS_LABELS, UNITS, add_unselected
from napari_synthseg.widgets.layers.labels_layer import OPACITY, label_colormap, label_features, labels_array
from napari_synthseg.widgets.train.model import Detail, Listed, detail_of, last_score
from napari_synthseg.widgets.view.view import anatomical_view

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

    from napari_synthseg.training.runs import RunPicture

MARK = "napari_synthseg_training"
"""Key in the metadata of these layers; its value is the part of a sample."""
CLOSE = 0.01
"""Fraction of an image's range by which its limits may change without new contrast limits."""
BETWEEN_MS = 60
"""Between two layers of a sample: long enough for the window to be drawn."""
NAMES = {"image": "Training sample", "truth": "Training truth", "prediction": "Training prediction"}


@dataclass(frozen=True)
class TrainingSample:
    """A picture prepared for layers, in another thread."""

    facts: dict[str, Any]
    """Name of the run, its stage, and the step of the stage."""
    arrays: dict[str, np.ndarray]
    """By part, in the order in which napari shows them."""
    limits: tuple[float, float]
    """Contrast limits of the image."""
    values: dict[str, frozenset[int]]
    """Labels by part."""


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
    facts = {"run": run, "stage": picture.stage, "step": picture.step}
    return TrainingSample(facts, arrays, (low, high if high > low else low + 1.0), values)


def is_sample(layer: Layer) -> bool:
    return MARK in layer.metadata


class SampleLayers(QObject):
    def __init__(self, viewer: ViewerModel, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._values: dict[str, frozenset[int]] = {}
        self._centre: np.ndarray | None = None
        self.layers: dict[str, Layer] = {
            str(one.metadata[MARK]): one for one in viewer.layers if one.metadata.get(MARK) in NAMES
        }
        listen(self, SampleLayers._on_removed, viewer.layers.events.removed)
        self._fresh = False
        self._waiting: list[tuple[str, TrainingSample]] = []
        self._timer = single_shot(self, BETWEEN_MS, self._show_next)

    def show(self, sample: TrainingSample) -> None:
        """Replace the sample, one layer at a time, so that the window is drawn in between."""
        self._fresh |= not self._viewer.layers
        self._waiting = [(part, sample) for part in sample.arrays]
        self._timer.start()

    def _show_next(self) -> None:
        part, sample = self._waiting.pop(0)
        array, layer, facts = sample.arrays[part], self.layers.get(part), {MARK: part, **sample.facts}
        if layer is not None and (layer.data.shape, layer.data.dtype) == (array.shape, array.dtype):
            np.copyto(layer.data, array)  # where it lies: other data would have the whole viewer measured anew
            layer.refresh(extent=False)
            layer.metadata = facts
        else:
            if layer is not None:
                self._viewer.layers.remove(layer)
            layer = self.layers[part] = self._made(part, array, facts)
            add_unselected(self._viewer, layer)
        if part != "image":
            self._color(part, layer, sample)
        elif not np.allclose(layer.contrast_limits, sample.limits, atol=CLOSE * np.ptp(sample.limits)):
            layer.contrast_limits_range = layer.contrast_limits = sample.limits
        if self._waiting:
            self._timer.start()
        elif self._fresh:
            self._fresh = False
            anatomical_view(self._viewer)

    def _made(self, part: str, array: np.ndarray, facts: dict[str, Any]) -> Layer:
        kwargs: dict[str, Any] = {"name": NAMES[part], "metadata": facts, "translate": self._corner(array)}
        if array.ndim == 3:
            kwargs |= {"units": UNITS, "axis_labels": AXIS_LABELS}
        if part == "image":
            return Image(array, colormap="gray", **kwargs)
        return Labels(array, opacity=OPACITY, visible=part == "prediction", **kwargs)

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
        for part, layer in list(self.layers.items()):
            if layer is event.value:
                del self.layers[part]
                self._values.pop(part, None)


logger = logging.getLogger("napari_synthseg")

INTERVAL_S, LONGEST_S = 0.7, 3.0
RESTING = ("new", "stopped", "finished", "failed", "interrupted")
"""Kinds of status that change only if something is written into the folder."""


class Watcher(QObject):
    listed = Signal(object)  # list[Listed], newest first
    followed = Signal(object)  # Detail
    pictured = Signal(object, object)  # the run's folder, TrainingSample

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.wake, self._ended = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None
        self.wanted: tuple[Path | None, bool] = (None, False)

    def start(self) -> None:
        if self._thread is None:
            self._ended = threading.Event()
            looking = _Looking(self, self._ended)
            self._thread = threading.Thread(target=looking.run, name="training runs", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self.wake.set()
        self._thread = None

    def look_at(self, run: Path | None, *, pictures: bool = False) -> None:
        self.wanted = (run, pictures)
        self.wake.set()


class _Looking:
    """Body of the thread, with everything that was read."""

    def __init__(self, watcher: Watcher, ended: threading.Event) -> None:
        self._watcher, self._ended = watcher, ended
        self._follower: Any = None
        self._config: Any = None
        self._run: Path | None = None
        self._picture: float | None = None
        self._logged: set[str] = set()
        self._rows: dict[Path, tuple[Any, Listed]] = {}
        self._scores: dict[Path, float | None] = {}
        self._told: Detail | None = None

    def run(self) -> None:
        while not self._ended.is_set():
            self._watcher.wake.clear()
            began = time.thread_time()
            try:
                self._look()
            except RuntimeError:  # Qt has deleted the watcher
                return
            except Exception as error:  # no folder of runs, however damaged, may end the thread
                if repr(error) not in self._logged:  # once, not every second
                    self._logged.add(repr(error))
                    logger.error("Training runs could not be read", exc_info=error)
            spent = time.thread_time() - began
            self._watcher.wake.wait(min(max(INTERVAL_S, 3 * spent), LONGEST_S))  # many runs: look less often

    def _look(self) -> None:
        """Look once; list and figures are emitted together, so that they are drawn together."""
        wanted, pictures = self._watcher.wanted
        listed = [self._listed(run) for run in runs.all_runs()]
        if wanted != self._run:
            self._run, self._picture, self._config, self._told = wanted, None, None, None
            self._follower = runs.Follower(wanted) if wanted is not None else None
        first = self._config is None  # then the list does not wait for the curves
        if first:
            self._tell(self._watcher.listed, listed)
        detail = self._newest(self._run) if self._run is not None else None
        if not first:
            self._tell(self._watcher.listed, listed)
        if detail is not None:
            self._tell(self._watcher.followed, detail)
        picture = runs.pictures(self._run) if pictures and self._run is not None else None
        if picture is not None and picture.mtime != self._picture:
            self._picture = picture.mtime
            self._tell(self._watcher.pictured, self._run, prepared(picture, self._run.name))

    def _newest(self, run: Path) -> Detail | None:
        """Return the figures of the followed run; None if nothing is new or another run is followed."""
        news = self._told is None
        if self._config is None:
            self._config = runs.read_config(run)
        while self._follower.read():  # some megabytes at a time
            news = True
            if self._ended.is_set() or self._watcher.wanted[0] != run:
                return None
        if news:
            self._told = detail_of(run, self._config, self._follower, self._told)
        return self._told if news else None

    def _listed(self, run: Path) -> Listed:
        """Return the row of a run; a resting run is read again only if its files changed."""
        stamp = _stamp(run)
        known = self._rows.get(run)
        if known is not None and known[0] == stamp and known[1].state.kind in RESTING:
            return known[1]
        seen = runs.status(run)
        if seen.score is not None or run not in self._scores:
            self._scores[run] = seen.score if seen.score is not None else last_score(run)
        self._rows[run] = (stamp, Listed(run, runs.recipe_of(run) or "", seen, self._scores[run]))
        return self._rows[run][1]

    def _tell(self, signal: Any, *news: Any) -> None:
        if not self._ended.is_set():
            signal.emit(*news)


def _stamp(run: Path) -> tuple[float, ...]:
    """Return times and sizes of the files that hold a run's status."""
    found: list[float] = []
    for name in ("config.json", runs.EVENTS, "process.json", "requests.json"):
        try:
            stat = (run / name).stat()
            found += [stat.st_mtime, stat.st_size]
        except OSError:
            found.append(0)
    return tuple(found)
