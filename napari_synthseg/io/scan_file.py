"""One file as a viewer wants it: every volume, every value and the header, so that saving it gives the same file.

`read_volume` gives a network what it can work with: one volume, finite, in a plain type. This gives what is there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from napari_synthseg.io.headers import FileHeader

MOST_AT_ONCE = 1 << 31
"""A series of more bytes (2 GiB) is not read at once: its volumes are read when they are asked for."""


class Series(Protocol):
    """The volumes of a file, none of them read yet."""

    shape: tuple[int, int, int, int]
    """(X, Y, Z, T)"""
    dtype: np.dtype

    def volume(self, index: int) -> np.ndarray:
        """Read one volume (X, Y, Z)."""
        ...


@dataclass(frozen=True, eq=False)
class ScanFile:
    """The scan, label map or series of scans in a file."""

    data: np.ndarray | Series
    """(X, Y, Z), or (X, Y, Z, T) for a series; in the type of the file (floats where its numbers are scaled)."""
    affine: np.ndarray
    """(4, 4) float64: voxel index to RAS+ millimetres."""
    step: float | None = None
    """From one volume of a series to the next, s; None where the file does not say."""
    header: FileHeader | None = None
    name: str | None = None
    """What the file calls the scan, where it does (DICOM)."""
    is_labels: bool = False
    """Whether the header says that the voxels are labels."""
