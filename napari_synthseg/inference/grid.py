"""How the voxels of the working image (RAS, about 1 mm) lie in the array the user gave, and back.

Reorienting, cropping, resampling and padding never shear or rotate, so the relation is an axis order and one line
`working = scale * given + offset` an axis: going back is separable, and exact where the lines meet integers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch


@dataclass(frozen=True)
class OutputGrid:
    """A grid of voxels seen from the working image."""

    shape: tuple[int, int, int]
    """Voxels along each axis of this grid, in its own axis order."""
    affine: np.ndarray
    """(4, 4) voxel index of this grid -> RAS mm."""
    axes: tuple[int, int, int]
    """For each working axis, the axis of this grid that runs along it."""
    scale: tuple[float, float, float]
    """Working voxels per voxel of this grid, by working axis; negative where the direction is opposite."""
    offset: tuple[float, float, float]
    """Working index of this grid's index 0, by working axis."""

    @classmethod
    def between(cls, working_affine: np.ndarray, affine: np.ndarray, shape: Sequence[int]) -> OutputGrid:
        """Make the grid (`affine`, `shape`), whose axes are parallel to those of the working image."""
        matrix = np.linalg.solve(working_affine, affine)
        axes = tuple(int(axis) for axis in np.abs(matrix[:3, :3]).argmax(1))
        if sorted(axes) != [0, 1, 2]:
            raise ValueError("The two grids are not parallel.")
        scale = tuple(_tidy(matrix[row, axis]) for row, axis in enumerate(axes))
        offset = tuple(_tidy(value) for value in matrix[:3, 3])
        return cls(tuple(int(n) for n in shape), np.array(affine, float), axes, scale, offset)  # type: ignore[arg-type]

    def coordinates(self, axis: int) -> np.ndarray:
        """Return the working coordinate, along working axis `axis`, of each of this grid's voxels."""
        return self.offset[axis] + self.scale[axis] * np.arange(self.shape[self.axes[axis]])

    def reoriented(self, rotation: Reorientation, shape: Sequence[int]) -> OutputGrid:
        """Return the same grid after the working image of this `shape` has been reoriented."""
        scale = [self.scale[axis] for axis in rotation.order]
        offset = [self.offset[axis] for axis in rotation.order]
        for new, (old, flip) in enumerate(zip(rotation.order, rotation.flip, strict=True)):
            if flip:
                scale[new], offset[new] = -scale[new], shape[old] - 1 - offset[new]
        axes = tuple(self.axes[axis] for axis in rotation.order)
        return replace(self, axes=axes, scale=tuple(scale), offset=tuple(offset))  # type: ignore[arg-type]

    def place(self, working: np.ndarray, box: Sequence[slice], dtype: np.dtype) -> np.ndarray:
        """Put an array sampled inside `box` (slices of this grid by working axis) into zeros of this grid's shape."""
        out = np.zeros([self.shape[axis] for axis in self.axes], dtype)
        out[tuple(box)] = working
        return np.ascontiguousarray(out.transpose(np.argsort(self.axes)))


@dataclass(frozen=True)
class Reorientation:
    """One of the 24 rotations by right angles: new axis i is old axis `order[i]`, reversed where `flip[i]`."""

    order: tuple[int, int, int] = (0, 1, 2)
    flip: tuple[bool, bool, bool] = (False, False, False)

    def apply(self, array: np.ndarray) -> np.ndarray:
        """Return the reoriented array (a view)."""
        steps = tuple(slice(None, None, -1) if flip else slice(None) for flip in self.flip)
        return array.transpose(self.order)[steps]

    def affine(self, affine: np.ndarray, shape: Sequence[int]) -> np.ndarray:
        """Return the affine of the reoriented array: every voxel keeps its place in RAS mm."""
        matrix = np.zeros((4, 4))
        matrix[3, 3] = 1
        for new, (old, flip) in enumerate(zip(self.order, self.flip, strict=True)):
            matrix[old, new] = -1 if flip else 1
            matrix[old, 3] = shape[old] - 1 if flip else 0
        return affine @ matrix

    @property
    def is_identity(self) -> bool:
        return self == Reorientation()

    def describe(self) -> str:
        """Describe the reorientation, such as "right-left lies along the header's inferior-superior"."""
        names = (("left", "right"), ("posterior", "anterior"), ("inferior", "superior"))
        parts = []
        for new, (old, flip) in enumerate(zip(self.order, self.flip, strict=True)):
            if new != old or flip:
                low, high = names[old][::-1] if flip else names[old]
                parts.append(f"{names[new][0]}-{names[new][1]} lies along the header's {low}-{high}")
        return "; ".join(parts) or "as the header says"


def reorientations() -> tuple[Reorientation, ...]:
    """Return the 24 rotations (no reflections), the identity first."""
    found = []
    for order in ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)):
        for bits in range(8):
            flip = (bool(bits & 4), bool(bits & 2), bool(bits & 1))
            matrix = np.eye(3)[list(order)] * np.where(flip, -1, 1)[:, None]
            if np.linalg.det(matrix) > 0:
                found.append(Reorientation(order, flip))
    return tuple(found)


def inside(coordinates: np.ndarray, start: int, size: int) -> slice:
    """Return the run of voxels whose coordinates lie within [start - 0.5, start + size - 0.5]; may be empty."""
    hit = np.flatnonzero((coordinates >= start - 0.5) & (coordinates <= start + size - 0.5))
    return slice(int(hit[0]), int(hit[-1]) + 1) if len(hit) else slice(0, 0)


def interpolate(array: torch.Tensor, axis: int, coordinates: np.ndarray) -> torch.Tensor:
    """Interpolate linearly along one axis at the given indices; beyond the ends the end value holds."""
    n = array.shape[axis]
    at = np.clip(coordinates, 0, n - 1)
    low = np.minimum(np.floor(at).astype(np.int64), n - 1)
    weight = at - low
    first = array.index_select(axis, torch.from_numpy(low))
    if not weight.any():
        return first
    second = array.index_select(axis, torch.from_numpy(np.minimum(low + 1, n - 1)))
    shape = [1] * array.ndim
    shape[axis] = -1
    return torch.lerp(first, second, torch.from_numpy(weight).to(array.dtype).view(shape))


def is_exact(coordinates: np.ndarray) -> bool:
    """Return whether the coordinates are integers (to a thousandth of a voxel)."""
    return bool(np.all(np.abs(coordinates - np.round(coordinates)) < 1e-3))


def _tidy(value: float) -> float:
    """Round away the error that floating point adds to whole numbers."""
    return float(round(value)) if abs(value - round(value)) < 1e-6 else float(value)
