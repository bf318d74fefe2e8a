"""Interpolation of arrays: of images, and of label maps by the argmax of their interpolated indicators.

Two cases: grids parallel to the source, where each axis has its own list of source coordinates, and any others, given
by the 4x4 matrix from the new grid indices to those of the source. Coordinates within the outer half voxel are clamped
to the edge; beyond it lies `fill`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np
from scipy import ndimage

from napari_synthseg.jobs import checkpoint

GRID_TOLERANCE = 1e-3
"""Two grids count as parallel, or the same, when no voxel center is further off than this (voxels)."""

_SLAB_VOXELS = 1 << 21
_LARGEST_TABLE = 1 << 20  # entries of a table that is looked up in place of sorting


def snapped(coordinates: np.ndarray) -> np.ndarray:
    """The coordinates, rounded where all of them are whole numbers but for rounding errors."""
    whole = np.rint(coordinates)
    return whole if np.abs(coordinates - whole).max(initial=0.0) <= GRID_TOLERANCE else coordinates


def is_whole(coordinates: np.ndarray) -> bool:
    """Whether snapped coordinates are all whole numbers."""
    return np.array_equal(coordinates, np.rint(coordinates))


def nearest_index(coordinates: np.ndarray) -> np.ndarray:
    return np.floor(coordinates + 0.5).astype(int)


def _inside(coordinates: np.ndarray, length: int) -> np.ndarray:
    """Which coordinates lie in the field of view: within half a voxel of the first and last center."""
    return (coordinates >= -0.5 - GRID_TOLERANCE) & (coordinates <= length - 0.5 + GRID_TOLERANCE)


def as_float(data: np.ndarray) -> np.ndarray:
    return data if data.dtype == np.float64 else data.astype(np.float32, copy=False)


def copy_axes(data: np.ndarray, indices: Sequence[np.ndarray], fill: float) -> np.ndarray:
    """Voxels of `data` at the product of three index lists, `fill` where an index lies outside."""
    out = data
    whole = True
    for axis, (index, length) in enumerate(zip(indices, data.shape, strict=True)):
        whole &= bool(((index >= 0) & (index < length)).all())
        out = _take(out, np.clip(index, 0, length - 1), axis)
    if whole:
        return np.array(out, order="C")
    out = np.array(out, order="C")
    for axis, (index, length) in enumerate(zip(indices, data.shape, strict=True)):
        out[(slice(None),) * axis + ((index < 0) | (index >= length),)] = fill
    return out


def _take(data: np.ndarray, index: np.ndarray, axis: int) -> np.ndarray:
    """np.take, as a view where the indices are a plain run up or down the axis."""
    step = int(index[1] - index[0]) if len(index) > 1 else 1
    if step != 0 and np.array_equal(index, index[0] + step * np.arange(len(index))):
        stop = index[-1] + step
        run = slice(int(index[0]), None if stop < 0 else int(stop), step)
        return data[(slice(None),) * axis + (run,)]
    return np.take(data, index, axis=axis)


def _linear_weights(coordinates: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lower neighbor, upper neighbor and weight of the upper one, clamped to the axis."""
    clamped = np.clip(coordinates, 0, length - 1)
    lower = np.minimum(np.floor(clamped).astype(np.int64), max(length - 2, 0))
    return lower, np.minimum(lower + 1, length - 1), (clamped - lower).astype(np.float32)


def linear_axes(data: np.ndarray, coordinates: Sequence[np.ndarray], *, fill: float) -> np.ndarray:
    """Linear interpolation at the product of three coordinate lists, one axis after the other, shrinking axes first."""
    out = data
    for axis in sorted(range(3), key=lambda a: len(coordinates[a]) / data.shape[a]):
        lower, upper, weight = _linear_weights(coordinates[axis], data.shape[axis])
        lower, weight = np.where(weight == 1, upper, lower), np.where(weight == 1, 0, weight)  # exact at the last voxel
        out = _lerp(out, lower, upper, weight.astype(out.dtype), axis)
    out = np.array(out, order="C", copy=out is data or not out.flags.owndata or not out.flags.c_contiguous)
    for axis, (c, length) in enumerate(zip(coordinates, data.shape, strict=True)):
        outside = ~_inside(c, length)
        if outside.any():
            out[(slice(None),) * axis + (outside,)] = fill
    return out


