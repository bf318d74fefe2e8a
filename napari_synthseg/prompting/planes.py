"""The slices of a volume along any axis, as images of one kind: the same window and true proportions in all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from napari_synthseg.errors import InputError
from napari_synthseg.prompting.window import window_of

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
    """(X, Y, Z), or (X, Y, Z, 3 or 4) in colour; any kind of numbers."""
    axis: int
    """Which axis the slices lie across, 0-2."""
    spacing: Sequence[float] = (1.0, 1.0, 1.0)
    """Distance between voxels along each axis, in any unit."""
    window: Window = None
    """Values that become black and white; by default those of `window_of`. "each": each slice has its own."""

    def __post_init__(self) -> None:
        """Refuse what has no slices, and choose the window."""
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
        """From one slice to the next."""
        return float(self.spacing[self.axis])

    @property
    def common_window(self) -> tuple[float, float] | None:
        """Values that become black and white in all slices; None where each has its own, and for bytes."""
        return None if self.window == "each" else self.window

    def window_at(self, index: int) -> tuple[float, float] | None:
        """Values that become black and white on a slice; None for bytes, which are shown as they are."""
        return window_of(self.image(index)) if self.window == "each" else self.window

    def image(self, index: int) -> np.ndarray:
        """A slice (rows, columns), or (rows, columns, 3 or 4) in colour: a view."""
        return self.volume[(slice(None),) * self.axis + (index,)]

    def stack(self, masks: dict[int, np.ndarray]) -> np.ndarray:
        """The object (X, Y, Z), bool, that masks of slices (rows, columns) make."""
        whole = np.zeros(self.volume.shape[:3], bool)
        for index, mask in masks.items():
            whole[(slice(None),) * self.axis + (index,)] = mask
        return whole

    @property
    def _others(self) -> list[int]:
        return [axis for axis in range(3) if axis != self.axis]
