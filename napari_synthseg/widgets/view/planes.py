"""Three linked planes beside each other, the right way up, with the place of the cursor in RAS mm.

The planes are the package `napari-orthogonal-views`; here they get the anatomical orientation, which it does not know.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import ref

import numpy as np
from qtpy.compat import isalive
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QLabel, QWidget

from napari_synthseg.errors import InputError
from napari_synthseg.widgets._shared.notices import complain
from napari_synthseg.widgets.layers.geometry import AXIS_LABELS
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

MISSING = "Three planes need the package napari-orthogonal-views: pip install napari-orthogonal-views."
FIT_MS = 200
"""After which the canvases have their size."""
UPRIGHT = (-1, -3, -2)
"""Axes of the plane on the right: R is its depth, S runs up and A to the right."""


def three_planes(viewer: napari.viewer.Viewer) -> None:
    """Show axial, coronal and sagittal slices with a linked cursor, or the axial ones alone again."""
    if viewer.dims.ndim < 3:
        complain(InputError("Open a scan first: a flat picture has one plane."), "Three planes")
        return
    try:
        from napari_orthogonal_views import ortho_view_manager
    except ImportError:
        complain(InputError(MISSING), "Three planes")
        return
    _put_lines_in_world()
    manager = ortho_view_manager._get_manager(viewer)
    if manager.is_shown():
        manager.hide()
        return
    manager.show()
    _turn(viewer, manager)
    controls = manager.main_controls_widget
    if controls.findChild(Place) is None:
        controls.layout().addWidget(Place(viewer, controls))


def _turn(viewer: napari.viewer.Viewer, manager: Any) -> None:
    """Turn each plane as its own view does, and let it fill its canvas."""
    convention = current_view(viewer)[1] or convention_preferred()
    set_view(viewer, AXIAL, convention)
    manager.right_widget.order = UPRIGHT
    manager.update_dims_order()
    for widget, name in ((manager.right_widget, SAGITTAL), (manager.bottom_widget, CORONAL)):
        widget.vm_container.viewer_model.scene.camera.orientation = orientation(name, convention)
    manager.set_cross_hairs(True)
    QTimer.singleShot(FIT_MS, lambda: _fit(viewer, manager))


def _fit(viewer: napari.viewer.Viewer, manager: Any) -> None:
    if manager.is_shown() and isalive(manager.right_widget):
        for widget in (manager.right_widget, manager.bottom_widget):
            widget.vm_container.viewer_model.fit_to_view()
        viewer.fit_to_view()


def _put_lines_in_world() -> None:
    """Let the cursor's lines meet, and planes move, at the viewer's point: version 0.5 forgets where axes begin."""
    from napari_orthogonal_views import ortho_view_widget
    from napari_orthogonal_views.cross_hair_overlay import VispyCrosshairOverlay

    if getattr(VispyCrosshairOverlay._move_crosshairs, "in_world", False):
        return
    check = ortho_view_widget.check_center

    def move(self: Any, event: Any = None) -> None:
        dims = self.viewer.dims
        shown, hidden = list(dims.displayed[::-1]), list(dims.not_displayed[::-1]) or [0]
        axes = shown + hidden[:1] if len(shown) == 2 else shown
        self.node.set_position(np.array(dims.point)[axes])

    move.in_world = True  # type: ignore[attr-defined]
    VispyCrosshairOverlay._move_crosshairs = move
    ortho_view_widget.check_center = lambda model, steps: check(model, model.dims.point)


class Place(QLabel):
    """Where the planes meet, in mm to the right, to the front and up."""

    def __init__(self, viewer: napari.viewer.Viewer, parent: QWidget) -> None:
        super().__init__(parent)
        self._viewer = ref(viewer)
        self.setToolTip("Where the planes meet: mm to the right (R), to the front (A) and up (S).")
        viewer.dims.events.point.connect(self._say)
        self._say()

    def _say(self, event: Any = None) -> None:
        viewer = self._viewer()
        if viewer is None or not isalive(self) or viewer.dims.ndim < 3:
            return
        *_, s, a, r = viewer.dims.point
        known = all(tuple(layer.axis_labels[-3:]) == AXIS_LABELS for layer in viewer.layers if layer.ndim >= 3)
        names = ("R", "A", "S") if known else ("x", "y", "z")
        values = (f"{name} {value:.1f}" for name, value in zip(names, (r, a, s), strict=True))
        self.setText("  ".join(values) + " mm")
