"""Prompts on one slice, the marked slices of a volume, and a volume as slices along any axis. No torch here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from napari_synthseg.errors import InputError

Point = tuple[float, float]
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Prompts:
    """Prompts of one object on one image; positions are (row, column)."""

    points: tuple[Point, ...] = ()
    positive: tuple[bool, ...] = ()
    """For each point, whether it is inside."""
    box: Box | None = None
    """Two corners: row0, column0, row1, column1."""
    mask: np.ndarray | None = field(default=None, compare=False)
    """(rows, columns), bool; or the probability of inside, 0-1."""

    def with_points(self, points: Iterable[Point], positive: bool) -> Prompts:
        """Return these prompts with further points, all inside or all outside."""
        added = tuple(points)
        return replace(self, points=(*self.points, *added), positive=(*self.positive, *(bool(positive) for _ in added)))

    @property
    def ask(self) -> bool:
        """Whether there is an object to answer: points outside alone name none."""
        return any(self.positive) or self.box is not None or self.mask is not None

    @property
    def kind(self) -> str:
        """Return "mask", else "box", else "outside" if any point is, else "inside"."""
        if self.mask is not None:
            return "mask"
        return "box" if self.box is not None else "inside" if all(self.positive) else "outside"


@dataclass(frozen=True, eq=False)
class Anchor:
    """A slice of a volume that the user marked."""

    mask: np.ndarray
    """(rows, columns), bool. Empty: the object is not there, and propagation stops before this slice."""
    prompts: Prompts = field(default_factory=Prompts)
    """The prompts that led to the mask."""


WINDOW = (0.5, 99.5)
"""Percentiles of the finite values that become black and white."""
MOST_VALUES = 2**22
"""Voxels of a volume, evenly chosen, that its percentiles are estimated from."""


def percentiles(values: np.ndarray) -> tuple[float, float]:
    """Return black and white of finite values; the extremes if the percentiles are equal."""
    low, high = (float(value) for value in np.percentile(values, WINDOW))
    return (low, high) if high > low else (float(values.min()), float(values.max()))


def window_of(volume: np.ndarray) -> tuple[float, float] | None:
    """Return the values that become black and white in all slices of a volume: percentiles of the whole volume.

    Args:
        volume: (X, Y, Z), or (X, Y, Z, 3 or 4) in colour, or a slice of one; any kind of numbers.

    Returns:
        None for bytes, which are shown as they are.
    """
    if volume.dtype == np.uint8:
        return None
    step = max(1, round((volume.size / MOST_VALUES) ** (1 / 3)))
    values = volume[(slice(None, None, step),) * min(3, volume.ndim)].astype(np.float32)
    values = values[np.isfinite(values)]
    return percentiles(values) if values.size else None


def brightness(image: np.ndarray, window: tuple[float, float] | None) -> np.ndarray:
    """Return (rows, columns) float64 with black 0 and white 1 (0 and 255 without a window); colors are averaged."""
    gray = image.astype(np.float64) if image.ndim == 2 else image[..., :3].mean(-1, dtype=np.float64)
    low, high = window or (0.0, 255.0)
    return (gray - low) / max(high - low, float(np.finfo(np.float32).tiny))


Window = tuple[float, float] | Literal["each"] | None
"""Values that become black and white in all slices; None: percentiles of the whole volume; "each": of each slice."""


@dataclass(frozen=True, eq=False)
class Planes:
    """A volume as slices across one of its axes.

    A slice's rows and columns are the two other axes, in their order: across axis 1 of (X, Y, Z) they are X and Z.

    Raises:
        InputError: it is no volume, or has no such axis.
    """

    volume: np.ndarray
    """(X, Y, Z), or (X, Y, Z, 3 or 4) in color; any kind of numbers."""
    axis: int
    """Axis across which the slices lie, 0-2."""
    spacing: Sequence[float] = (1.0, 1.0, 1.0)
    """Distances between voxels along each axis, in any unit."""
    window: Window = None
    """Values that become black and white; by default those of `window_of`."""

    def __post_init__(self) -> None:
        """Check the shape and the axis, and choose the window."""
        shape = self.volume.shape
        if len(shape) not in {3, 4} or (len(shape) == 4 and shape[3] not in {3, 4}) or 0 in shape:
            raise InputError(f"A volume of the shape {shape} has no slices to prompt: give a 3D one.")
        if self.axis not in {0, 1, 2}:
            raise InputError(f"A volume has the axes 0, 1 and 2, not {self.axis}.")
        if self.window is None:
            object.__setattr__(self, "window", window_of(self.volume))

    def __len__(self) -> int:
        return self.volume.shape[self.axis]

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of a slice."""
        rows, columns = (self.volume.shape[axis] for axis in self._others)
        return rows, columns

    @property
    def pixel(self) -> tuple[float, float]:
        """Height and width of a pixel."""
        height, width = (float(self.spacing[axis]) for axis in self._others)
        return height, width

    @property
    def step(self) -> float:
        """Distance between slices."""
        return float(self.spacing[self.axis])

    @property
    def common_window(self) -> tuple[float, float] | None:
        """Values that become black and white in all slices; None if each has its own, and for bytes."""
        return None if self.window == "each" else self.window

    def window_at(self, index: int) -> tuple[float, float] | None:
        """Values that become black and white on a slice; None for bytes, which are shown as they are."""
        return window_of(self.image(index)) if self.window == "each" else self.window

    def image(self, index: int) -> np.ndarray:
        """A slice (rows, columns), or (rows, columns, 3 or 4) in colour: a view."""
        return self.volume[(slice(None),) * self.axis + (index,)]

    def stack(self, masks: dict[int, np.ndarray]) -> np.ndarray:
        """Stack masks of slices (rows, columns) to an object (X, Y, Z), bool."""
        whole = np.zeros(self.volume.shape[:3], bool)
        for index, mask in masks.items():
            whole[(slice(None),) * self.axis + (index,)] = mask
        return whole

    @property
    def _others(self) -> list[int]:
        return [axis for axis in range(3) if axis != self.axis]
