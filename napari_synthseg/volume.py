"""A volume is an array and an affine; here is its geometry: reorientation, resampling, crop, pad.

Voxel centers lie on integer indices, so voxel i of an axis covers [i - 0.5, i + 0.5]. Interpolation clamps within the
outer half voxel and gives `fill` beyond it. Grids that are parallel to each other are resampled one axis at a time, and
copied where they agree up to axis swaps, flips and whole-voxel shifts; only oblique grids need full 3D resampling.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from nibabel.orientations import aff2axcodes, io_orientation
from scipy import ndimage

from napari_synthseg import resampling
from napari_synthseg.errors import InputError
from napari_synthseg.resampling import GRID_TOLERANCE

MOST_VOXELS = 5e8
"""Voxels that a volume may have after it was resampled (2 GB in 32 bits): 0.5 x 0.5 x 2 m at 1 mm."""
MOST_MM = 5000.0
"""Length of a volume whose unit can be right: no scanner sees more than 3 m."""


@dataclass(frozen=True, eq=False)
class Volume:
    """A 3D array with its place in the world.

    Raises:
        InputError: the array is not 3D, or the affine is not an invertible 4x4.
    """

    data: np.ndarray
    """(X, Y, Z)"""
    affine: np.ndarray
    """(4, 4) float64: voxel index to RAS+ millimetres."""

    def __post_init__(self) -> None:
        data = np.asarray(self.data)
        affine = np.array(self.affine, np.float64)
        if data.ndim != 3:
            raise InputError(f"A volume has 3 dimensions, not {data.ndim} (shape {data.shape}).")
        if affine.shape != (4, 4) or not np.isfinite(affine).all() or _is_singular(affine):
            raise InputError("The affine of a volume must be an invertible 4x4 matrix of finite numbers.")
        affine.flags.writeable = False
        object.__setattr__(self, "data", data)
        object.__setattr__(self, "affine", affine)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(X, Y, Z), voxels."""
        return self.data.shape  # type: ignore[return-value]

    @property
    def spacing(self) -> np.ndarray:
        """(3,) distance between voxel centers along each array axis, mm."""
        return np.linalg.norm(self.affine[:3, :3], axis=0)

    @property
    def voxel_mm3(self) -> float:
        """Volume of one voxel, mm^3 (exact for sheared grids too)."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    @property
    def axcodes(self) -> tuple[str, str, str]:
        """Direction each array axis points to, such as `("R", "A", "S")`."""
        return aff2axcodes(self.affine)

    def with_data(self, data: np.ndarray) -> Volume:
        """Another array (X, Y, Z) on the same grid."""
        return Volume(data, self.affine)


def _is_singular(affine: np.ndarray) -> bool:
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    return bool((lengths <= 0).any() or abs(np.linalg.det(affine[:3, :3] / lengths)) < 1e-6)


def free_host_memory() -> int | None:
    """Return the bytes of main memory that can still be taken; None if that cannot be told.

    On Linux the smaller of what the machine has left and what the control group of this process may still take;
    elsewhere half of the machine's memory, since other programs have some of it.
    """
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        left = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration, ValueError):
        try:
            return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
        except (AttributeError, OSError, ValueError):
            return None
    group = Path("/sys/fs/cgroup")
    try:
        limit = int((group / "memory.max").read_text())
        used = int((group / "memory.current").read_text())
    except (OSError, ValueError):  # no control group, or one without a limit ("max")
        return left
    return min(left, limit - used)


def same_grid(a: Volume, b: Volume, *, tolerance: float = GRID_TOLERANCE) -> bool:
    """Whether both volumes have the same shape and no voxel center differs by more than `tolerance` voxels."""
    if a.shape != b.shape:
        return False
    return _largest_shift(np.linalg.solve(a.affine, b.affine) - np.eye(4), a.shape) <= tolerance


def to_canonical(v: Volume) -> Volume:
    """The volume with its array axes nearest to right, anterior, superior: swaps and flips only.

    The data is a view, often with negative strides: torch wants `np.ascontiguousarray` of it.
    """
    return Volume(canonical_array(v.data, v.affine), v.affine @ np.linalg.inv(_turn(v.shape, v.affine)))


def canonical_array(data: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """A view of an array (X, Y, Z) or (X, Y, Z, T) as `to_canonical` turns a volume of that affine."""
    order, steps = _canonical_axes(affine)
    return data.transpose(*order, *range(3, data.ndim))[tuple(slice(None, None, step) for step in steps)]


def undo_canonical(data: np.ndarray, affine: np.ndarray, source: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The inverse of `to_canonical`, for an array that may have been cropped or moved since.

    Args:
        data: (R, A, S) or (R, A, S, T), in the order `to_canonical` gave it.
        affine: (4, 4) of `data`, wherever it lies now.
        source: (4, 4) affine of the volume that was made canonical; only the directions of its axes count.

    Returns:
        A view of the array in the order of the source, and its affine.
    """
    order, steps = _canonical_axes(source)
    flipped = data[tuple(slice(None, None, step) for step in steps)]
    turned = flipped.transpose(*np.argsort(order), *range(3, data.ndim))
    return turned, affine @ _turn(turned.shape[:3], source)


