"""The slice of a layer that the viewer shows, and where on it the pointer is: exactly as napari draws it.

Of a turned or sheared layer napari draws the part of the transform that the displayed axes have, so that part is used
here. World coordinates may be in another unit than the layer's (mm beside µm).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pint

from napari_synthseg.widgets.prompt.model import Place

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.components import Dims
    from napari.layers import Layer


@dataclass(frozen=True)
class ShownSlice:
    """A slice of a layer, as it is shown.

    Attributes:
        place: which slice.
        through: the axis that the main slider moves along; None for an image without sliders.
    """

    place: Place
    through: int | None

    def index_of(self, place: Place) -> int | None:
        """Return the index of a slice of this view; None for a slice of another one."""
        pairs = zip(place, self.place, strict=True)
        same = all(at == there if axis != self.through else at is not None for axis, (at, there) in enumerate(pairs))
        return place[self.through] if same and self.through is not None else None


def image_shape(layer: Layer) -> tuple[int, ...]:
    """The shape of an image's array, without colour channels."""
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
    matrix = _layer_matrix(layer)
    lengths = np.linalg.norm(matrix[:-1, :-1], axis=0)
    return tuple(float(length) if length > 0 else 1.0 for length in lengths)


def same_grid(one: Layer, other: Layer) -> bool:
    if image_shape(one) != image_shape(other):
        return False
    difference = np.abs(_layer_matrix(one) - _layer_matrix(other))
    return bool((difference <= 1e-3 * min(spacing(one))).all())


def _order(layer: Layer, dims: Dims) -> list[int]:
    first = dims.ndim - layer.ndim
    return [axis - first for axis in dims.order if axis >= first]


def _matrix(layer: Layer, dims: Dims) -> np.ndarray:
    """(n + 1, n + 1) from the index in the array to the world that the viewer shows."""
    matrix = _layer_matrix(layer)
    if dims.units is None:
        return matrix
    registry = pint.get_application_registry()
    for axis, (of_layer, of_world) in enumerate(zip(layer.units, dims.units[-layer.ndim :], strict=True)):
        if of_layer != of_world:
            matrix[axis] *= float(registry.get_base_units(of_layer)[0] / registry.get_base_units(of_world)[0])
    return matrix


def _layer_matrix(layer: Layer) -> np.ndarray:
    n = layer.ndim
    matrix = np.eye(n + 1)
    matrix[:n, n] = layer.data_to_world(np.zeros(n))
    for axis, unit in enumerate(np.eye(n)):
        matrix[:n, axis] = np.asarray(layer.data_to_world(unit), dtype=float) - matrix[:n, n]
    return matrix
