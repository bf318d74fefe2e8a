"""Layers of an object before it is accepted: outline, points, boxes, and one to draw scribbles and lassos in.

Accepted objects are filled, others are outlines; points inside are discs, those outside crosses, so that no color is
needed to tell them apart. The colors are of Okabe and Ito's set for the color-blind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from napari.layers import Labels, Points, Shapes
from napari.layers.base import ActionType
from napari.utils.colormaps import DirectLabelColormap
from qtpy.compat import isalive
from qtpy.QtCore import QObject, QTimer, Signal

from napari_synthseg.prompting.prompts import Box
from napari_synthseg.widgets._shared.controls import listen
from napari_synthseg.widgets.layers.geometry import METADATA_KEY, add_unselected, kept_with
from napari_synthseg.widgets.prompt.model import Draft, Place
from napari_synthseg.widgets.prompt.pointing import image_shape
from napari_synthseg.widgets.segment.model import LOCKED

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image, Layer

    from napari_synthseg.widgets.prompt.prompting import Prompting

PENDING = (0.94, 0.89, 0.26, 1.0)  # yellow
INSIDE, OUTSIDE = (0.0, 0.62, 0.45, 1.0), (0.84, 0.37, 0.0, 1.0)  # bluish green, vermilion
MARK = "prompt"
"""Key in the metadata of the layers made here."""
POINT_PX = (2, 14)
"""Smallest and largest size of a point on the screen; the points are large, so that they have the largest."""
PER_OUTLINE_PX = 400
"""An outline is a pixel wide for every so many pixels of the image's longer side."""
GEOMETRY = (*LOCKED, "axis_labels")
PARTS = ("outline", "points", "box")


def is_ours(layer: Layer) -> bool:
    return MARK in kept_with(layer)


def geometry_of(layer: Layer) -> dict[str, Any]:
    """Keyword arguments that put a new layer of the same dimensions exactly where this one lies."""
    return {name: getattr(layer, name) for name in GEOMETRY}


class Work:
    """A draft and its layers on an image; each layer is there only while it has something to show."""

    def __init__(self, viewer: ViewerModel, image: Image, draft: Draft) -> None:
        self._viewer, self.image, self.draft = viewer, image, draft
        self._drawn: list[tuple[list[float], bool]] = []
        self.outline: Labels | None = None
        self.points: Points | None = None
        self.box: Shapes | None = None

    def show(self, dragged: tuple[Place, Box] | None = None) -> None:
        self.show_outline()
        self._show_points()
        self.show_box(dragged)

    def remove(self) -> None:
        for name in PARTS:
            self._remove(name)

    def forget(self, layer: Layer) -> bool:
        """React to a layer that the user removed; return whether it was the object itself."""
        gone = next((name for name in PARTS if getattr(self, name) is layer), "")
        if gone:
            setattr(self, gone, None)
        return gone == "outline"

    def show_outline(self) -> None:
        if self.outline is None and not self.draft.steps:
            return
        if self.outline is None or self.outline.data is not self.draft.voxels:
            self._remove("outline")
            colors = {1: PENDING, None: (0, 0, 0, 0)}
            self.outline = self._added(
                Labels(
                    self.draft.voxels,
                    name="Current object",
                    colormap=DirectLabelColormap(color_dict=colors),
                    opacity=1.0,
                    **self._kwargs(),
                )
            )
            self.outline.contour = max(1, round(max(image_shape(self.image)[-2:]) / PER_OUTLINE_PX))
        self.outline.refresh()

    def _show_points(self) -> None:
        found = [
            (_at(place, position), inside)
            for place in self.draft.prompted()
            for position, inside in zip(
                self.draft.prompts(place).points, self.draft.prompts(place).positive, strict=True
            )
        ]
        if not found:
            self._remove("points")
            return
        if self.points is not None and found == self._drawn:
            return
        self._drawn = found
        data = np.array([position for position, _ in found])
        if self.points is None:
            layer = Points(
                data,
                name="Points inside and outside",
                ndim=self.image.ndim,
                size=max(image_shape(self.image)) / 10,
                border_width=0.08,
                border_color="white",
                canvas_size_limits=POINT_PX,
                out_of_slice_display=False,
                **self._kwargs(),
            )
            self.points = self._added(layer)
        else:
            self.points.selected_data = set()
            self.points.data = data
        self.points.symbol = ["disc" if inside else "x" for _, inside in found]
        self.points.face_color = [INSIDE if inside else OUTSIDE for _, inside in found]

    def show_box(self, dragged: tuple[Place, Box] | None) -> None:
        boxes = {place: box for place in self.draft.prompted() if (box := self.draft.prompts(place).box) is not None}
        boxes |= {dragged[0]: dragged[1]} if dragged is not None else {}
        if not boxes:
            self._remove("box")
            return
        data = [_corners(place, box) for place, box in boxes.items()]
        if self.box is None:
            self.box = self._added(Shapes(ndim=self.image.ndim, name="Boxes", **self._kwargs()))
        self.box.selected_data = set()
        self.box.data = []
        width = line_width(self._viewer, self.image)
        self.box.add_rectangles(data, edge_color=[PENDING], face_color="transparent", edge_width=width)

    def _kwargs(self) -> dict[str, Any]:
        return {**geometry_of(self.image), "metadata": {METADATA_KEY: {MARK: True}}}

    def _added(self, layer: Layer) -> Any:
        add_unselected(self._viewer, layer)
        self._viewer.layers.link_layers([self.image, layer], LOCKED)
        return layer

    def _remove(self, name: str) -> None:
        layer = getattr(self, name)
        setattr(self, name, None)  # first: it is not the user who removes it
        if layer is not None and layer in self._viewer.layers:
            self._viewer.layers.remove(layer)