def _canonical_axes(affine: np.ndarray) -> tuple[list[int], list[int]]:
    """For each of the axes R, A, S: which array axis is nearest to it, and 1 or -1 for its direction."""
    orientation = io_orientation(affine)
    order = [int(axis) for axis in np.argsort(orientation[:, 0])]
    return order, [1 if orientation[axis, 1] > 0 else -1 for axis in order]


def _turn(shape: Sequence[int], affine: np.ndarray) -> np.ndarray:
    """(4, 4) from the index in an array of that shape and affine to the index in its canonical view."""
    turn = np.eye(4)
    turn[:3, :3] = 0
    for row, (axis, step) in enumerate(zip(*_canonical_axes(affine), strict=True)):
        turn[row, axis] = step
        if step < 0:
            turn[row, 3] = shape[axis] - 1
    return turn


def check_extent(v: Volume, spacing_mm: float | Sequence[float] | np.ndarray = 1.0, name: str = "The scan") -> None:
    """Refuse a volume that would take unbounded memory at another spacing, mostly one whose unit is wrong.

    Args:
        v: the volume.
        spacing_mm: one number or one per array axis, mm.
        name: how the message calls the volume.

    Raises:
        InputError: it is longer than `MOST_MM`, or would have more than `MOST_VOXELS`, and more than it has now.
    """
    size = np.array(v.shape) * v.spacing
    count = float(np.prod(size / np.asarray(spacing_mm, np.float64)))
    if size.max() > MOST_MM or count > max(MOST_VOXELS, 1.01 * float(np.prod(v.shape))):
        text = " x ".join(f"{length / 1000:.3g}" for length in size)
        raise InputError(f"{name} extends over {text} m: check its scale or unit, or crop it.")


def resample_image(v: Volume, spacing_mm: float | Sequence[float], *, antialias: bool = True) -> Volume:
    """The image at another spacing, over the same field of view (the outer faces of the first voxels coincide).

    Linear resampling. With `antialias`, axes that get coarser are first blurred by a Gaussian of 0.25 new voxels, as
    the reference SynthSeg does at prediction; unlike there, axes that keep their spacing are left alone.

    Args:
        v: the image.
        spacing_mm: the new spacing, one number or one per array axis, mm.
        antialias: blur before downsampling.

    Returns:
        A float32 volume of shape ceil(shape x old spacing / new spacing).

    Raises:
        ValueError: a spacing is not positive.
        InputError: the volume extends too far for it.
    """
    spacing = np.broadcast_to(np.asarray(spacing_mm, np.float64), (3,))
    if not (spacing > 0).all():
        raise ValueError(f"The spacing to resample to must be positive, not {spacing_mm} mm.")
    factor = spacing / v.spacing
    factor = np.where(np.abs(factor - 1) < 1e-4, 1.0, factor)
    check_extent(v, spacing)
    shape = np.maximum(np.ceil(np.array(v.shape) / factor - 1e-3), 1).astype(int)
    affine = v.affine.copy()
    affine[:3, :3] = v.affine[:3, :3] * factor
    affine[:3, 3] = v.affine[:3, :3] @ ((factor - 1) / 2) + v.affine[:3, 3]
    data = np.asarray(v.data, np.float32)
    if antialias and (factor > 1).any():
        data = ndimage.gaussian_filter(data, np.where(factor > 1, 0.25 * factor, 0.0))
    axes = [np.arange(n) * f + (f - 1) / 2 for n, f in zip(shape, factor, strict=True)]
    # The last voxel may reach beyond the field of view: hold the edge, as the reference does.
    coordinates = [np.minimum(axis, n - 1) for axis, n in zip(axes, v.shape, strict=True)]
    return Volume(resampling.linear_axes(data, coordinates, fill=0.0), affine)