def _lerp(data: np.ndarray, lower: np.ndarray, upper: np.ndarray, weight: np.ndarray, axis: int) -> np.ndarray:
    if not weight.any():
        return _take(data, lower, axis)
    shape = [1, 1, 1]
    shape[axis] = len(weight)
    first = np.take(data, lower, axis=axis)
    out = np.take(data, upper, axis=axis)
    out -= first
    out *= weight.reshape(shape)
    out += first
    return out


def _slabs(shape: Sequence[int]) -> Iterator[slice]:
    thickness = max(1, _SLAB_VOXELS // max(1, shape[1] * shape[2]))
    for start in range(0, shape[0], thickness):
        checkpoint()
        yield slice(start, min(start + thickness, shape[0]))


def _oblique_coordinates(to_source: np.ndarray, slab: slice, shape: Sequence[int]) -> list[np.ndarray]:
    """Three (x, Y, Z) float64 arrays: the source coordinates of a slab of the new grid."""
    i = np.arange(slab.start, slab.stop, dtype=np.float64)[:, None, None]
    j = np.arange(shape[1], dtype=np.float64)[None, :, None]
    k = np.arange(shape[2], dtype=np.float64)[None, None, :]
    return [(row[0] * i + row[3]) + row[1] * j + row[2] * k for row in to_source[:3]]


def spline_oblique(
    data: np.ndarray, to_source: np.ndarray, shape: Sequence[int], order: int, fill: float
) -> np.ndarray:
    source = data if order == 0 else as_float(data)
    source = ndimage.spline_filter(source, order, output=source.dtype, mode="nearest") if order > 1 else source
    out = np.empty(shape, source.dtype)
    for slab in _slabs(shape):
        coordinates = _oblique_coordinates(to_source, slab, shape)
        inside = np.ones(coordinates[0].shape, bool)
        for c, n in zip(coordinates, data.shape, strict=True):
            inside &= _inside(c, n)
        points = np.stack([c[inside] for c in coordinates])
        out[slab] = fill
        out[slab][inside] = ndimage.map_coordinates(source, points, order=order, mode="nearest", prefilter=False)
    return out


def compact_labels(data: np.ndarray) -> np.ndarray:
    """Label values in the smallest integer type that holds them."""
    if data.size == 0 or data.dtype in (np.uint8, np.int8, np.bool_):
        return data.view(np.uint8) if data.dtype == np.bool_ else data
    if not np.issubdtype(data.dtype, np.integer):
        data = np.rint(data)
    low, high = data.min(), data.max()
    dtype = np.uint8 if low >= 0 and high < 256 else np.int16 if low >= -32768 and high < 32768 else np.int32
    return data.astype(dtype, copy=False)


def keep_values(labels: np.ndarray, values: Sequence[int]) -> np.ndarray:
    """The labels with every value that is not among `values` set to 0."""
    kept = np.array([0, *values], np.int64)
    bounds = np.iinfo(labels.dtype)
    kept = np.where((kept >= bounds.min) & (kept <= bounds.max), kept, 0)  # a value that cannot occur
    return kept.astype(labels.dtype)[ranks(labels, values)]


def ranks(labels: np.ndarray, values: Sequence[int]) -> np.ndarray:
    """For each voxel the place of its value in `values`, from 1, and 0 where it is none of them.

    Label values can be anything: where a table of all up to the largest would be large, they are looked up by sorting.

    Args:
        labels: whole numbers of an integer type.
        values: different numbers.

    Returns:
        An int32 array of the shape of `labels`.
    """
    low, high = (int(labels.min()), int(labels.max())) if labels.size else (0, 0)
    numbers = {int(value): place + 1 for place, value in enumerate(values)}
    if high - low < _LARGEST_TABLE:
        table = np.zeros(high - low + 1, np.int32)
        for value, number in numbers.items():
            if low <= value <= high:
                table[value - low] = number
        return table[labels if low == 0 else labels.astype(np.int64) - low]
    found, inverse = np.unique(labels, return_inverse=True)
    return np.array([numbers.get(int(value), 0) for value in found], np.int32)[inverse].reshape(labels.shape)


def _mixed_cells(labels: np.ndarray) -> np.ndarray:
    """For each voxel, whether the cell from it to the next voxels of all axes holds more than one label."""
    mixed = np.zeros(labels.shape, bool)
    for axis in range(3):
        here = [slice(None)] * 3
        there = [slice(None)] * 3
        here[axis], there[axis] = slice(None, -1), slice(1, None)
        edges = labels[tuple(here)] != labels[tuple(there)]
        # An edge along one axis belongs to the cells on both its sides along the two others.
        for other in range(3):
            if other != axis:
                lower = [slice(None)] * 3
                upper = [slice(None)] * 3
                lower[other], upper[other] = slice(None, -1), slice(1, None)
                edges[tuple(lower)] |= edges[tuple(upper)]
        mixed[tuple(here)] |= edges
    return mixed


def _winning_labels(labels: np.ndarray, base: Sequence[np.ndarray], weights: Sequence[np.ndarray]) -> np.ndarray:
    """Argmax of the linearly interpolated indicators at N points.

    Args:
        labels: (X, Y, Z) C-contiguous.
        base: three (N,) arrays, the lower neighbors.
        weights: three (N,) float32 arrays, the weights of the upper neighbors.
    """
    flat = labels.reshape(-1)
    strides = [labels.shape[1] * labels.shape[2], labels.shape[2], 1]
    start = base[0] * strides[0] + base[1] * strides[1] + base[2]
    steps = [stride if length > 1 else 0 for stride, length in zip(strides, labels.shape, strict=True)]
    corners = list(product((0, 1), repeat=3))
    found = [flat[start + (c[0] * steps[0] + c[1] * steps[1] + c[2] * steps[2])] for c in corners]
    sides = [(1 - w, w) for w in weights]
    parts = [sides[0][a] * sides[1][b] * sides[2][c] for a, b, c in corners]
    scores = [part.copy() for part in parts]
    for a in range(8):
        for b in range(a):
            equal = found[a] == found[b]
            scores[a] += parts[b] * equal
            scores[b] += parts[a] * equal
    best, best_score = found[0], scores[0]
    for label, score in zip(found[1:], scores[1:], strict=True):
        gain = score - best_score
        better = (gain > 1e-6) | ((gain > -1e-6) & (label < best))
        best = np.where(better, label, best)
        best_score = np.where(better, score, best_score)
    return best


def labels_axes(labels: np.ndarray, coordinates: Sequence[np.ndarray]) -> np.ndarray:
    labels = np.ascontiguousarray(labels)
    mixed = _mixed_cells(labels)
    lower, _, weights = zip(
        *[_linear_weights(c, n) for c, n in zip(coordinates, labels.shape, strict=True)], strict=True
    )
    shape = tuple(len(c) for c in coordinates)
    out = np.empty(shape, labels.dtype)
    for slab in _slabs(shape):
        index = (lower[0][slab], lower[1], lower[2])
        part = labels[index[0]].take(index[1], axis=1).take(index[2], axis=2)
        where = np.flatnonzero(mixed[index[0]].take(index[1], axis=1).take(index[2], axis=2))
        x, y, z = np.unravel_index(where, part.shape)
        part.reshape(-1)[where] = _winning_labels(
            labels, [index[0][x], index[1][y], index[2][z]], [weights[0][slab][x], weights[1][y], weights[2][z]]
        )
        out[slab] = part
    for axis, (c, length) in enumerate(zip(coordinates, labels.shape, strict=True)):
        out[(slice(None),) * axis + (~_inside(c, length),)] = 0
    return out


def labels_oblique(labels: np.ndarray, to_source: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    labels = np.ascontiguousarray(labels)
    mixed = _mixed_cells(labels).reshape(-1)
    out = np.zeros(shape, labels.dtype)
    for slab in _slabs(shape):
        coordinates = _oblique_coordinates(to_source, slab, shape)
        inside = np.ones(coordinates[0].shape, bool)
        for c, n in zip(coordinates, labels.shape, strict=True):
            inside &= _inside(c, n)
        triples = [_linear_weights(c[inside], n) for c, n in zip(coordinates, labels.shape, strict=True)]
        base = [lower for lower, _, _ in triples]
        start = np.ravel_multi_index(base, labels.shape)
        found = labels.reshape(-1)[start]
        where = np.flatnonzero(mixed[start])
        found[where] = _winning_labels(labels, [b[where] for b in base], [w[where] for _, _, w in triples])
        out[slab][inside] = found
    return out
