"""What makes a file unusable, said in one sentence that names it and what to do."""

from __future__ import annotations

import gzip
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from napari_synthseg.errors import InputError

logger = logging.getLogger(__name__)

SPACING_MM = (0.05, 20.0)
"""Distances between voxels that a head scan can have."""

MOST_NON_FINITE = 0.5
"""A larger share of NaN or infinite voxels makes a scan unusable; up to it they become 0, with a warning."""

MOST_BYTES = 1 << 36
"""More than this in one volume (64 GiB) is a broken header."""


@contextmanager
def reading(path: Path, form: str) -> Iterator[None]:
    """Turns whatever a reader of foreign formats raises on broken files into an `InputError`.

    The libraries document no common class: nibabel, zlib, pynrrd, pydicom and struct all raise their own.
    """
    try:
        yield
    except InputError:
        raise
    except PermissionError as error:
        raise InputError(f"{path} may not be read: ask for permission, or copy it to a folder of your own.") from error
    except MemoryError as error:
        raise InputError(f"{path} does not fit into memory: crop or downsample it first.") from error
    except Exception as error:
        raise InputError(
            f"{path} cannot be read as {form}, it seems damaged or incomplete ({one_line(error)}): "
            "copy, download or convert it again."
        ) from error


def check_gzip(path: Path) -> None:
    """Reads a compressed file to its end, where its checksum stands, which readers of just the voxels never reach.

    Raises:
        OSError, EOFError, zlib.error: the file is damaged or incomplete.
    """
    with gzip.open(path) as file:
        while file.read(1 << 20):
            pass


def one_line(error: BaseException) -> str:
    """An exception's message on one line, not too long, without a full stop at its end."""
    text = " ".join(str(error).split()).rstrip(".").replace(". ", "; ") or type(error).__name__
    return text if len(text) <= 120 else text[:117] + "..."


def check_affine(path: Path, affine: np.ndarray) -> np.ndarray:
    """The affine as (4, 4) float64, once it is known to be one of a scan.

    Raises:
        InputError: it is not finite, singular, or its spacing is absurd.
    """
    affine = np.asarray(affine, np.float64)
    if not np.isfinite(affine).all():
        raise InputError(f"{path} has an affine with NaN or infinite numbers: repair its header, or convert it again.")
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    if (spacing == 0).any():
        raise InputError(f"{path} has a spacing of 0 mm along an axis: repair its header, or convert it again.")
    if abs(np.linalg.det(affine[:3, :3] / spacing)) < 1e-3:
        raise InputError(
            f"{path} has a singular affine, that puts all voxels into one plane: repair its header, or convert it."
        )
    low, high = SPACING_MM
    if (spacing < low).any() or (spacing > high).any():
        text = " x ".join(f"{s:.4g}" for s in spacing)
        raise InputError(
            f"{path} has an absurd spacing of {text} mm (expected {low:g} to {high:g} mm): "
            "check the units of its header."
        )
    return affine


def check_shape(path: Path, shape: tuple[int, ...], itemsize: int = 4) -> None:
    """Refuses shapes that are no volume.

    Raises:
        InputError: not 3D, empty, a single slice, or larger than any scan.
    """
    text = " x ".join(str(n) for n in shape)
    if len(shape) != 3:
        raise InputError(f"{path} has {len(shape)} dimension(s) ({text}): give a 3D scan.")
    if min(shape) == 0:
        raise InputError(f"{path} holds no voxels ({text}): copy, download or convert it again.")
    if min(shape) == 1:
        raise InputError(f"{path} is a single slice ({text}): give a 3D scan.")
    if np.prod([float(n) for n in shape]) * itemsize > MOST_BYTES:
        raise InputError(f"{path} claims to have {text} voxels, which no scan has: repair its header.")


class SeveralVolumes(InputError):
    """A file holds several volumes, `count`, and none was chosen."""

    def __init__(self, message: str, count: int) -> None:
        super().__init__(message)
        self.count = count


def choose_index(path: Path, count: int, index: int | None) -> int:
    """Which of the `count` volumes of a file to read.

    Raises:
        InputError: there are several and none was chosen, or the chosen one is not there.
    """
    if index is None:
        if count == 1:
            return 0
        raise SeveralVolumes(f"{path} holds {count} volumes: choose one by its index, 0 to {count - 1}.", count)
    if not 0 <= index < count:
        there = "only volume 0" if count == 1 else f"volumes 0 to {count - 1}"
        raise InputError(f"{path} has no volume {index}: it holds {there}.")
    return index


def plain_array(path: Path, data: np.ndarray) -> np.ndarray:
    """The voxels in native byte order and a type that every library knows: float32, or an integer of at most 32 bits.

    Raises:
        InputError: colours, complex numbers or other things that are no grey values.
    """
    check_type(path, data.dtype)
    kind = data.dtype.kind
    if kind == "b":
        return data.astype(np.uint8)
    if kind == "f":
        with np.errstate(over="ignore"):
            return data.astype(np.float32, copy=False)
    if data.dtype.itemsize > 4 or data.dtype == np.dtype(np.uint32).newbyteorder(data.dtype.byteorder):
        low, high = (data.min(), data.max()) if data.size else (0, 0)
        fits = low >= -(2**31) and high < 2**31
        return data.astype(np.int32 if fits else np.float32)
    return data.astype(data.dtype.newbyteorder("="))


def check_type(path: Path, dtype: np.dtype) -> None:
    """Refuses voxels that are no grey values.

    Raises:
        InputError: colours, complex numbers or other things.
    """
    if dtype.kind == "V" or dtype.names:
        raise InputError(f"{path} holds colours, not grey values: convert it to a single channel.")
    if dtype.kind == "c":
        raise InputError(f"{path} holds complex numbers: save their magnitude.")
    if dtype.kind not in "biuf":
        raise InputError(f"{path} holds no numbers (type {dtype}): convert it again.")


def exact_array(path: Path, data: np.ndarray) -> np.ndarray:
    """The voxels as they stand in the file, in native byte order; only what no display knows gets another type.

    Raises:
        InputError: as `check_type`.
    """
    check_type(path, data.dtype)
    if data.dtype.kind == "b":
        return data.astype(np.uint8)
    if data.dtype.kind == "f" and data.dtype.itemsize not in (4, 8):
        return data.astype(np.float32 if data.dtype.itemsize < 4 else np.float64)
    return data.astype(data.dtype.newbyteorder("="), copy=False)


def finite(path: Path, data: np.ndarray) -> np.ndarray:
    """The data with NaN and infinities set to 0, with a warning.

    Raises:
        InputError: more than half of the voxels are not finite.
    """
    if data.dtype.kind != "f":
        return data
    bad = ~np.isfinite(data)
    count = int(np.count_nonzero(bad))
    if count > MOST_NON_FINITE * data.size:
        share = 100 * count / data.size
        raise InputError(
            f"{path} has NaN or infinity in {share:.0f}% of its voxels: export it again, or set them to 0."
        )
    if count:
        logger.warning("%s has NaN or infinity in %d voxels, taken as 0.", path, count)
        return np.where(bad, data.dtype.type(0), data)
    return data


def check_contrast(path: Path, data: np.ndarray) -> None:
    """Refuses an image in which there is nothing to see.

    Raises:
        InputError: all voxels have the same value.
    """
    low, high = data.min(), data.max()
    if low == high:
        raise InputError(f"{path} is empty, all its voxels are {low:g}: export it again.")