def resample_to(v: Volume, shape: Sequence[int], affine: np.ndarray, *, order: int = 1, fill: float = 0.0) -> Volume:
    """The volume on another grid.

    Args:
        v: what to resample.
        shape: (X, Y, Z) of the new grid.
        affine: (4, 4) of the new grid, voxel index to RAS mm.
        order: 0 nearest, 1 linear, 2-5 splines (`scipy.ndimage`); for labels see `resample_labels_to`.
        fill: value outside the field of view of `v`.

    Returns:
        A volume of v's dtype where voxels are copied (order 0, or voxels that coincide), else float32 or float64.

    Raises:
        InputError: the affine cannot be inverted.
    """
    shape, to_source = _grid_mapping(v, shape, affine)
    aligned = _aligned_axes(to_source, shape)
    if aligned is None:
        return Volume(resampling.spline_oblique(v.data, to_source, shape, order, fill), affine)
    axes, coordinates = aligned
    data = v.data.transpose(axes)
    if all(resampling.is_whole(c) for c in coordinates):
        return Volume(resampling.copy_axes(data, [c.astype(int) for c in coordinates], fill), affine)
    if order == 0:
        return Volume(resampling.copy_axes(data, [resampling.nearest_index(c) for c in coordinates], fill), affine)
    if order == 1:
        return Volume(resampling.linear_axes(resampling.as_float(data), coordinates, fill=fill), affine)
    return Volume(resampling.spline_oblique(v.data, to_source, shape, order, fill), affine)


def resample_labels_to(
    v: Volume, shape: Sequence[int], affine: np.ndarray, *, values: Sequence[int] | None = None
) -> Volume:
    """The label map on another grid: linear interpolation of every label's indicator, then argmax.

    Only the at most eight labels around a point can win there, and where all eight agree nothing needs to be computed.
    So the cost does not depend on the number of labels. Ties go to the smallest value, as argmax over sorted channels.

    Args:
        v: the label map; whole numbers of any dtype.
        shape: (X, Y, Z) of the new grid.
        affine: (4, 4) of the new grid, voxel index to RAS mm.
        values: labels to keep; others become background first.

    Returns:
        A label map of v's dtype (int32 if that is not an integer type), 0 outside the field of view of `v`.

    Raises:
        InputError: the affine cannot be inverted.
    """
    shape, to_source = _grid_mapping(v, shape, affine)
    dtype = v.data.dtype if np.issubdtype(v.data.dtype, np.integer) else np.dtype(np.int32)
    labels = resampling.compact_labels(v.data)
    if values is not None:
        labels = resampling.keep_values(labels, values)
    aligned = _aligned_axes(to_source, shape)
    if aligned is None:
        return Volume(resampling.labels_oblique(labels, to_source, shape).astype(dtype), affine)
    axes, coordinates = aligned
    labels = labels.transpose(axes)
    if all(resampling.is_whole(c) for c in coordinates):
        return Volume(resampling.copy_axes(labels, [c.astype(int) for c in coordinates], 0).astype(dtype), affine)
    return Volume(resampling.labels_axes(labels, coordinates).astype(dtype), affine)


