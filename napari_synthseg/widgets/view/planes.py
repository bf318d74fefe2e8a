"""Three linked planes beside each other, by the package napari-orthogonal-views; oblique scans are resliced in them.

napari shows an oblique scan along its own axes (see `geometry`). A resliced layer shows it where it lies: slices are
interpolated from the layer's array when they are looked at, so that opening one takes neither time nor memory.
"""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any
from weakref import ref

import numpy as np
from napari.layers import Image, Labels, Layer, Shapes
from napari.utils.notifications import show_info
from qtpy.compat import isalive
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QLabel

from napari_synthseg.errors import InputError
from napari_synthseg.widgets._shared.controls import listen
from napari_synthseg.widgets._shared.user import complain
from napari_synthseg.widgets.layers.geometry import (
    AXIS_LABELS,
    add_unselected,
    layer_affine,
    layer_problem,
    shown_kwargs,
)
from napari_synthseg.widgets.view import view

if TYPE_CHECKING:
    from collections.abc import Sequence

    import napari


RESLICED = "napari_synthseg_resliced"
"""Key in the metadata of a resliced layer: the name of the layer that it shows."""
OBLIQUE = np.sin(np.deg2rad(0.1))
"""Sine of the largest angle between an axis of a scan and one of the patient that is ignored."""
MOST_POINTS = 1 << 21
"""Points interpolated at once."""


