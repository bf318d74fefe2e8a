"""The right way up for what is opened: a turned camera stays with the scans it was turned for.

napari keeps the orientation of its camera for as long as the window lives. A flat picture that is opened after a head
would stand upside down, with no button to turn it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, ref

from napari_synthseg.widgets.layers.geometry import AXIS_LABELS
from napari_synthseg.widgets.view.view import anatomical_view

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

NAPARI = ("towards", "down", "right")
"""napari's own orientation: rows run down, columns to the right."""

_of_viewer: WeakKeyDictionary[ViewerModel, Upright] = WeakKeyDictionary()


def upright(viewer: ViewerModel) -> Upright:
    """Return the keeper of a viewer; there is one for all widgets."""
    if viewer not in _of_viewer:
        _of_viewer[viewer] = Upright(viewer)
    return _of_viewer[viewer]


class Upright:
    """Gives flat pictures napari's own orientation, and the first scan an anatomical one while a widget is open."""

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = ref(viewer)  # the viewer outlives it, not the other way round
        self._widgets = 0
        self._turned: tuple[tuple[int, ...], tuple[str, ...]] | None = None  # order and orientation that scans had
        viewer.dims.events.ndim.connect(self._on_ndim)
        viewer.layers.events.inserted.connect(self._on_inserted, position="last")
        viewer.layers.events.removed.connect(self._on_removed, position="last")

    def hold(self) -> None:
        """One more widget of ours is open."""
        self._widgets += 1

    def release(self) -> None:
        """One less: scans open as napari opens them once there is none."""
        self._widgets -= 1

    def _on_ndim(self, event: Any = None) -> None:
        viewer = self._viewer()
        if viewer is not None and viewer.dims.ndim < 3:
            self._lay_flat(viewer)

    def _on_inserted(self, event: Any) -> None:
        viewer, layer = self._viewer(), event.value
        if viewer is None:
            return
        solid = [one for one in viewer.layers if one.ndim >= 3 and one is not layer]
        if layer.ndim >= 3 and not solid:
            self._turn_back(viewer)
            if self._widgets > 0:
                self._show_first(viewer, layer)
        elif _is_picture(layer) and not any(one.visible for one in solid):
            self._lay_flat(viewer)

    def _on_removed(self, event: Any) -> None:
        viewer = self._viewer()
        if viewer is not None and viewer.dims.ndim >= 3 and not any(map(_is_picture, viewer.layers)):
            self._turn_back(viewer)

    def _lay_flat(self, viewer: ViewerModel) -> None:
        camera, order = viewer.scene.camera, tuple(range(viewer.dims.ndim))
        if self._turned is None:
            self._turned = tuple(viewer.dims.order), tuple(str(one) for one in camera.orientation)
        viewer.dims.order, camera.orientation = order, NAPARI

    def _turn_back(self, viewer: ViewerModel) -> None:
        turned, self._turned = self._turned, None
        if turned is not None:
            viewer.scene.camera.orientation = turned[1]
            if len(turned[0]) == viewer.dims.ndim:
                viewer.dims.order = turned[0]

    def _show_first(self, viewer: ViewerModel, layer: Layer) -> None:
        """Turn a scan whose axes are anatomical, unless the user has turned the viewer already."""
        untouched = tuple(viewer.dims.order) == tuple(range(viewer.dims.ndim)) and viewer.dims.ndisplay == 2
        if untouched and tuple(layer.axis_labels[-3:]) == AXIS_LABELS:
            anatomical_view(viewer)


def _is_picture(layer: Layer) -> bool:
    return layer.ndim == 2 and hasattr(layer, "contrast_limits_range")
