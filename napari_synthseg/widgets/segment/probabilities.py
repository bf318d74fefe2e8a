"""Layers of the probability of one structure, from the posteriors that a result was kept with.

Those of the latest few results are kept, since each takes hundreds of megabytes.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
from napari.layers import Image, Layer
from qtpy.QtCore import QObject, Signal

from napari_synthseg import anatomy
from napari_synthseg.errors import InputError
from napari_synthseg.jobs import Progress
from napari_synthseg.widgets._shared.job import Job
from napari_synthseg.widgets._shared.user import complain
from napari_synthseg.widgets.layers.geometry import METADATA_KEY, copied_geometry, kept_with
from napari_synthseg.widgets.layers.labels_layer import names_of

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Labels

    from napari_synthseg.inference.posteriors import Posteriors

LOOK: dict[str, Any] = {"colormap": "inferno", "contrast_limits": (0.0, 1.0), "opacity": 0.8, "blending": "additive"}
DOING = "Showing the probability"
RESULTS_KEPT = 3


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


def is_probability(layer: Layer) -> bool:
    return bool(kept_with(layer).get("probability"))


class Probabilities(QObject):
    """The posteriors of the results in a viewer."""

    said = Signal(str)  # one sentence for the user

    def __init__(self, viewer: ViewerModel, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._kept: WeakKeyDictionary[Layer, Posteriors] = WeakKeyDictionary()
        self._asked: tuple[Layer, int] | None = None
        self.job = Job(self, returned=self._on_returned, failed=lambda error: self.said.emit(complain(error, DOING)))

    def keep(self, result: Layer, posteriors: Posteriors | None) -> None:
        """Remember the posteriors of a result; None forgets earlier ones."""
        self._kept.pop(result, None)
        if posteriors is not None:
            self._kept[result] = posteriors
        for oldest in list(self._kept)[:-RESULTS_KEPT]:
            del self._kept[oldest]

    def request(self, result: Labels, value: int) -> None:
        """Add a layer of the probability of a structure of a result."""
        if result not in self._kept:
            sentence = f'The probabilities of "{result.name}" were not kept: segment its scan with "Keep posteriors".'
            self.said.emit(complain(InputError(sentence), DOING))
        elif not self.job.running:
            self._asked = (result, value)
            self.job.start("Probability", probability_steps, self._kept[result], value)

    def _on_returned(self, array: np.ndarray) -> None:
        asked, self._asked = self._asked, None
        if asked is not None and asked[0] in self._viewer.layers:
            result, value = asked
            name = f"{result.name.removesuffix(' segmentation')} {structure_name(value, result)} probability"
            geometry = copied_geometry(result)
            geometry["metadata"][METADATA_KEY]["probability"] = True
            self._viewer.add_layer(Image(array, name=name, **geometry, **LOOK))
