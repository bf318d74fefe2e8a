"""Followers of the viewer: letters at the edges of the canvas, and a camera that stays upright."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.components.overlays import TextOverlay
from psygnal import EmitLoopError

from napari_synthseg.widgets.layers.geometry import AXIS_LABELS
from napari_synthseg.widgets.view.view import ViewerFollower, anatomical_view, screen_directions

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

EDGES = {"top_center": (0, 1), "bottom_center": (0, -1), "middle_right": (1, 1), "middle_left": (1, -1)}
LETTERS = (("I", "S"), ("P", "A"), ("L", "R"))  # at the ends of each of the last three axes
_SLANTED = 0.5  # least cosine between an edge and an axis that it names, in 3D
_KEY = "synthseg_{}"


def letters(viewer: ViewerModel) -> dict[str, str]:
    """Return the letters at each edge of the canvas; empty if the axes of a layer may not be anatomical."""
    if not _is_anatomical(viewer):
        return dict.fromkeys(EDGES, "")
    directions = screen_directions(viewer)
    return {edge: _letters(viewer, sign * directions[which]) for edge, (which, sign) in EDGES.items()}


class EdgeLetters(ViewerFollower):
    """Four text overlays of a viewer that name its sides."""

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__(viewer)
        self._overlays, self._shown = {}, False
        for edge in EDGES:
            overlay = TextOverlay(position=edge, font_size=12, visible=False)
            viewer.canvas.overlays[_KEY.format(edge)] = self._overlays[edge] = overlay
        for signal in (
            viewer.dims.events.order,
            viewer.dims.events.ndisplay,
            viewer.dims.events.ndim,
            viewer.scene.camera.events.angles,
            viewer.scene.camera.events.orientation,
            viewer.layers.events.inserted,
            viewer.layers.events.removed,
        ):
            signal.connect(self.update)

    @property
    def visible(self) -> bool:
        """Whether the letters are shown while a scan is open."""
        return self._shown

    @visible.setter
    def visible(self, shown: bool) -> None:
        self._shown = shown
        if shown:
            self.update()
        else:
            self._write(dict.fromkeys(EDGES, ""))

    def release(self) -> None:
        """Forget a widget; without any the letters are hidden."""
        super().release()
        if self._widgets <= 0:
            with suppress(RuntimeError, EmitLoopError):  # a closing window deletes the canvas first
                self.visible = False

    def update(self, event: object = None) -> None:
        """Write the letters of the current view."""
        viewer = self._viewer()
        if self._shown and viewer is not None:
            self._write(letters(viewer))

    def _write(self, texts: dict[str, str]) -> None:
        for edge, overlay in self._overlays.items():
            overlay.text = texts[edge]
            overlay.visible = bool(texts[edge])


def _letters(viewer: ViewerModel, direction: np.ndarray) -> str:
    first = viewer.dims.ndim - 3
    parts = sorted(zip(viewer.dims.displayed, direction, strict=True), key=lambda part: -abs(part[1]))
    there = [LETTERS[axis - first][int(along > 0)] for axis, along in parts if axis >= first and abs(along) >= _SLANTED]
    return "".join(there)


def _is_anatomical(viewer: ViewerModel) -> bool:
    if any(layer.ndim == 2 and layer.visible and hasattr(layer, "contrast_limits_range") for layer in viewer.layers):
        return False  # a 2D picture
    solid = [layer for layer in viewer.layers if layer.ndim >= 3 and hasattr(layer, "contrast_limits_range")]
    solid += [layer for layer in viewer.layers if layer.ndim >= 3 and hasattr(layer, "selected_label")]
    return bool(solid) and all(tuple(layer.axis_labels[-3:]) == AXIS_LABELS for layer in solid)


NAPARI = ("towards", "down", "right")
"""napari's own orientation: rows run down, columns to the right."""


class Upright(ViewerFollower):
    """Gives 2D pictures napari's own orientation, and the first scan an anatomical one while a widget is open."""

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__(viewer)
        self._turned: tuple[tuple[int, ...], tuple[str, ...]] | None = None  # order and orientation of scans
        viewer.dims.events.ndim.connect(self._on_ndim)
        viewer.layers.events.inserted.connect(self._on_inserted, position="last")
        viewer.layers.events.removed.connect(self._on_removed, position="last")

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
        """Turn a scan whose axes are anatomical, unless the user has turned the viewer."""
        untouched = tuple(viewer.dims.order) == tuple(range(viewer.dims.ndim)) and viewer.dims.ndisplay == 2
        if untouched and tuple(layer.axis_labels[-3:]) == AXIS_LABELS:
            anatomical_view(viewer)


def _is_picture(layer: Layer) -> bool:
    return layer.ndim == 2 and hasattr(layer, "contrast_limits_range")
