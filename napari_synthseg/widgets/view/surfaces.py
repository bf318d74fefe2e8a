"""Labels as surfaces while the viewer shows 3D: opaque, without the scan and the fluid that would cover them.

What is changed for that is taken back when the viewer shows slices again, by whatever button.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary, ref

import numpy as np

from napari_synthseg.widgets.layers.labels_layer import INDEX, NAME
from napari_synthseg.widgets.volumes.model import is_visible, set_visible, visible_among

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Labels, Layer

FLUID = {24: "CSF"}
"""Lies around the brain: with it nothing else is seen from outside."""

_of_viewer: WeakKeyDictionary[ViewerModel, Surfaces] = WeakKeyDictionary()


def surfaces(viewer: ViewerModel) -> Surfaces:
    """Those of a viewer; there is one object for all widgets."""
    if viewer not in _of_viewer:
        _of_viewer[viewer] = Surfaces(viewer)
    return _of_viewer[viewer]


class Surfaces:
    """Remembers what it changed, and takes back no more than that."""

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = ref(viewer)  # the viewer outlives it, not the other way round
        self._hidden: list[Layer] = []
        self._opacities: dict[Labels, float] = {}
        self._fluid: dict[Labels, list[int]] = {}
        viewer.dims.events.ndisplay.connect(self._on_ndisplay)

    def show(self) -> None:
        """Let the labels be seen that were not shown so yet; what the user changed since stays."""
        viewer = self._viewer()
        if viewer is None:
            return
        new = [layer for layer in viewer.layers if _is_solid_labels(layer) and layer not in self._opacities]
        if not new:
            return
        below = list(viewer.layers)[: viewer.layers.index(new[-1])]
        for layer in below:
            if _is_solid_image(layer) and layer not in self._hidden:
                self._hidden.append(layer)
                layer.visible = False
        for layer in new:
            self._opacities[layer] = layer.opacity
            layer.opacity = 1.0
            if fluid := _covering(layer):
                self._fluid[layer] = fluid
                set_visible(layer, fluid, False)

    def _on_ndisplay(self, event: object = None) -> None:
        viewer = self._viewer()
        if viewer is None or viewer.dims.ndisplay == 3:
            return
        hidden, self._hidden = self._hidden, []
        opacities, self._opacities = self._opacities, {}
        fluid, self._fluid = self._fluid, {}
        for layer in hidden:
            if layer in viewer.layers:
                layer.visible = True
        for labels, opacity in opacities.items():
            if labels.opacity == 1.0:
                labels.opacity = opacity
        for labels, values in fluid.items():
            set_visible(labels, values, True)


def _covering(layer: Labels) -> list[int]:
    """The labels of fluid that a layer shows among others."""
    if not {INDEX, NAME} <= set(layer.features.columns):
        return []
    names = {int(v): str(n) for v, n in zip(layer.features[INDEX], layer.features[NAME], strict=True) if int(v)}
    fluid = [value for value, name in FLUID.items() if names.get(value) == name]
    others = visible_among(layer, set(names) - set(fluid))
    return [value for value in fluid if others and is_visible(layer, value)]


def _is_solid_labels(layer: Layer) -> bool:
    if not layer.visible or layer.ndim < 3 or not hasattr(layer, "selected_label"):
        return False
    return not isinstance(layer.data, np.ndarray) or bool(layer.data.any())


def _is_solid_image(layer: Layer) -> bool:
    return bool(layer.visible and layer.ndim >= 3 and hasattr(layer, "contrast_limits_range"))
