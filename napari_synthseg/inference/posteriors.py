"""Posteriors of a head, kept small: float16, only around the brain, put on a grid one channel or plane at a time."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch

from napari_synthseg.atomic_io import placed
from napari_synthseg.inference.grid import OutputGrid, inside, interpolate, is_exact
from napari_synthseg.inference.postprocess import hard_labels
from napari_synthseg.io import FileHeader
from napari_synthseg.io.formats.nifti import header_for
from napari_synthseg.jobs import checkpoint
from napari_synthseg.volume import Box, Volume, bounding_box


@dataclass(frozen=True)
class Posteriors:
    """Soft labels on a grid that reaches beyond where they are known; elsewhere all is background."""

    data: torch.Tensor
    """(K, X, Y, Z) float16 or float32 at the working spacing."""
    start: tuple[int, int, int]
    """Voxel of the working image where `data` begins."""
    values: tuple[int, ...]
    """FreeSurfer value of each channel, background first."""
    grid: OutputGrid
    """The grid to give them on, as it lies in the working image."""

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(X, Y, Z, K) on the grid."""
        return (*self.grid.shape, len(self.values))

    def labels(self, hard: np.ndarray | None = None) -> Volume:
        """Return the labels on the grid: interpolated posteriors, then argmax; exact where voxels coincide.

        `hard` are the (X, Y, Z) labels of `data`, if they are known already.
        """
        hard = hard_labels(self.data, self.values) if hard is None else hard
        where, coordinates = self._run(bounding_box(hard > 0, margin=1))
        if all(is_exact(c) for c in coordinates):
            x, y, z = (np.clip(np.rint(c).astype(int), 0, n - 1) for c, n in zip(coordinates, self._size, strict=True))
            found = hard[np.ix_(x, y, z)]
        else:
            found = self._interpolated_labels(coordinates)
        return Volume(self.grid.place(found, where, np.dtype(np.int16)), self.grid.affine)

    def nearest(self, values: np.ndarray) -> np.ndarray:
        """Return any array on the voxels of `data` on the grid: the value of the nearest voxel, 0 beyond."""
        where, coordinates = self._run()
        x, y, z = (np.clip(np.rint(c).astype(int), 0, n - 1) for c, n in zip(coordinates, self._size, strict=True))
        return self.grid.place(values[np.ix_(x, y, z)], where, values.dtype)

    def channel(self, value: int) -> Volume:
        """Return one structure's posteriors on the grid, float32.

        Raises:
            ValueError: the network does not predict this value.
        """
        if value not in self.values:
            raise ValueError(f"There are no posteriors of {value}; the network predicts {self.values}.")
        k = self.values.index(value)
        where, coordinates = self._run()
        part = self.data[k].float()
        for axis in range(3):
            checkpoint()
            part = interpolate(part, axis, coordinates[axis])
        if k == 0:
            part -= 1
        out = self.grid.place(part.numpy(), where, np.dtype(np.float32))
        return Volume(out + 1 if k == 0 else out, self.grid.affine)

    @property
    def _size(self) -> tuple[int, ...]:
        return tuple(self.data.shape[1:])

    def _run(self, box: Box | None = None) -> tuple[list[slice], list[np.ndarray]]:
        """Return the grid's voxels in a box of `data` (all of it), by working axis, and their coordinates in `data`."""
        box = box or tuple(slice(0, n) for n in self._size)  # type: ignore[assignment]
        every = [self.grid.coordinates(axis) - self.start[axis] for axis in range(3)]
        where = [inside(c, side.start, side.stop - side.start) for c, side in zip(every, box, strict=True)]  # type: ignore[arg-type]
        return where, [c[run] for c, run in zip(every, where, strict=True)]

    def _interpolated_labels(self, coordinates: Sequence[np.ndarray]) -> np.ndarray:
        x, y, z = coordinates
        out = np.zeros((len(x), len(y), len(z)), np.int16)
        low = np.clip(np.floor(x), 0, self._size[0] - 1).astype(int)
        table = np.asarray(self.values, np.int16)
        for i, first in enumerate(low):
            checkpoint()
            plane = self.data[:, first : first + 2].float()
            plane = interpolate(plane, 1, x[i : i + 1] - first)[:, 0]
            small, large = (1, 2) if len(y) <= len(z) else (2, 1)
            plane = interpolate(plane, small, coordinates[small])
            plane = interpolate(plane, large, coordinates[large])
            out[i] = table[plane.argmax(0).numpy()]
        return out

    def write(self, path: Path | str, header: FileHeader | None = None) -> None:
        """Write a 4D NIfTI (X, Y, Z, K), 8 bits with slope 1/255, channel after channel, so that memory stays small.

        The file appears complete or not at all; space, units and extensions are those of the scan's header.
        """
        path = Path(path)
        out = header_for(self.shape, np.uint8, self.grid.affine, header)
        out["descrip"] = b"posteriors, channels sorted by FreeSurfer value"
        out["cal_min"], out["cal_max"] = 0, 0
        out.set_slope_inter(1 / 255, 0)
        level = 3 if path.name.endswith(".gz") else None
        with placed(path) as part, part.open("wb") as plain, _compressing(plain, level) as file:
            out.write_to(file)
            for value in self.values:
                channel = self.channel(value).data
                file.write(np.rint(channel * 255).astype(np.uint8).tobytes(order="F"))


def _compressing(file: BinaryIO, level: int | None) -> AbstractContextManager[BinaryIO]:
    """Compress on the way into a file (no name and time in it, so that equal content gives equal files), or not."""
    if level is None:
        return nullcontext(file)
    return gzip.GzipFile("", "wb", level, file, mtime=0)  # type: ignore[return-value]
