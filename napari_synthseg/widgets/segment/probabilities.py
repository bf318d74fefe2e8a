"""Layers of probabilities: of one structure or of all, from the posteriors of results.

A result made without its posteriors is computed again with them when they are first asked for. Those of the latest few
results are kept, since each takes hundreds of megabytes.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakSet

import numpy as np
from napari.layers import Image, Layer
from qtpy.QtCore import QObject, Signal

from napari_synthseg import anatomy
from napari_synthseg.errors import InputError
from napari_synthseg.jobs import Progress
from napari_synthseg.widgets._shared.controls import listen
from napari_synthseg.widgets._shared.job import Job
from napari_synthseg.widgets._shared.user import complain
from napari_synthseg.widgets.layers.geometry import METADATA_KEY, copied_geometry, kept_with, shown_volume
from napari_synthseg.widgets.layers.labels_layer import names_of
from napari_synthseg.widgets.segment.model import options_of, scan_of
from napari_synthseg.widgets.segment.queue import Run

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Labels

    from napari_synthseg.inference.posteriors import Posteriors

LOOK: dict[str, Any] = {"colormap": "inferno", "contrast_limits": (0.0, 1.0), "opacity": 0.8, "blending": "additive"}
STACK = " posteriors: "
"""Between the name of the scan and that of the structure in a stack's name."""
KEPT = 3
"""Structures of a stack whose probabilities are kept in memory."""


def structure_name(value: int, result: Layer | None = None) -> str:
    """Return the name of a structure in its result, else FreeSurfer's."""
    return names_of(result).get(value, "Background" if value == 0 else anatomy.name(value))


def probability_steps(posteriors: Posteriors, value: int) -> Generator[Progress, None, np.ndarray]:
    """Compute the probability of one structure, (S, A, R) float32 on the labels' grid.

    Raises:
        ValueError: the network does not predict this value.
    """
    yield Progress(f"Probability of {structure_name(value)}")
    return posteriors.channel(value).data.transpose(2, 1, 0)


def posteriors_layer(posteriors: Posteriors, result: Layer) -> Image:
    """Return a 4D layer of all structures' probabilities, computed when first shown; the first axis is the channel."""
    import dask
    import dask.array as da

    shape = tuple(posteriors.grid.shape[::-1])

    @lru_cache(maxsize=KEPT)
    def channel(value: int) -> np.ndarray:
        return posteriors.channel(value).data.transpose(2, 1, 0)

    lazy = [da.from_delayed(dask.delayed(channel, pure=False)(value), shape, np.float32) for value in posteriors.values]
    geometry = _geometry(result)
    for name, first in (("scale", 1.0), ("translate", 0.0)):
        geometry[name] = (first, *geometry[name])
    geometry["units"] = ("pixel", *geometry["units"])
    geometry["axis_labels"] = ("structure", *geometry["axis_labels"])
    geometry["rotate"], geometry["affine"] = _widened(geometry["rotate"], 4), _widened(geometry["affine"], 5)
    geometry["shear"] = (0.0, 0.0, 0.0, *geometry["shear"])
    layer = Image(da.stack(lazy), **geometry, **LOOK)
    layer.metadata["structures"] = [structure_name(value, result) for value in posteriors.values]
    layer.name = stack_name(_scan_name(result), layer, 0)
    return layer


def is_probability(layer: Layer) -> bool:
    return bool(kept_with(layer).get("probability"))


def stack_name(scan: str, layer: Layer, step: int) -> str:
    """Return the name of a stack of probabilities while one of them is shown."""
    names = layer.metadata["structures"]
    return f"{scan}{STACK}{names[min(max(step, 0), len(names) - 1)]}"


def _geometry(result: Layer) -> dict[str, Any]:
    geometry = copied_geometry(result)
    geometry["metadata"][METADATA_KEY]["probability"] = True
    return geometry


def _scan_name(result: Layer) -> str:
    return result.name.removesuffix(" segmentation")


def _widened(matrix: np.ndarray, size: int) -> np.ndarray:
    """Return a matrix with another axis before the others."""
    out = np.eye(size)
    out[1:, 1:] = matrix
    return out


DOING = "Showing the probability"
ALL = -1
"""Asks for the probabilities of all structures."""
RESULTS_KEPT = 3


class Probabilities(QObject):
    """The posteriors of the results in a viewer; `segment` starts a run that is needed to get them."""

    said = Signal(str)  # one sentence for the user

    def __init__(self, viewer: ViewerModel, segment: Callable[[Run], None], parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._segment = segment
        self._kept: WeakKeyDictionary[Layer, Posteriors] = WeakKeyDictionary()
        self._stacks: WeakSet[Layer] = WeakSet()
        self._asked: tuple[Layer, int] | None = None
        self.job = Job(self, returned=self._on_returned, failed=lambda error: self.said.emit(complain(error, DOING)))
        listen(self, Probabilities._name_stacks, viewer.dims.events.current_step)

    def keep(self, result: Layer, posteriors: Posteriors | None) -> None:
        """Remember the posteriors of a result; None forgets earlier ones."""
        self._kept.pop(result, None)
        if posteriors is not None:
            self._kept[result] = posteriors
        for oldest in list(self._kept)[:-RESULTS_KEPT]:
            del self._kept[oldest]

    def request(self, result: Labels, value: int) -> None:
        """Add a layer of one structure's probability, or of all for `ALL`; if need be, segment again for it."""
        if result in self._kept:
            self._show(result, value)
            return
        scan, index = scan_of(self._viewer.layers, result)
        if scan is None:
            sentence = (
                f'The probabilities of "{result.name}" were not kept and its scan is closed; open the scan and '
                'segment it with "Keep posteriors".'
            )
            self.said.emit(complain(InputError(sentence), DOING))
            return
        options = {**options_of(result), "posteriors": True, "index": index}
        self._segment(Run(scan, options, index, wanted=(result, value)))

    def arrived(self, wanted: Any, posteriors: Posteriors | None) -> None:
        """Take the posteriors of a run that was started for a request, and answer the request."""
        result, value = wanted
        if posteriors is not None and result in self._viewer.layers:
            self.keep(result, posteriors)
            self._show(result, value)

    def _show(self, result: Labels, value: int) -> None:
        posteriors = self._kept[result]
        if value == ALL:
            layer = posteriors_layer(posteriors, result)
            self._stacks.add(layer)
            alone = self._viewer.dims.ndim < layer.ndim
            self._viewer.add_layer(layer)
            if alone:  # the background, which comes first, says least; another series keeps its place
                self._viewer.dims.set_current_step(0, 1)
            self._name_stacks()
        elif not self.job.running:
            self._asked = (result, value)
            self.job.start("Probability", probability_steps, posteriors, value)

    def _on_returned(self, array: np.ndarray) -> None:
        asked, self._asked = self._asked, None
        if asked is not None and asked[0] in self._viewer.layers:
            result, value = asked
            name = f"{_scan_name(result)} {structure_name(value, result)} probability"
            self._viewer.add_layer(Image(array, name=name, **_geometry(result), **LOOK))

    def _name_stacks(self, event: object = None) -> None:
        for layer in self._stacks:
            scan, ours, _ = layer.name.rpartition(STACK)
            if ours and layer in self._viewer.layers:  # a name that the user gave stays
                name = stack_name(scan, layer, shown_volume(layer, self._viewer.dims))
                if layer.name != name:
                    layer.name = name
