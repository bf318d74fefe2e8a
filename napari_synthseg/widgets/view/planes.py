"""Three linked planes beside each other, by the package napari-orthogonal-views; oblique scans are resliced in them."""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any
from weakref import ref

import numpy as np
from qtpy.compat import isalive
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QLabel

from napari_synthseg.errors import InputError
from napari_synthseg.widgets._shared.controls import listen
from napari_synthseg.widgets._shared.notices import complain
from napari_synthseg.widgets.layers.geometry import AXIS_LABELS
from napari_synthseg.widgets.layers.resliced import is_oblique, reslice
from napari_synthseg.widgets.view.view import (
    AXIAL,
    CORONAL,
    SAGITTAL,
    convention_preferred,
    current_view,
    orientation,
    set_view,
)

if TYPE_CHECKING:
    import napari
    from napari.layers import Layer

MISSING = "Three planes need the package napari-orthogonal-views: pip install napari-orthogonal-views."
FIT_MS = 200
"""After which the canvases have their size."""
RIGHT_ORDER = (-1, -3, -2)
"""Axes of the plane on the right: R is its depth, S runs up and A to the right."""


def three_planes(viewer: napari.viewer.Viewer) -> None:
    """Show axial, coronal and sagittal slices with a linked cursor, or one plane again."""
    if viewer.dims.ndim < 3:
        complain(InputError("Open a scan first: a flat picture has one plane."), "Three planes")
        return
    try:
        from napari_orthogonal_views import ortho_view_manager
    except ImportError:
        complain(InputError(MISSING), "Three planes")
        return
    _use_world_crosshairs()
    manager = ortho_view_manager._get_manager(viewer)
    controls = manager.main_controls_widget
    place = controls.findChild(Place)
    if place is None:
        place = Place(viewer, controls)
        controls.layout().addWidget(place)
    if manager.is_shown():
        manager.hide()
        place.reslicer.hide()
        QTimer.singleShot(FIT_MS, lambda: viewer.fit_to_view() if isalive(controls) else None)
        return
    place.reslicer.show()
    manager.show()
    _turn(viewer, manager)


def _turn(viewer: napari.viewer.Viewer, manager: Any) -> None:
    """Link the planes, orient each as its own view does, and fit it to its canvas."""
    convention = current_view(viewer)[1] or convention_preferred()
    set_view(viewer, AXIAL, convention)
    manager.right_widget.order = RIGHT_ORDER
    manager.update_dims_order()
    for widget, name in ((manager.right_widget, SAGITTAL), (manager.bottom_widget, CORONAL)):
        _link(viewer, widget)
        widget.vm_container.viewer_model.scene.camera.orientation = orientation(name, convention)
    manager.set_cross_hairs(True)
    QTimer.singleShot(FIT_MS, lambda: _fit(viewer, manager))


def _fit(viewer: napari.viewer.Viewer, manager: Any) -> None:
    if manager.is_shown() and isalive(manager.right_widget):
        for widget in (manager.right_widget, manager.bottom_widget):
            widget.vm_container.viewer_model.fit_to_view()
        viewer.fit_to_view()


def _link(viewer: napari.viewer.Viewer, widget: Any) -> None:
    """Let a plane follow the viewer's point, and keep the point in view.

    It replaces the link of version 0.5, which takes the index of a slice for its place in mm.
    """
    from napari_orthogonal_views.ortho_view_widget import check_center

    model = widget.vm_container.viewer_model

    def follow(event: Any) -> None:
        point = tuple(event.source.point)
        for one in (viewer, model):
            if one.dims is event.source or tuple(one.dims.point) == point or one.dims.ndim != len(point):
                continue  # the number of axes differs until a layer has come or gone in all planes
            with widget._center_sync_blocked():
                one.dims.point = point
                index = [place / axis.step for place, axis in zip(point, one.dims.range, strict=True)]
                one.scene.camera.center = (one.scene.camera.center[0], *check_center(one, index))

    for dims in (viewer.dims, model.dims):
        widget._disconnect(dims.events.current_step, widget._update_current_step)
        widget._connect(dims.events.current_step, follow)


