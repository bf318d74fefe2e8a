"""Putting napari's camera so that a scan in (S, A, R) world order is seen as anatomists see it, never mirrored.

Depth is part of it: with the wrong one a plane looks right, and the head is mirrored once napari shows it in 3D.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_synthseg.widgets._shared.choices import preference
from napari_synthseg.widgets.view.surfaces import surfaces

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

NEUROLOGICAL, RADIOLOGICAL = "neurological", "radiological"
CONVENTIONS = (NEUROLOGICAL, RADIOLOGICAL)
AXIAL, CORONAL, SAGITTAL, THREE_D = "axial", "coronal", "sagittal", "3d"
VIEWS = (AXIAL, CORONAL, SAGITTAL, THREE_D)

_ORDERS = {AXIAL: (0, 1, 2), CORONAL: (1, 0, 2), SAGITTAL: (2, 0, 1), THREE_D: (0, 1, 2)}  # of (S, A, R), depth first
# From where a plane is seen. Neurological: from above, from behind, from the right; radiological: from the other side.
_ORIENTATIONS = {NEUROLOGICAL: ("towards", "up", "right"), RADIOLOGICAL: ("away", "up", "left")}
_TILT = np.deg2rad(15)  # a head in 3D is looked at from a little above
_MARGIN = 0.05  # napari's own, around a scene that is fitted to the canvas


def convention_preferred() -> str:
    """The convention of napari's preferences."""
    chosen = preference("convention", NEUROLOGICAL, group="display")
    chosen = str(getattr(chosen, "value", chosen))
    return chosen if chosen in CONVENTIONS else NEUROLOGICAL


