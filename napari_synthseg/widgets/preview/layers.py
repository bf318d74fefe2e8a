"""The layers of previews: added once, then updated in place. Previews take turns on the canvas."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels, Points
from napari.utils.colormaps import label_colormap as object_colormap
from qtpy.QtCore import QObject, Signal

from napari_synthseg.widgets.layers.geometry import add_unselected
from napari_synthseg.widgets.layers.labels_layer import OPACITY, label_colormap, label_features, labels_kwargs
from napari_synthseg.widgets.preview.pictures import Picture, ScenePrompts, Shown
from napari_synthseg.widgets.view.view import AXIAL, anatomical_view, current_view, look_at_layer, set_view

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

MARK = "napari_synthseg_preview"
"""Key in the metadata of a preview's layers; its value is the layer's role."""
FEW_VOXELS = 2
"""A quick look may be this much larger or smaller than its label map."""


def is_ours(layer: Layer) -> bool:
    return MARK in layer.metadata


class PreviewLayers(QObject):
    """An Image and a Labels layer for pictures, named such as "Synthetic scan" and "Synthetic labels"."""

    image_word, labels_word = "scan", "labels"
    removed = Signal()  # the user deleted one of the two

    def __init__(self, viewer: ViewerModel, name: str, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._viewer, self._name = viewer, name
        self.image: Layer | None = self._adopted(self.image_word)
        self.labels: Layer | None = self._adopted(self.labels_word)
        self._limits: tuple[float, float] | None = None
        self._values: set[int] = set()
        viewer.layers.events.removed.connect(self._on_removed)

    def show(self, picture: Picture, *, labels_visible: bool) -> None:
        """Show a picture; its labels on its image if `labels_visible`, always without an image."""
        point, takes_over = self._viewer.dims.point, self.takes_over()
        for layer in self._other_previews():
            layer.visible = False
        for layer in self._own():
            layer.visible = True  # napari does not update the extent of a hidden layer
        if picture.image is not None:
            self._show_image(picture.image, picture.record)
        if picture.labels is not None:
            self._show_labels(picture.labels)
        if self.image is not None:
            self.image.visible = picture.image is not None
        if self.labels is not None:
            self.labels.visible = picture.labels is not None and (labels_visible or picture.image is None)
            self.labels.opacity = OPACITY if picture.image is not None else 1.0
        if len(point) == self._viewer.dims.ndim and any(point):
            self._viewer.dims.point = point  # a change of the grid may have moved it
        if takes_over:
            self._go_there()

    def takes_over(self) -> bool:
        """Return whether the canvas shows another preview, or this one has no layers yet."""
        return not self._own() or any(layer.visible for layer in self._other_previews())

    def _own(self) -> list[Layer]:
        return [layer for layer in (self.image, self.labels) if layer is not None]

    def _other_previews(self) -> list[Layer]:
        return [layer for layer in self._viewer.layers if is_ours(layer) and layer not in self._own()]

    def set_labels_visible(self, visible: bool) -> None:
        """Show or hide the labels; they stay if there is no image."""
        if self.labels is not None and self.image is not None and self.image.visible:
            self.labels.visible = visible

    def _go_there(self) -> None:
        """Look at the picture alone, unless a visible layer has the same place."""
        ours = self._own()
        others = [layer for layer in self._viewer.layers if layer.visible and layer not in ours]
        if any(_share_place(layer, ours[0]) for layer in others):
            return
        for layer in others:
            layer.visible = False
        if current_view(self._viewer)[0] is None:  # turned for a 2D picture, or never
            set_view(self._viewer, AXIAL)
        look_at_layer(self._viewer, ours[0])

    def _show_image(self, shown: Shown, record: dict[str, Any]) -> None:
        name, kwargs = self._placed(self.image_word, shown, synthesis=record)
        if self.image is None:
            layer = Image(shown.data, name=name, colormap="gray", contrast_limits=shown.limits, **kwargs)
            self.image = self._added(layer, below=self.labels)
        else:
            refill(self.image, shown.data, kwargs)
        if self._limits != shown.limits:
            self.image.contrast_limits_range = self.image.contrast_limits = self._limits = shown.limits

    def _show_labels(self, shown: Shown) -> None:
        volumes = shown.volumes_mm3 or {}
        name, kwargs = self._placed(self.labels_word, shown)
        if self.labels is None:
            layer = Labels(shown.data, name=name, **kwargs, **labels_kwargs(volumes, volumes))
            self.labels = self._added(layer)
            self._values = set(volumes)
            return
        if not set(volumes) <= self._values:
            self._values |= set(volumes)
            self.labels.colormap = label_colormap(self._values)
        refill(self.labels, shown.data, kwargs)
        self.labels.features = label_features(volumes, volumes)

    def _placed(self, word: str, shown: Shown, **more: Any) -> tuple[str, dict[str, Any]]:
        name = f"{self._name} {word}"
        return name, {**shown.geometry, "metadata": {**shown.geometry["metadata"], MARK: name, **more}}

    def _added(self, layer: Layer, below: Layer | None = None) -> Layer:
        first = not len(self._viewer.layers)
        add_unselected(self._viewer, layer, None if below is None else self._viewer.layers.index(below))
        if first:
            anatomical_view(self._viewer)  # there was no view of the user's yet
        return layer

    def _adopted(self, word: str) -> Layer | None:
        mark = f"{self._name} {word}"
        return next((layer for layer in self._viewer.layers if layer.metadata.get(MARK) == mark), None)

    def _on_removed(self, event: Any) -> None:
        if event.value is self.image:
            self.image, self._limits = None, None
        elif event.value is self.labels:
            self.labels = None
        else:
            return
        self.removed.emit()


def _share_place(one: Layer, other: Layer) -> bool:
    if min(one.ndim, other.ndim) < 3:
        return False
    voxel = np.maximum(one.extent.step[-3:], other.extent.step[-3:])
    apart = np.abs(one.extent.world[:, -3:] - other.extent.world[:, -3:])
    return bool((apart <= FEW_VOXELS * voxel).all())


def refill(layer: Layer, data: np.ndarray, kwargs: dict[str, Any]) -> None:
    """Update voxels and geometry of a layer, in the order in which its extent never shrinks in between."""
    coarser = bool(np.prod(kwargs["scale"]) > np.prod(layer.scale))
    if not coarser:
        layer.data = data
    for name in ("scale", "translate"):
        if not np.array_equal(getattr(layer, name), kwargs[name]):
            setattr(layer, name, kwargs[name])
    if coarser:
        layer.data = data
    layer.metadata = kwargs["metadata"]


# Discs inside, crosses outside: the difference needs no color. Colors of Okabe and Ito.
SYMBOLS = ("cross", "disc")
COLORS = ("#d55e00", "#009e73")
MOST_COLORS = 64
POINT_SIZE = 1 / 64  # of the longer side


class SceneLayers(PreviewLayers):
    """An Image, a Labels and a Points layer of a scene; shows all objects or only the target."""

    image_word, labels_word = "scene", "objects"
    points_word = "prompts"

    def __init__(self, viewer: ViewerModel, name: str, parent: QObject | None = None) -> None:
        super().__init__(viewer, name, parent)
        self.points: Layer | None = self._adopted(self.points_word)
        self._objects_visible = self._target_visible = False

    def show(self, picture: Picture, *, labels_visible: bool) -> None:
        if takes_over := self.takes_over():
            _make_room(self._viewer)
        super().show(picture, labels_visible=labels_visible)
        if takes_over and self.image is not None:
            _look_at(self._viewer, self.image)
        self._objects_visible = labels_visible
        if picture.prompts is not None and picture.image is not None:
            self._show_prompts(picture.prompts, max(picture.image.data.shape))
        self._choose()

    def set_labels_visible(self, visible: bool) -> None:
        self._objects_visible = visible
        self._choose()

    def set_target_visible(self, visible: bool) -> None:
        self._target_visible = visible
        self._choose()

    def _choose(self) -> None:
        if self.labels is not None:
            self.labels.visible = self._objects_visible or self._target_visible
            self.labels.show_selected_label = not self._objects_visible
        if self.points is not None:
            self.points.visible = self._target_visible

    def _show_image(self, shown: Shown, record: dict[str, Any]) -> None:
        super()._show_image(replace(shown, geometry={**shown.geometry, "units": _units(self._viewer)}), record)

    def _show_labels(self, shown: Shown) -> None:
        name, kwargs = self._placed(self.labels_word, shown)
        kwargs["units"] = _units(self._viewer)
        if self.labels is None:
            colors = object_colormap(MOST_COLORS)
            self.labels = self._added(Labels(shown.data, name=name, colormap=colors, opacity=OPACITY, **kwargs))
        else:
            refill(self.labels, shown.data, kwargs)
        self.labels.features = shown.table

    def _show_prompts(self, prompts: ScenePrompts, longer: int) -> None:
        if self.labels is not None:
            self.labels.selected_label = prompts.target
        if self.points is None:
            name = f"{self._name} {self.points_word}"
            place = {"axis_labels": ("row", "column"), "units": _units(self._viewer), "metadata": {MARK: name}}
            points = Points(np.zeros((0, 2)), ndim=2, name=name, border_color="white", **place)
            self.points = self._added(points)
        which = prompts.inside.astype(int)
        self.points.data = np.zeros((0, 2))  # napari keeps the symbols of removed points otherwise
        self.points.data = prompts.points.astype(float)
        self.points.features = {"point": [("outside", "inside")[i] for i in which]}
        if len(which):
            self.points.symbol = [SYMBOLS[i] for i in which]
            self.points.face_color = [COLORS[i] for i in which]
            self.points.size = longer * POINT_SIZE
        self.points.selected_data = set()

    def _own(self) -> list[Layer]:
        return [*super()._own(), *([self.points] if self.points is not None else [])]

    def _go_there(self) -> None:
        """Do nothing: `show` looks at the scene."""

    def _on_removed(self, event: Any) -> None:
        if event.value is self.points:
            self.points = None
            self.removed.emit()
        super()._on_removed(event)


def _make_room(viewer: ViewerModel) -> None:
    """Show nothing else, in two dimensions, the first row on top."""
    if not len(viewer.layers):
        return
    for layer in viewer.layers:
        layer.visible = False
    viewer.dims.ndisplay = 2
    viewer.dims.order = tuple(range(viewer.dims.ndim))
    viewer.scene.camera.orientation = ("towards", "down", "right")


def _look_at(viewer: ViewerModel, image: Layer) -> None:
    """Fit an image to the canvas; napari's own fit includes hidden layers."""
    size = np.array(image.data.shape)
    viewer.scene.camera.center = (0.0, *(size / 2 - 0.5))
    viewer.scene.camera.zoom = float(0.95 * np.min(np.array(viewer.canvas.viewbox_size(viewer.layers)) / size))


def _units(viewer: ViewerModel) -> tuple[str, ...]:
    """Return the units of another layer: a scene has none, and napari warns if units differ."""
    other = next((layer for layer in viewer.layers if layer.ndim >= 2), None)
    return ("pixel", "pixel") if other is None else tuple(str(unit) for unit in other.units[-2:])
