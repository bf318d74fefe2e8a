"""What menus, the command palette and keys do without a widget: anatomical views, and three linked planes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from weakref import ref

import numpy as np
from qtpy.compat import isalive
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QLabel, QWidget

from napari_synthseg.errors import InputError
from napari_synthseg.widgets._shared.notices import complain
from napari_synthseg.widgets.layers.geometry import AXIS_LABELS
from napari_synthseg.widgets.view.follow import upright
from napari_synthseg.widgets.view.view import (
    AXIAL,
    CONVENTIONS,
    CORONAL,
    SAGITTAL,
    THREE_D,
    anatomical_view,
    convention_preferred,
    current_view,
    orientation,
    set_view,
)

if TYPE_CHECKING:
    import napari


def view_axial(viewer: napari.viewer.Viewer) -> None:
    """Axial slices, the front of the head up."""
    _show(AXIAL, viewer)


def view_coronal(viewer: napari.viewer.Viewer) -> None:
    """Coronal slices, the top of the head up."""
    _show(CORONAL, viewer)


def view_sagittal(viewer: napari.viewer.Viewer) -> None:
    """Sagittal slices, the top of the head up."""
    _show(SAGITTAL, viewer)


def view_3d(viewer: napari.viewer.Viewer) -> None:
    """The head in 3D, from a little above."""
    _show(THREE_D, viewer)


def view_whole(viewer: napari.viewer.Viewer) -> None:
    """Axial slices through the middle of the scene, all of it in view."""
    upright(viewer)
    anatomical_view(viewer, current_view(viewer)[1])


def swap_sides(viewer: napari.viewer.Viewer) -> None:
    """From neurological to radiological convention and back, in the view that is shown."""
    upright(viewer)
    name, convention = current_view(viewer)
    now = convention or convention_preferred()
    set_view(viewer, name or AXIAL, CONVENTIONS[1 - CONVENTIONS.index(now)])


KEYS: dict[str, Callable[[napari.viewer.Viewer], None]] = {
    "F6": view_axial,
    "F7": view_coronal,
    "F8": view_sagittal,
    "F9": view_3d,
    "Shift-F6": swap_sides,
}
"""Keys of the viewer while one of our widgets is open; napari gives plugins none of their own (0.9)."""


def bind_keys(viewer: napari.viewer.Viewer) -> None:
    """Bind `KEYS` in a viewer; a key that the user or another plugin has bound stays theirs."""
    for key, command in KEYS.items():
        with suppress(ValueError):  # bound already
            viewer.bind_key(key, command)  # a function: napari reads the name of what is bound at every key


def _show(name: str, viewer: napari.viewer.Viewer) -> None:
    """A view in the convention that is shown now, or the preferred one."""
    upright(viewer)
    set_view(viewer, name, current_view(viewer)[1])


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
