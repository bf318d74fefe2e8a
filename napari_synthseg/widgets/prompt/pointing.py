"""Pointing: keys, clicks and boxes on the canvas, and where on a layer's slice the pointer is.

Places are exactly as napari draws them: of a turned or sheared layer it draws the part of the transform that the
displayed axes have, so that part is used here. The world may be in another unit than the layer (mm beside µm).
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pint
from napari.components import ViewerModel
from napari.components._viewer_mouse_bindings import double_click_to_zoom

from napari_synthseg.widgets.layers.geometry import layer_matrix
from napari_synthseg.widgets.prompt.model import Place

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.components import Dims
    from napari.layers import Layer

KEYS = {
    "point": "Q",
    "polarity": "T",
    "undo": "Control-Z",
    "redo": "Control-Shift-Z",
    "discard": "R",
    "follow": "G",
    "accept": "A",
}
"""Keys of the viewer by the name of the action, while the widget is open."""


def bind_keys(viewer: ViewerModel, act: Callable[[str], Any]) -> None:
    """Let the keys call `act(name)`, except those that are bound already."""
    for name, key in KEYS.items():

        def press(viewer: ViewerModel, name: str = name) -> None:
            act(name)

        press.__annotations__ = {}  # napari would look for the type where there is none
        with suppress(ValueError):  # is bound
            viewer.bind_key(key, press)


def release_keys(viewer: ViewerModel) -> None:
    for key in KEYS.values():
        viewer.bind_key(key, None)


STILL_PX = 4
"""A press that moves less than so many pixels of the screen is a click."""
LEFT = 1
CROSS, STANDARD = "cross", "standard"  # of napari's cursors


class Pointer:
    """Listens to a viewer's canvas while it is `on`; everything is as before once it is off.

    `hand` gets a `click`, and boxes while they are drawn (`drag_box`) and then (`drop_box`), in world coordinates; its
    `busy_layer` tells whether a layer's own tool has the mouse.
    """

    def __init__(self, viewer: ViewerModel, hand: Any) -> None:
        self._viewer, self._hand = viewer, hand
        self._zoomed_by_double_click = False

    @property
    def on(self) -> bool:
        return self._on_press in self._viewer.mouse_drag_callbacks

    def start(self) -> None:
        """Listen. Two quick clicks are two clicks: they do not zoom meanwhile."""
        if self.on:
            return
        self._viewer.mouse_drag_callbacks.append(self._on_press)
        self._zoomed_by_double_click = double_click_to_zoom in self._viewer.mouse_double_click_callbacks
        if self._zoomed_by_double_click:
            self._viewer.mouse_double_click_callbacks.remove(double_click_to_zoom)
        self._viewer.cursor.events.style.connect(self._on_cursor)
        self._on_cursor()

    def stop(self) -> None:
        if not self.on:
            return
        self._viewer.mouse_drag_callbacks.remove(self._on_press)
        if self._zoomed_by_double_click:
            self._viewer.mouse_double_click_callbacks.append(double_click_to_zoom)
        self._viewer.cursor.events.style.disconnect(self._on_cursor)
        if self._viewer.cursor.style == CROSS:
            self._viewer.cursor.style = STANDARD

    def _on_cursor(self, event: Any = None) -> None:
        if self._viewer.cursor.style == STANDARD:
            self._viewer.cursor.style = CROSS

    def _on_press(self, viewer: ViewerModel, event: Any) -> Generator[None, None, None]:
        if event.button != LEFT or self._hand.busy_layer() is not None:
            return
        modifiers = {str(getattr(one, "name", one)) for one in event.modifiers}
        pressed, first = np.array(event.pos), tuple(event.position)
        boxing = "Shift" in modifiers
        moved = 0.0
        yield
        while event.type == "mouse_move":
            moved = max(moved, float(np.abs(np.array(event.pos) - pressed).max()))
            if boxing and moved > STILL_PX:
                self._hand.drag_box(first, tuple(event.position))
            yield
        if moved <= STILL_PX:
            self._hand.click(first, outside=bool(modifiers & {"Control", "Alt", "Meta"}))
        elif boxing:
            self._hand.drop_box(first, tuple(event.position))


# Slices


@dataclass(frozen=True)
class ShownSlice:
    """A slice of a layer, as it is shown; `through` is the axis of the main slider, None if there are no sliders."""

    place: Place
    through: int | None

    def index_of(self, place: Place) -> int | None:
        """Return the index of a slice of this view; None for a slice of another one."""
        pairs = zip(place, self.place, strict=True)
        same = all(at == there if axis != self.through else at is not None for axis, (at, there) in enumerate(pairs))
        return place[self.through] if same and self.through is not None else None


def image_shape(layer: Layer) -> tuple[int, ...]:
    shape = tuple(int(length) for length in layer.data.shape)
    return shape[:-1] if getattr(layer, "rgb", False) else shape


def problem_of(layer: Layer, dims: Dims) -> str | None:
    """Say in one sentence why nothing can be pointed at on a layer; None if it can."""
    name = f'"{layer.name}"'
    if getattr(layer, "multiscale", False):
        return f"{name} is multiscale; open it with one resolution to point at something in it."
    if np.dtype(layer.dtype).kind == "c":
        return f"{name} holds complex numbers; choose their magnitude."
    if layer.ndim < 2 or 0 in image_shape(layer):
        return f"{name} has no pixels; choose another image."
    if not layer.visible:
        return f"{name} is hidden; show it to point at something in it."
    if dims.ndisplay != 2:
        return "Objects are pointed at on slices; go back from 3D to 2D."
    if shown(layer, dims) is None:
        return f"{name} has no slice here; move the sliders to where it lies."
    return None


def shown(layer: Layer, dims: Dims) -> ShownSlice | None:
    """The slice of a layer that is shown; None where it has none at the sliders' position."""
    order = _order(layer, dims)
    hidden = order[:-2]
    place: list[int | None] = [None] * layer.ndim
    if hidden:
        try:
            inverse = np.linalg.inv(_matrix(layer, dims))
        except np.linalg.LinAlgError:  # flattened by its transform: nothing of it is drawn
            return None
        point = np.asarray(dims.point, dtype=float)[-layer.ndim :]
        index = inverse[np.ix_(hidden, hidden)] @ point[hidden] + inverse[hidden, -1]
        for axis, at in zip(hidden, np.round(index), strict=True):
            if not 0 <= at < layer.data.shape[axis]:
                return None
            place[axis] = int(at)
    return ShownSlice(tuple(place), hidden[-1] if hidden else None)