class Resliced:
    """An array (S, A, R) along the patient's axes, interpolated from an oblique one on access.

    Args:
        data: (S, A, R) array of the layer.
        affine: (4, 4) from voxel index of the transposed (R, A, S) array to RAS mm.
        order: of the interpolation: 0 for labels, 1 for images.
    """

    ndim = 3

    def __init__(self, data: np.ndarray, affine: np.ndarray, order: int) -> None:
        self._data, self._order, self.dtype = data, order, data.dtype
        spacing = np.linalg.norm(affine[:3, :3], axis=0).min()
        ends = np.array([(-0.5, n - 0.5) for n in data.shape[::-1]])
        corners = affine[:3, :3] @ np.stack(np.meshgrid(*ends, indexing="ij")).reshape(3, -1) + affine[:3, 3:]
        low, size = corners.min(axis=1), np.ptp(corners, axis=1)
        count = np.ceil(size / spacing - 1e-6).astype(int)
        self.affine = np.diag([spacing, spacing, spacing, 1.0])
        self.affine[:3, 3] = low + (size - (count - 1) * spacing) / 2
        self.shape = tuple(int(n) for n in count[::-1])
        self._to_data = (np.linalg.inv(affine) @ self.affine)[[2, 1, 0]][:, [2, 1, 0, 3]]
        """(3, 4) from index (S, A, R) here to index (S, A, R) of the data."""

    @property
    def size(self) -> int:
        return int(np.prod(self.shape))

    def __getitem__(self, key: Any) -> np.ndarray:
        key = (key if isinstance(key, tuple) else (key,)) + (slice(None),) * 3
        axes = [np.arange(n)[one] for n, one in zip(self.shape, key, strict=False)]
        shape = [len(axis) for axis in axes if axis.ndim]
        return self._at([np.atleast_1d(axis) for axis in axes]).reshape(shape)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[:].astype(dtype or self.dtype, copy=False)

    def _at(self, axes: Sequence[np.ndarray]) -> np.ndarray:
        from scipy.ndimage import map_coordinates

        first, others = axes[0], len(axes[1]) * len(axes[2])
        if len(first) > 1 and len(first) * others > MOST_POINTS:
            slabs = np.array_split(first, min(len(first), -(-len(first) * others // MOST_POINTS)))
            return np.concatenate([self._at([slab, *axes[1:]]) for slab in slabs])
        index = np.ix_(*axes)
        places = [sum(m * i for m, i in zip(row[:3], index, strict=True)) + row[3] for row in self._to_data]
        return map_coordinates(self._data, np.broadcast_arrays(*places), self.dtype, self._order, prefilter=False)


def is_oblique(layer: Layer) -> bool:
    """Return whether a layer is a 3D scan or label map that does not lie along the patient's axes."""
    if not isinstance(layer, (Image, Labels)) or layer.ndim != 3 or layer_problem(layer) or RESLICED in layer.metadata:
        return False
    axes = layer_affine(layer)[:3, :3]
    return bool((np.abs(axes / np.linalg.norm(axes, axis=0))[~np.eye(3, dtype=bool)] > OBLIQUE).any())


def reslice(layer: Layer) -> Layer:
    """Return a layer that shows an oblique one along the patient's axes; it follows its array and colormap."""

    def resliced() -> Resliced:
        return Resliced(np.asarray(layer.data), layer_affine(layer), int(isinstance(layer, Image)))

    def follow(event: object = None) -> None:
        if (shown := alive()) is not None:
            shown.data = resliced()

    def follow_colors(event: object = None) -> None:
        if (shown := alive()) is not None:
            shown.colormap = layer.colormap

    _, attributes, kind = layer.as_layer_data_tuple()
    data = resliced()
    place = shown_kwargs(data.shape[::-1], data.affine)
    place["metadata"] |= {RESLICED: layer.name}
    kept = {name: value for name, value in attributes.items() if name not in ("rotate", "shear", "affine")}
    made = Layer.create(data, {**kept, **place, "name": f"{layer.name} (resliced)", "visible": True}, kind)
    made.editable = False
    alive = ref(made)  # the layer outlives it
    layer.events.data.connect(follow)
    layer.events.colormap.connect(follow_colors)
    if isinstance(layer, Labels):
        layer.events.paint.connect(follow)
    return made


NOT_PAINTED = 'Three planes show "{}" resliced, which cannot be painted on; press ⊞ again to paint on it in one plane.'
FIT_MS = 200
"""After which the canvases have their size."""
RIGHT_ORDER = (-1, -3, -2)
"""Axes of the plane on the right: R is its depth, S runs up and A to the right."""


def three_planes(viewer: napari.viewer.Viewer) -> None:
    """Show axial, coronal and sagittal slices with a linked cursor, or one plane again."""
    if viewer.dims.ndim < 3:
        complain(InputError("Open a scan first: a flat picture has one plane."), "Three planes")
        return
    from napari_orthogonal_views import ortho_view_manager  # slow to import

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
    manager.set_sync_filters({Shapes: {"forward_exclude": {"edge_width"}, "reverse_exclude": {"edge_width"}}})
    manager.register_layer_hook(Shapes, _follow_widths)
    manager.show()
    _turn(viewer, manager)


def _follow_widths(layer: Shapes, copy: Shapes) -> list[tuple[Any, Any]]:
    """Link line widths of shapes after the shapes: version 0.5 does it first, an error while one is being drawn."""

    def follow(event: Any = None) -> None:
        if copy.nshapes == layer.nshapes:
            copy.edge_width = layer.edge_width

    follow()
    signals = layer.events.data, layer.events.edge_width
    return [(signal, signal.connect(follow, position="last")) for signal in signals]


def _turn(viewer: napari.viewer.Viewer, manager: Any) -> None:
    """Link the planes, orient each as its own view does, and fit it to its canvas."""
    convention = view.current_view(viewer)[1] or view.convention_preferred()
    view.set_view(viewer, view.AXIAL, convention)
    manager.right_widget.order = RIGHT_ORDER
    manager.update_dims_order()
    for widget, name in ((manager.right_widget, view.SAGITTAL), (manager.bottom_widget, view.CORONAL)):
        _link(viewer, widget)
        widget.vm_container.viewer_model.scene.camera.orientation = view.orientation(name, convention)
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


def _forget_canvases() -> None:
    """Let go of planes that are closed: version 0.5 keeps each canvas's viewer, which refers to its weak key."""
    from napari_orthogonal_views.viewer_utils import _HOVERABLE_CANVASES as kept

    for canvas in [one for one in kept if not isalive(one) or not one.isVisible()]:
        del kept[canvas]


class Reslicer:
    """Shows oblique layers resliced while there are three planes; what is painted on them shows at once."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        self._viewer = ref(viewer)  # the viewer outlives it, not the other way round
        self.resliced: dict[Layer, Layer] = {}
        self._told = False

    def show(self) -> None:
        """Show resliced layers instead of the visible oblique ones, also of those that are added later."""
        viewer = self._viewer()
        if viewer is not None:
            for layer in list(viewer.layers):
                self._replace(viewer, layer)
            self._told = False
            for event, slot in self._slots(viewer):
                event.connect(slot)
            self._on_active()

    def hide(self) -> None:
        """Show the layers themselves again."""
        viewer = self._viewer()
        if viewer is None:
            return
        for event, slot in self._slots(viewer):
            with suppress(ValueError):  # not shown
                event.disconnect(slot)
        for layer, made in self.resliced.items():
            layer.visible = made.visible
            viewer.layers.remove(made)
        self.resliced = {}
        _forget_canvases()

    def _slots(self, viewer: napari.viewer.Viewer) -> tuple[tuple[Any, Any], ...]:
        events = viewer.layers.events
        active = viewer.layers.selection.events.active
        return (events.inserted, self._on_inserted), (events.removed, self._on_removed), (active, self._on_active)

    def _on_active(self, event: Any = None) -> None:
        """Say once, when labels are chosen to paint on, why they cannot be."""
        viewer = self._viewer()
        active = None if viewer is None else viewer.layers.selection.active
        pair = next((pair for pair in self.resliced.items() if active in pair), None)
        if pair is not None and isinstance(active, Labels) and not self._told:
            self._told = True
            show_info(NOT_PAINTED.format(pair[0].name))

    def _replace(self, viewer: napari.viewer.Viewer, layer: Layer) -> None:
        if layer in self.resliced or not layer.visible or not is_oblique(layer):
            return
        self.resliced[layer] = made = reslice(layer)
        add_unselected(viewer, made, viewer.layers.index(layer) + 1)
        layer.visible = False

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