def anatomical_view(viewer: ViewerModel, convention: str | None = None) -> None:
    """Show axial slices with the front of the head up, put all slices through the middle, and fit the scene.

    Args:
        viewer: the viewer.
        convention: `NEUROLOGICAL` (the patient's left on the left) or `RADIOLOGICAL`; that of the preferences if None.
    """
    if viewer.dims.ndim < 3:
        return
    set_view(viewer, AXIAL, convention)
    for axis in _space(viewer):
        viewer.dims.set_current_step(axis, viewer.dims.nsteps[axis] // 2)
    viewer.fit_to_view()


def set_view(viewer: ViewerModel, name: str, convention: str | None = None) -> None:
    """Show a plane or 3D. The point looked at stays, and so does the zoom, unless the whole scene was in view.

    In 3D labels are shown as surfaces, see `Surfaces`.

    Args:
        viewer: the viewer; nothing happens while it shows fewer than three dimensions.
        name: one of `VIEWS`.
        convention: one of `CONVENTIONS`; that of the preferences if None.
    """
    if viewer.dims.ndim < 3:
        return
    convention = convention or convention_preferred()
    space, camera = _space(viewer), viewer.scene.camera
    point, whole, zoom = focus(viewer), shows_everything(viewer), camera.zoom
    viewer.dims.ndisplay = 3 if name == THREE_D else 2
    viewer.dims.order = (*range(space[0]), *(space[axis] for axis in _ORDERS[name]))
    camera.orientation = orientation(name, convention)
    if name == THREE_D:
        away = 1 if convention == NEUROLOGICAL else -1  # from behind, or face to face
        camera.set_view_direction((-np.sin(_TILT), away * np.cos(_TILT), 0), (1, 0, 0))
    viewer.dims.set_point(space, point)
    if name == THREE_D:
        surfaces(viewer).show()
    if whole:
        viewer.fit_to_view()
    else:
        camera.zoom = zoom
        look_at(viewer, point)


def look_at(viewer: ViewerModel, point: np.ndarray) -> None:
    """Put the slices and the middle of the canvas at a point; zoom and angles stay.

    Args:
        viewer: the viewer.
        point: (3,) world coordinates of the last three axes, in their order.
    """
    space = _space(viewer)
    viewer.dims.set_point(space, [float(one) for one in point])
    world = dict(zip(space, point, strict=True))
    center = [float(world.get(axis, 0.0)) for axis in viewer.dims.displayed]
    viewer.scene.camera.center = tuple([0.0] * (3 - len(center)) + center)


def look_at_layer(viewer: ViewerModel, layer: Layer) -> None:
    """Put the slices through the middle of a layer of three axes or more, and let it fill the canvas; angles stay."""
    low, high = layer.extent.world[:, -3:]
    look_at(viewer, (low + high) / 2)
    extent = np.zeros(viewer.dims.ndim)
    extent[-3:] = high - low
    viewer.scene.camera.zoom = _fitting(viewer, extent)


def orientation(name: str, convention: str) -> tuple[str, str, str]:
    """Directions of the depth, vertical and horizontal axis of a view, as napari's camera calls them."""
    depth, vertical, horizontal = _ORIENTATIONS[convention]
    if name == CORONAL:  # (A, S, R) is (S, A, R) with two axes exchanged: the depth turns round
        depth = "away" if depth == "towards" else "towards"
    return depth, vertical, horizontal


def current_view(viewer: ViewerModel) -> tuple[str | None, str | None]:
    """The view and the convention that the viewer shows now; None for a view that is none of ours."""
    dims = viewer.dims
    if dims.ndim < 3:
        return None, None
    order = tuple(axis - (dims.ndim - 3) for axis in dims.order[-3:])
    shown = tuple(str(one) for one in viewer.scene.camera.orientation)
    for name in VIEWS:
        if order != _ORDERS[name] or (name == THREE_D) != (dims.ndisplay == 3):
            continue
        for convention in CONVENTIONS:
            if shown == orientation(name, convention):
                return name, convention
    return None, None


def focus(viewer: ViewerModel) -> np.ndarray:
    """The point looked at, (3,): where the slices meet, or on the canvas its middle where they meet outside of it."""
    space = _space(viewer)
    point = np.array([viewer.dims.point[axis] for axis in space], dtype=float)
    displayed, ndisplay = viewer.dims.displayed, viewer.dims.ndisplay
    center = np.array(viewer.scene.camera.center[-ndisplay:], dtype=float)
    half = np.array(viewer.canvas.viewbox_size(viewer.layers), dtype=float) / 2 / viewer.scene.camera.zoom
    reach = half if ndisplay == 2 else [half.min()] * 3
    # Time may be among the displayed axes, after napari's button that rolls them.
    seen = [one for one in zip(displayed, center, reach, strict=True) if one[0] in space]
    if any(abs(point[axis - space[0]] - middle) > far for axis, middle, far in seen):
        for axis, middle, _ in seen:
            point[axis - space[0]] = middle
    return point


def shows_everything(viewer: ViewerModel) -> bool:
    """Whether the whole scene is in view, as after napari's home button."""
    return viewer.scene.camera.zoom <= 1.05 * _fitting(viewer, np.diff(viewer.layers.extent.world, axis=0)[0])


def _fitting(viewer: ViewerModel, extent: np.ndarray) -> float:
    """The zoom at which something of this extent, (ndim,) in world units, fills the canvas."""
    shown = extent[list(viewer.dims.displayed)]
    up, right = screen_directions(viewer)
    size = np.maximum([np.abs(up) @ shown, np.abs(right) @ shown], 1e-6)
    return float((1 - _MARGIN) * np.min(np.array(viewer.canvas.viewbox_size(viewer.layers)) / size))


def screen_directions(viewer: ViewerModel) -> tuple[np.ndarray, np.ndarray]:
    """What is up and what is right on the canvas, as unit vectors along the displayed axes."""
    camera = viewer.scene.camera
    depth, vertical, horizontal = (str(one) for one in camera.orientation)
    signs = (1 if vertical == "up" else -1, 1 if horizontal == "right" else -1)
    if viewer.dims.ndisplay == 2:
        return np.array([signs[0], 0.0]), np.array([0.0, signs[1]])
    ahead = -1 if depth == "towards" else 1
    view, up = np.array(camera.view_direction), np.array(camera.up_direction)
    home = np.cross([ahead, 0, 0], [0, signs[0], 0])  # with all angles 0 this is along the horizontal axis
    return up, np.cross(view, up) * (signs[1] * home[2])


def _space(viewer: ViewerModel) -> list[int]:
    """The last three axes."""
    return list(range(viewer.dims.ndim - 3, viewer.dims.ndim))