def line_width(viewer: ViewerModel, image: Image) -> float:
    """Return the width of a line that is two pixels of the screen wide, as it is zoomed now."""
    scale = float(np.mean(np.abs(np.asarray(image.scale)[-2:])))
    return 2.0 / max(viewer.scene.camera.zoom * scale, 1e-6)


def _at(place: Place, position: tuple[float, float]) -> list[float]:
    inside = iter(position)
    return [next(inside) if at is None else float(at) for at in place]


def _corners(place: Place, box: Box) -> np.ndarray:
    row0, column0, row1, column1 = box
    ring = ((row0, column0), (row0, column1), (row1, column1), (row1, column0))
    return np.array([_at(place, corner) for corner in ring])


Tool = Literal["scribble", "lasso"]
MODES = {"scribble": "add_path", "lasso": "add_polygon_lasso"}
NAME = "Scribbles and lassos"


class DrawingTool(QObject):
    """Gives the mouse a drawing tool of napari's Shapes layer: a path is a scribble, a polygon a lasso."""

    changed = Signal()  # another tool is in hand, or none

    def __init__(self, viewer: ViewerModel, prompting: Prompting, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._viewer, self._prompting = viewer, prompting
        self.layer: Shapes | None = None
        self.tool: Tool | None = None
        listen(self, DrawingTool._on_layer_removed, viewer.layers.events.removed)

    def take(self, tool: Tool | None) -> None:
        """Take a tool in hand; None puts it away and removes the layer."""
        found = self._prompting.ready() if tool is not None else None
        self.tool = tool if found is not None else None
        if self.tool is None or found is None:
            layer, self.layer = self.layer, None
            if layer is not None and layer in self._viewer.layers:
                self._viewer.layers.remove(layer)
            self.changed.emit()
            return
        image = found[0].image
        if self.layer is None:
            ours = {METADATA_KEY: {MARK: True}}
            self.layer = Shapes(ndim=image.ndim, name=NAME, metadata=ours, **geometry_of(image))
            self._viewer.layers.append(self.layer)
            self.layer.events.data.connect(self._on_data)
        self._viewer.layers.selection.active = self.layer
        self.layer.current_edge_color = INSIDE if self._prompting.positive else OUTSIDE
        self.layer.current_face_color = "transparent"
        self.layer.current_edge_width = line_width(self._viewer, image)
        self.layer.mode = MODES[self.tool]
        self.changed.emit()

    def _on_data(self, event: Any) -> None:
        if event.action == ActionType.ADDED:
            QTimer.singleShot(0, self._hand_over)  # napari is still finishing the shape

    def _hand_over(self) -> None:
        """Hand over the shape that was drawn, and empty the layer."""
        if not isalive(self) or self.layer is None or not self.layer.data:
            return
        corners, kind = np.asarray(self.layer.data[-1]), self.layer.shape_type[-1]
        with self.layer.events.data.blocker():
            self.layer.data = []
        tool: Tool = "lasso" if kind in ("polygon", "rectangle", "ellipse") else "scribble"
        self._prompting.draw(tool, corners)
        if self.layer is not None:
            self._viewer.layers.selection.active = self.layer
            self.layer.mode = MODES[self.tool or tool]

    def _on_layer_removed(self, event: Any) -> None:
        if event.value is self.layer:
            self.layer = self.tool = None
            self.changed.emit()
