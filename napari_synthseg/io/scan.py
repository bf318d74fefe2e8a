"""One file as it stands: every volume, every value and the header, so that saving it gives the same file.

`read_volume` gives a network one volume, finite, in a plain type; a `ScanFile` holds everything in the file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

MOST_AT_ONCE = 1 << 31
"""A series of more bytes (2 GiB) is not read at once: its volumes are read when they are asked for."""


@dataclass(frozen=True)
class FileHeader:
    """The header of a file, byte by byte; its format reads it, all others ignore it."""

    form: str
    """Which kind of header: nifti1, nifti2 or mgh."""
    raw: bytes
    extensions: bytes = b""
    """Of NIfTI, as they stand behind the header."""
    labels: bool = False
    """Whether it is to say that the voxels are labels."""

    def for_labels(self) -> FileHeader:
        """Return the header for labels on the grid of this file."""
        return replace(self, labels=True)


@dataclass(frozen=True, eq=False)
class Series:
    """The volumes of a file, not read yet."""

    shape: tuple[int, int, int, int]
    """(X, Y, Z, T)"""
    dtype: np.dtype
    volume: Callable[[int], np.ndarray]
    """Reads a volume (X, Y, Z) by its index."""


@dataclass(frozen=True, eq=False)
class ScanFile:
    """The scan, label map or series of scans in a file."""

    data: np.ndarray | Series
    """(X, Y, Z), or (X, Y, Z, T) for a series; in the type of the file (floats if its numbers are scaled)."""
    affine: np.ndarray
    """(4, 4) float64: voxel index to RAS+ millimetres."""
    step: float | None = None
    """From one volume of a series to the next, s; None if the file does not say."""
    header: FileHeader | None = None
    name: str | None = None
    """The scan's name within the file (DICOM)."""
    is_labels: bool = False
    """Whether the header says that the voxels are labels."""
    volume_names: tuple[str, ...] = ()
    """What tells the volumes of a series apart, such as "echo 2, phase"; empty if the file does not say."""

    source: Path | None = None
    """A file that stands for the scan, if the path that was read holds several."""

    @property
    def count(self) -> int:
        """Number of volumes."""
        return self.data.shape[3] if len(self.data.shape) == 4 else 1

    def volume(self, index: int) -> np.ndarray:
        """Return one volume (X, Y, Z)."""
        if not isinstance(self.data, np.ndarray):
            return self.data.volume(index)
        return self.data if self.data.ndim == 3 else self.data[..., index]

    def loaded(self) -> ScanFile:
        """Return the same with its voxels read, (X, Y, Z) if there is one volume; a long series stays as it is."""
        if isinstance(self.data, np.ndarray):
            return self
        size = int(np.prod(self.data.shape, dtype=np.int64)) * self.data.dtype.itemsize
        if self.count > 1 and size > MOST_AT_ONCE:
            return self
        if self.count == 1:
            return replace(self, data=self.data.volume(0))
        data = np.empty(self.data.shape, self.data.dtype, order="F")
        for index in range(self.count):
            data[..., index] = self.data.volume(index)
        return replace(self, data=data)
