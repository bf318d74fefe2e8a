"""Anatomical views: napari's camera for scans in (S, A, R) world order, never mirrored, and labels as surfaces in 3D.

The camera's depth matters too: if it is wrong, planes look right, but the head is mirrored in 3D.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self
from weakref import WeakKeyDictionary, ref

import numpy as np

from napari_synthseg.widgets._shared.choices import preference
from napari_synthseg.widgets.layers.labels_layer import is_visible, names_of, set_visible, visible_among

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Labels, Layer

NEUROLOGICAL, RADIOLOGICAL = "neurological", "radiological"
CONVENTIONS = (NEUROLOGICAL, RADIOLOGICAL)
AXIAL, CORONAL, SAGITTAL, THREE_D = "axial", "coronal", "sagittal", "3d"
VIEWS = (AXIAL, CORONAL, SAGITTAL, THREE_D)

_ORDERS = {AXIAL: (0, 1, 2), CORONAL: (1, 0, 2), SAGITTAL: (2, 0, 1), THREE_D: (0, 1, 2)}  # of (S, A, R), depth first
# Seen neurologically from above, behind and the right; radiologically from the other side.
_ORIENTATIONS = {NEUROLOGICAL: ("towards", "up", "right"), RADIOLOGICAL: ("away", "up", "left")}
_TILT = np.deg2rad(15)  # a head in 3D is looked at from a little above
_MARGIN = 0.05  # napari's own, around a scene that is fitted to the canvas


def convention_preferred() -> str:
    chosen = preference("convention", NEUROLOGICAL, group="display")
    chosen = str(getattr(chosen, "value", chosen))
    return chosen if chosen in CONVENTIONS else NEUROLOGICAL


def anatomical_view(viewer: ViewerModel, convention: str | None = None) -> None:
    """Show axial slices through the middle of the scene, fitted to the canvas; see `set_view`."""
    if viewer.dims.ndim < 3:
        return
    set_view(viewer, AXIAL, convention)
    for axis in _space(viewer):
        viewer.dims.set_current_step(axis, viewer.dims.nsteps[axis] // 2)
    viewer.fit_to_view()


def set_view(viewer: ViewerModel, name: str, convention: str | None = None) -> None:
    """Show a plane or 3D. The focus stays, and the zoom, unless the whole scene was in view.

    The first of these views shows napari's axes in a corner, which are named where the layers name theirs.

    Args:
        viewer: nothing happens if it has fewer than three dimensions.
        name: one of `VIEWS`.
        convention: `NEUROLOGICAL` (the patient's left on the left) or `RADIOLOGICAL`; of the preferences if None.
    """
    if viewer.dims.ndim < 3:
        return
    convention = convention or convention_preferred()
    space, camera = _space(viewer), viewer.scene.camera
    if current_view(viewer)[0] is None:
        viewer.canvas.overlays.axes.visible, viewer.canvas.overlays.axes.box = True, False
    point, zoom, extent = focus(viewer), camera.zoom, np.diff(viewer.layers.extent.world, axis=0)[0]
    whole = zoom <= 1.05 * _fitting(viewer, extent)  # as after napari's home button
    viewer.dims.ndisplay = 3 if name == THREE_D else 2
    viewer.dims.order = (*range(space[0]), *(space[axis] for axis in _ORDERS[name]))
    camera.orientation = orientation(name, convention)
    if name == THREE_D:
        away = 1 if convention == NEUROLOGICAL else -1  # from behind, or face to face
        camera.set_view_direction((-np.sin(_TILT), away * np.cos(_TILT), 0), (1, 0, 0))
    viewer.dims.set_point(space, point)
    if name == THREE_D:
        Surfaces.of(viewer).show()
    if whole:
        viewer.fit_to_view()
    else:
        camera.zoom = zoom
        look_at(viewer, point)


def look_at(viewer: ViewerModel, point: np.ndarray) -> None:
    """Move slices and camera to a point, (3,) world coordinates of the last three axes; zoom and angles stay."""
    space = _space(viewer)
    viewer.dims.set_point(space, [float(one) for one in point])
    world = dict(zip(space, point, strict=True))
    center = [float(world.get(axis, 0.0)) for axis in viewer.dims.displayed]
    viewer.scene.camera.center = tuple([0.0] * (3 - len(center)) + center)


def look_at_layer(viewer: ViewerModel, layer: Layer) -> None:
    """Move slices and camera to the middle of a 3D layer and fit it to the canvas; angles stay."""
    low, high = layer.extent.world[:, -3:]
    look_at(viewer, (low + high) / 2)
    extent = np.zeros(viewer.dims.ndim)
    extent[-3:] = high - low
    viewer.scene.camera.zoom = _fitting(viewer, extent)


def orientation(name: str, convention: str) -> tuple[str, str, str]:
    """Return the camera's orientation of depth, vertical and horizontal axis in a view."""
    depth, vertical, horizontal = _ORIENTATIONS[convention]
    if name == CORONAL:  # (A, S, R) is an odd permutation of (S, A, R)
        depth = "away" if depth == "towards" else "towards"
    return depth, vertical, horizontal


def current_view(viewer: ViewerModel) -> tuple[str | None, str | None]:
    """Return the current view and convention; None for other orientations."""
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
    """Return the point looked at, (3,): where the slices meet, or the middle of the canvas if that is outside."""
    space = _space(viewer)
    point = np.array([viewer.dims.point[axis] for axis in space], dtype=float)
    displayed, ndisplay = viewer.dims.displayed, viewer.dims.ndisplay
    center = np.array(viewer.scene.camera.center[-ndisplay:], dtype=float)
    half = np.array(viewer.canvas.viewbox_size(viewer.layers), dtype=float) / 2 / viewer.scene.camera.zoom
    reach = half if ndisplay == 2 else [half.min()] * 3
    seen = [one for one in zip(displayed, center, reach, strict=True) if one[0] in space]  # time may be displayed
    if any(abs(point[axis - space[0]] - middle) > far for axis, middle, far in seen):
        for axis, middle, _ in seen:
            point[axis - space[0]] = middle
    return point


def _fitting(viewer: ViewerModel, extent: np.ndarray) -> float:
    """Return the zoom that fits an extent, (ndim,) in world units, to the canvas."""
    shown = extent[list(viewer.dims.displayed)]
    up, right = screen_directions(viewer)
    size = np.maximum([np.abs(up) @ shown, np.abs(right) @ shown], 1e-6)
    return float((1 - _MARGIN) * np.min(np.array(viewer.canvas.viewbox_size(viewer.layers)) / size))


def screen_directions(viewer: ViewerModel) -> tuple[np.ndarray, np.ndarray]:
    """Return up and right on the canvas, as unit vectors along the displayed axes."""
    camera = viewer.scene.camera
    depth, vertical, horizontal = (str(one) for one in camera.orientation)
    signs = (1 if vertical == "up" else -1, 1 if horizontal == "right" else -1)
    if viewer.dims.ndisplay == 2:
        return np.array([signs[0], 0.0]), np.array([0.0, signs[1]])
    ahead = -1 if depth == "towards" else 1
    view, up = np.array(camera.view_direction), np.array(camera.up_direction)
    home = np.cross([ahead, 0, 0], [0, signs[0], 0])  # along the horizontal axis if all angles are 0
    return up, np.cross(view, up) * (signs[1] * home[2])


def _space(viewer: ViewerModel) -> list[int]:
    return list(range(viewer.dims.ndim - 3, viewer.dims.ndim))


FLUID = {24: "CSF"}
"""It hides the brain from outside."""

_followers: WeakKeyDictionary[ViewerModel, dict[type, Any]] = WeakKeyDictionary()


class ViewerFollower:
    """Follows a viewer, one object per viewer and class; it does not keep the viewer alive."""

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = ref(viewer)
        self._widgets = 0

    @classmethod
    def of(cls, viewer: ViewerModel) -> Self:
        own = _followers.setdefault(viewer, {})
        if cls not in own:
            own[cls] = cls(viewer)
        return own[cls]

    def hold(self) -> None:
        self._widgets += 1

    def release(self) -> None:
        self._widgets -= 1


class Surfaces(ViewerFollower):
    """Shows labels as surfaces in 3D: opaque, without scan and fluid; undoes that when slices are shown again."""

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__(viewer)
        self._hidden: list[Layer] = []
        self._opacities: dict[Labels, float] = {}
        self._fluid: dict[Labels, list[int]] = {}
        viewer.dims.events.ndisplay.connect(self._on_ndisplay)

    def show(self) -> None:
        """Show new labels as surfaces; what the user changed since stays."""
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
    """Return the labels of fluid that a layer shows among others."""
    names = names_of(layer)
    fluid = [value for value, name in FLUID.items() if names.get(value) == name]
    others = visible_among(layer, set(names) - {0, *fluid})
    return [value for value in fluid if others and is_visible(layer, value)]


def _is_solid_labels(layer: Layer) -> bool:
    if not layer.visible or layer.ndim < 3 or not hasattr(layer, "selected_label"):
        return False
    return not isinstance(layer.data, np.ndarray) or bool(layer.data.any())


def _is_solid_image(layer: Layer) -> bool:
    return bool(layer.visible and layer.ndim >= 3 and hasattr(layer, "contrast_limits_range"))
