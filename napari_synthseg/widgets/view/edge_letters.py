"""L, R, A, P, S, I at the edges of napari's canvas: which side of the patient lies there."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary, ref

import numpy as np
from napari.components.overlays import TextOverlay
from psygnal import EmitLoopError

from napari_synthseg.widgets.layers.geometry import AXIS_LABELS
from napari_synthseg.widgets.view.view import screen_directions

if TYPE_CHECKING:
    from napari.components import ViewerModel

EDGES = {"top_center": (0, 1), "bottom_center": (0, -1), "middle_right": (1, 1), "middle_left": (1, -1)}
LETTERS = (("I", "S"), ("P", "A"), ("L", "R"))  # behind and ahead on each of the last three axes
_SLANTED = 0.5  # in 3D an edge has the letter of every axis that runs towards it at least this much
_KEY = "synthseg_{}"

_of_viewer: WeakKeyDictionary[ViewerModel, EdgeLetters] = WeakKeyDictionary()


def edge_letters(viewer: ViewerModel) -> EdgeLetters:
    """The letters of a viewer; there is one set for all widgets."""
    if viewer not in _of_viewer:
        _of_viewer[viewer] = EdgeLetters(viewer)
    return _of_viewer[viewer]


def letters(viewer: ViewerModel) -> dict[str, str]:
    """The letters at each edge of the canvas; all empty where the axes of a layer are not known to be anatomical."""
    if not _is_anatomical(viewer):
        return dict.fromkeys(EDGES, "")
    directions = screen_directions(viewer)
    return {edge: _letters(viewer, sign * directions[which]) for edge, (which, sign) in EDGES.items()}


class EdgeLetters:
    """Keeps four texts on the canvas true, whatever turns the view.

    The overlays belong to the viewer; this object only writes them.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        self._overlays = {}
        self._viewer = ref(viewer)  # the viewer outlives its letters, not the other way round
        self._shown, self._holders = False, 0
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
        """Whether the letters are wanted; there are none while no scan is open."""
        return self._shown

    @visible.setter
    def visible(self, shown: bool) -> None:
        self._shown = shown
        if shown:
            self.update()
        else:
            self._write(dict.fromkeys(EDGES, ""))

    def hold(self) -> None:
        """One more widget shows the letters' switch."""
        self._holders += 1

    def release(self) -> None:
        """One less; without any the letters go, since nothing could switch them off."""
        self._holders -= 1
        if self._holders <= 0:
            with suppress(RuntimeError, EmitLoopError):  # a window that closes takes the canvas away first
                self.visible = False

    def update(self, event: object = None) -> None:
        """Write the letters of the view as it is now."""
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
        return False  # a flat picture, perhaps before hidden scans
    solid = [layer for layer in viewer.layers if layer.ndim >= 3 and hasattr(layer, "contrast_limits_range")]
    solid += [layer for layer in viewer.layers if layer.ndim >= 3 and hasattr(layer, "selected_label")]
    return bool(solid) and all(tuple(layer.axis_labels[-3:]) == AXIS_LABELS for layer in solid)
