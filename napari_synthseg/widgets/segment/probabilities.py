"""Answers requests for probabilities: keeps the posteriors of results and adds layers of them.

A result made without its posteriors is computed again with them when they are first asked for. Those of the latest few
results are kept, since each takes hundreds of megabytes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakSet

from qtpy.QtCore import QObject, Signal

from napari_synthseg.errors import InputError
from napari_synthseg.widgets._shared.job import Job
from napari_synthseg.widgets._shared.notices import complain
from napari_synthseg.widgets.layers.geometry import shown_volume
from napari_synthseg.widgets.segment.job import options_of, scan_of
from napari_synthseg.widgets.segment.probability_layers import (
    STACK,
    posteriors_layer,
    probability_layer,
    probability_steps,
    stack_name,
)
from napari_synthseg.widgets.segment.queue import Run

if TYPE_CHECKING:
    import numpy as np
    from napari.components import ViewerModel
    from napari.layers import Labels, Layer

    from napari_synthseg.inference.posteriors import Posteriors

ALL = -1
"""Asks for the probabilities of all structures."""
RESULTS_KEPT = 3


class Probabilities(QObject):
    """The posteriors of the results in a viewer.

    Args:
        viewer: gets the layers.
        segment: starts a run that is needed to get the posteriors of a result.
    """

    said = Signal(str)  # one sentence for the user

    def __init__(self, viewer: ViewerModel, segment: Callable[[Run], None], parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._segment = segment
        self._kept: WeakKeyDictionary[Layer, Posteriors] = WeakKeyDictionary()
        self._stacks: WeakSet[Layer] = WeakSet()
        self._asked: tuple[Layer, int] | None = None
        self.job = Job(self)
        self.job.returned.connect(self._on_returned)
        self.job.failed.connect(lambda error: self.said.emit(complain(error, "Showing the probability")))
        viewer.dims.events.current_step.connect(self._name_stacks)

    def keep(self, result: Layer, posteriors: Posteriors | None) -> None:
        """Remember the posteriors of a result, or that an earlier result's are no longer those of its labels."""
        if posteriors is None:
            self._kept.pop(result, None)
            return
        self._kept.pop(result, None)
        self._kept[result] = posteriors
        for oldest in list(self._kept)[:-RESULTS_KEPT]:
            del self._kept[oldest]

    def forget(self, layer: Layer) -> None:
        """Give back the memory of a result that was removed."""
        self._kept.pop(layer, None)

    def request(self, result: Labels, value: int) -> None:
        """Add a layer of one structure's probability, or of all for `ALL`; if need be, segment again for it."""
        if result in self._kept:
            self._show(result, value)
            return
        scan, index = scan_of(self._viewer.layers, result)
        if scan is None:
            self.said.emit(
                complain(
                    InputError(
                        f'The probabilities of "{result.name}" were not kept and its scan is closed; open the scan and '
                        'segment it with "Keep posteriors".'
                    ),
                    "Showing the probability",
                )
            )
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
            self._viewer.add_layer(probability_layer(array, asked[1], asked[0]))

    def _name_stacks(self, event: object = None) -> None:
        """A stack is named after the structure that is shown."""
        for layer in self._stacks:
            scan, ours, _ = layer.name.rpartition(STACK)
            if ours and layer in self._viewer.layers:  # a name that the user gave stays
                name = stack_name(scan, layer, shown_volume(layer, self._viewer.dims))
                if layer.name != name:
                    layer.name = name
