"""The layers that a scene of shapes is shown in: its image, its objects, and the points given for one of them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels, Points
from napari.utils.colormaps import label_colormap
from qtpy.QtCore import QObject

from napari_synthseg.widgets.layers.labels_layer import OPACITY
from napari_synthseg.widgets.preview.layer_pair import MARK, LayerPair, refill
from napari_synthseg.widgets.preview.pictures import Picture, Prompts, Shown

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

# Discs inside and crosses outside: no colour is needed to tell them apart. Colours of Okabe and Ito.
SYMBOLS = ("cross", "disc")
COLORS = ("#d55e00", "#009e73")
MOST_COLORS = 64
POINT_SIZE = 1 / 64  # of the longer side


class SceneLayers(LayerPair):
    """An Image, a Labels and a Points layer. Of the objects all are shown, or the target alone."""

    image_word, labels_word = "scene", "objects"
    points_word = "prompts"

    def __init__(self, viewer: ViewerModel, name: str, parent: QObject | None = None) -> None:
        super().__init__(viewer, name, parent)
        self.points: Layer | None = self._adopted(self.points_word)
        self._objects_visible = self._target_visible = False

    def show(self, picture: Picture, *, labels_visible: bool) -> None:
        """Show a scene; see `LayerPair.show`."""
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
        """Show all objects, or the target at most."""
        self._objects_visible = visible
        self._choose()

    def set_target_visible(self, visible: bool) -> None:
        """Show the target and the points that are given for it."""
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
        name = f"{self._name} {self.labels_word}"
        kwargs = {**shown.geometry, "units": _units(self._viewer), "metadata": {MARK: name}}
        if self.labels is None:
            colors = label_colormap(MOST_COLORS)
            self.labels = self._added(Labels(shown.data, name=name, colormap=colors, opacity=OPACITY, **kwargs))
        else:
            refill(self.labels, shown.data, kwargs)
        self.labels.features = shown.table

    def _show_prompts(self, prompts: Prompts, longer: int) -> None:
        if self.labels is not None:
            self.labels.selected_label = prompts.target
        if self.points is None:
            name = f"{self._name} {self.points_word}"
            place = {"axis_labels": ("row", "column"), "units": _units(self._viewer), "metadata": {MARK: name}}
            points = Points(np.zeros((0, 2)), ndim=2, name=name, border_color="white", **place)
            self.points = self._added(points)
        which = prompts.inside.astype(int)
        self.points.data = np.zeros((0, 2))  # the looks of the earlier points do not fit fewer ones
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
        """See `_look_at`."""

    def _on_removed(self, event: Any) -> None:
        if event.value is self.points:
            self.points = None
            self.removed.emit()
        super()._on_removed(event)


def _make_room(viewer: ViewerModel) -> None:
    """A scene is flat: it is seen alone, in two dimensions, its first row on top."""
    if not len(viewer.layers):
        return
    for layer in viewer.layers:
        layer.visible = False
    viewer.dims.ndisplay = 2
    viewer.dims.order = tuple(range(viewer.dims.ndim))
    viewer.scene.camera.orientation = ("towards", "down", "right")


def _look_at(viewer: ViewerModel, image: Layer) -> None:
    """napari's own fit would take in the layers that are hidden."""
    size = np.array(image.data.shape)
    viewer.scene.camera.center = (0.0, *(size / 2 - 0.5))
    viewer.scene.camera.zoom = float(0.95 * np.min(np.array(viewer.canvas.viewbox_size(viewer.layers)) / size))


def _units(viewer: ViewerModel) -> tuple[str, ...]:
    """A scene has no size: it takes the units of what else is open, since napari warns where they differ."""
    other = next((layer for layer in viewer.layers if layer.ndim >= 2), None)
    return ("pixel", "pixel") if other is None else tuple(str(unit) for unit in other.units[-2:])