@cache
def _use_world_crosshairs() -> None:
    """Register crosshairs at the viewer's point: those of version 0.5 take an index for a place in mm."""
    from napari._vispy.utils.visual import overlay_to_visual
    from napari_orthogonal_views.cross_hair_overlay import CrosshairOverlay, VispyCrosshairOverlay

    class WorldCrosshairs(VispyCrosshairOverlay):
        def _move_crosshairs(self, event: Any = None) -> None:
            dims = self.viewer.dims
            axes = [*dims.displayed[::-1], *(dims.not_displayed[::-1] or (0,))][:3]
            self.node.set_position(np.array(dims.point)[axes])

    overlay_to_visual[CrosshairOverlay] = WorldCrosshairs


class Reslicer:
    """Shows oblique layers resliced while there are three planes; what is painted on them shows at once."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        self._viewer = ref(viewer)  # the viewer outlives it, not the other way round
        self.resliced: dict[Layer, Layer] = {}

    def show(self) -> None:
        """Show resliced layers instead of the visible oblique ones, also of those that are added later."""
        viewer = self._viewer()
        if viewer is not None:
            for layer in list(viewer.layers):
                self._replace(viewer, layer)
            viewer.layers.events.inserted.connect(self._on_inserted)
            viewer.layers.events.removed.connect(self._on_removed)

    def hide(self) -> None:
        """Show the layers themselves again."""
        viewer = self._viewer()
        if viewer is None:
            return
        for event, slot in ((viewer.layers.events.inserted, self._on_inserted),
                            (viewer.layers.events.removed, self._on_removed)):  # fmt: skip
            with suppress(ValueError):  # not shown
                event.disconnect(slot)
        for layer, made in self.resliced.items():
            layer.visible = made.visible
            viewer.layers.remove(made)
        self.resliced = {}

    def _replace(self, viewer: napari.viewer.Viewer, layer: Layer) -> None:
        if layer in self.resliced or not layer.visible or not is_oblique(layer):
            return
        selected = set(viewer.layers.selection)
        self.resliced[layer] = made = reslice(layer)
        viewer.layers.insert(viewer.layers.index(layer) + 1, made)
        layer.visible = False
        viewer.layers.selection = selected

    def _on_inserted(self, event: Any) -> None:
        viewer = self._viewer()
        if viewer is not None:
            QTimer.singleShot(0, lambda: event.value in viewer.layers and self._replace(viewer, event.value))

    def _on_removed(self, event: Any) -> None:
        viewer = self._viewer()
        made = self.resliced.pop(event.value, None)
        self.resliced = {layer: one for layer, one in self.resliced.items() if one is not event.value}
        if viewer is not None and made is not None and made in viewer.layers:
            viewer.layers.remove(made)


class Place(QLabel):
    """Shows where the planes meet, in mm to the right, to the front and up."""

    def __init__(self, viewer: napari.viewer.Viewer, controls: Any) -> None:
        super().__init__(controls)
        self._viewer, self.reslicer = ref(viewer), Reslicer(viewer)
        self.setToolTip("Where the planes meet: mm to the right (R), to the front (A) and up (S).")
        listen(self, Place._follow, viewer.dims.events.point)
        controls.show_orth_views.connect(lambda shown: None if shown else self.reslicer.hide())
        self._follow()

    def _follow(self, event: Any = None) -> None:
        viewer = self._viewer()
        if viewer is None or viewer.dims.ndim < 3:
            return
        *_, s, a, r = viewer.dims.point
        known = all(tuple(layer.axis_labels[-3:]) == AXIS_LABELS for layer in viewer.layers if layer.ndim >= 3)
        names = ("R", "A", "S") if known else ("x", "y", "z")
        values = (f"{name} {value:.1f}" for name, value in zip(names, (r, a, s), strict=True))
        self.setText("  ".join(values) + " mm")