def crop(v: Volume, start: Sequence[int], stop: Sequence[int]) -> Volume:
    """The voxels from `start` to `stop` (exclusive) of each axis, a view of the data; the affine follows.

    Raises:
        ValueError: the box is empty or reaches outside the volume (`pad` makes room).
    """
    if any(not 0 <= a < b <= n for a, b, n in zip(start, stop, v.shape, strict=True)):
        raise ValueError(f"The box {tuple(start)} to {tuple(stop)} does not lie in a volume of shape {v.shape}.")
    box = tuple(slice(int(a), int(b)) for a, b in zip(start, stop, strict=True))
    return Volume(v.data[box], _shifted(v.affine, start))


def pad(v: Volume, before: Sequence[int], after: Sequence[int], value: float = 0) -> Volume:
    """The volume with `before` and `after` voxels of `value` added to each axis; the affine follows.

    Raises:
        ValueError: a width is negative.
    """
    widths = [(int(a), int(b)) for a, b in zip(before, after, strict=True)]
    if any(a < 0 or b < 0 for a, b in widths):
        raise ValueError(f"A volume cannot be padded by negative widths ({widths}); use crop.")
    data = np.pad(v.data, widths, constant_values=value)
    return Volume(data, _shifted(v.affine, [-a for a, _ in widths]))


Box = tuple[slice, slice, slice]


def bounding_box(mask: np.ndarray, margin: int = 0) -> Box | None:
    """Return the smallest box around a mask (X, Y, Z), grown by `margin` voxels; None for an empty mask."""
    sides = []
    for axis, n in enumerate(mask.shape):
        inside = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
        if not len(inside):
            return None
        sides.append(slice(max(0, int(inside[0]) - margin), min(n, int(inside[-1]) + 1 + margin)))
    return sides[0], sides[1], sides[2]


def _shifted(affine: np.ndarray, start: Sequence[int]) -> np.ndarray:
    out = affine.copy()
    out[:3, 3] += affine[:3, :3] @ np.asarray(start, np.float64)
    return out


def _grid_mapping(v: Volume, shape: Sequence[int], affine: np.ndarray) -> tuple[tuple[int, int, int], np.ndarray]:
    """The new shape, and the (4, 4) matrix from indices of the new grid to indices of v."""
    x, y, z = (int(n) for n in shape)
    target = Volume(np.broadcast_to(np.zeros(1, np.uint8), (x, y, z)), affine)
    return (x, y, z), np.linalg.solve(v.affine, target.affine)


def _largest_shift(matrix: np.ndarray, shape: Sequence[int]) -> float:
    """Largest |offset| that a (4, 4) matrix of index differences gives over a grid: it is reached in a corner."""
    corners = np.array(list(product(*[(0, max(n - 1, 0)) for n in shape])), np.float64)
    return float(np.abs(corners @ matrix[:3, :3].T + matrix[:3, 3]).max())


def _aligned_axes(to_source: np.ndarray, shape: Sequence[int]) -> tuple[tuple[int, int, int], list[np.ndarray]] | None:
    """Source axis and source coordinates for each axis of the new grid, or None where the grids are not parallel."""
    linear = to_source[:3, :3]
    sources = np.argmax(np.abs(linear), axis=0)
    if sorted(sources.tolist()) != [0, 1, 2]:
        return None
    kept = np.zeros((4, 4))
    kept[sources, range(3)] = linear[sources, range(3)]
    rest = to_source - kept
    rest[:, 3] = 0
    if _largest_shift(rest, shape) > GRID_TOLERANCE:
        return None
    coordinates = [
        resampling.snapped(np.arange(n) * linear[source, axis] + to_source[source, 3])
        for axis, (source, n) in enumerate(zip(sources, shape, strict=True))
    ]
    a, b, c = (int(s) for s in sources)
    return (a, b, c), coordinates