def position(layer: Layer, dims: Dims, world: Sequence[float], *, clip: bool = False) -> tuple[float, float] | None:
    """Return the (row, column) on the shown slice of a position of the pointer.

    Outside the image that is None, or with `clip` the nearest pixel; None too if the layer's transform flattens it.
    """
    axes = _order(layer, dims)[-2:]
    matrix = _matrix(layer, dims)
    there = np.array([world[axis] for axis in dims.displayed[-2:]], dtype=float)
    try:
        at = np.linalg.solve(matrix[np.ix_(axes, axes)], there - matrix[axes, -1])
    except np.linalg.LinAlgError:
        return None
    on = {
        axis: np.clip(value, 0, layer.data.shape[axis] - 1) if clip else value
        for axis, value in zip(axes, at, strict=True)
    }
    if not all(-0.5 <= on[axis] < layer.data.shape[axis] - 0.5 for axis in axes):
        return None
    row, column = (float(on[axis]) for axis in sorted(axes))
    return row, column


def spacing(layer: Layer) -> tuple[float, ...]:
    """The distance between voxels along each axis, in the layer's world."""
    matrix = layer_matrix(layer)
    lengths = np.linalg.norm(matrix[:-1, :-1], axis=0)
    return tuple(float(length) if length > 0 else 1.0 for length in lengths)


def same_grid(one: Layer, other: Layer) -> bool:
    if image_shape(one) != image_shape(other):
        return False
    difference = np.abs(layer_matrix(one) - layer_matrix(other))
    return bool((difference <= 1e-3 * min(spacing(one))).all())


def _order(layer: Layer, dims: Dims) -> list[int]:
    first = dims.ndim - layer.ndim
    return [axis - first for axis in dims.order if axis >= first]


def _matrix(layer: Layer, dims: Dims) -> np.ndarray:
    """(n + 1, n + 1) from the index in the array to the world that the viewer shows."""
    matrix = layer_matrix(layer)
    if dims.units is None:
        return matrix
    registry = pint.get_application_registry()
    for axis, (of_layer, of_world) in enumerate(zip(layer.units, dims.units[-layer.ndim :], strict=True)):
        if of_layer != of_world:
            matrix[axis] *= float(registry.get_base_units(of_layer)[0] / registry.get_base_units(of_world)[0])
    return matrix
