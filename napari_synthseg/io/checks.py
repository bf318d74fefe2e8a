"""Checks of files: what cannot be used is said in one sentence that names the file and the remedy."""

from __future__ import annotations

import bz2
import logging
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from nibabel.spatialimages import HeaderDataError

from napari_synthseg.errors import InputError
from napari_synthseg.io.formats import BZIP2, GZIP
from napari_synthseg.volume import free_host_memory

logger = logging.getLogger(__name__)

MOST_NON_FINITE = 0.5
"""A larger share of NaN or infinite voxels makes a scan unusable; up to it they become 0, with a warning."""
MOST_PACKED = 1032.0
"""Gzip makes nothing smaller by more than this (258 bytes in 2 bits): a file that claims so is not whole, or a bomb."""
MOST_BYTES = 1 << 36
"""More than this in one volume (64 GiB) is a broken header."""
_CHUNK = 1 << 20
_SLACK = 1 << 26
"""Bytes behind the voxels that are still unpacked, to reach the checksum."""


@contextmanager
def reading(path: Path, form: str) -> Iterator[None]:
    """Turn whatever a reader of foreign formats raises on broken files into an `InputError`.

    The libraries document no common class: nibabel, zlib, pynrrd, pydicom and struct all raise their own.
    """
    try:
        yield
    except InputError:
        raise
    except PermissionError as error:
        raise InputError(f"{path} may not be read: ask for permission, or copy it to a folder of your own.") from error
    except FileNotFoundError as error:
        raise InputError(f"{path} is not whole, {error.filename} is missing: copy both into one folder.") from error
    except MemoryError as error:
        raise InputError(f"{path} does not fit into memory: crop or downsample it first.") from error
    except HeaderDataError as error:
        raise InputError(
            f"{path} has a header that cannot be right ({one_line(error)}): repair it, or convert or download it again."
        ) from error
    except Exception as error:
        raise InputError(
            f"{path} cannot be read as {form}, it seems damaged or incomplete ({one_line(error)}): "
            "copy, download or convert it again."
        ) from error


def unpacked(path: Path, size: int, start: int = 0) -> bytes:
    """Return what is packed (gzip, bzip2) from a byte on, its first `size` bytes at least, its checksum verified.

    What follows the last packed part (padding, a mail's footer) is left out; a file that goes on and on is unpacked
    no further than a little beyond `size`.

    Raises:
        EOFError, OSError, zlib.error: the file is incomplete or damaged.
    """
    parts: list[bytes] = []
    count = 0
    for part in _unpack(path, start):
        parts.append(part)
        count += len(part)
        if count > size + _SLACK:
            break
    return b"".join(parts)


def check_gzip(path: Path) -> None:
    """Unpack a file to its end, where its checksum stands, which readers of just the voxels never reach.

    Raises:
        EOFError, zlib.error: the file is incomplete or damaged.
    """
    for _ in _unpack(path):
        pass


def _unpack(path: Path, start: int = 0) -> Iterator[bytes]:
    with open(path, "rb") as file:
        file.seek(start)
        rest = file.read(_CHUNK)
        while rest[:2] in (GZIP, BZIP2):
            member = zlib.decompressobj(wbits=31) if rest[:2] == GZIP else bz2.BZ2Decompressor()
            while not member.eof:
                if not rest and getattr(member, "needs_input", True) and not (rest := file.read(_CHUNK)):
                    raise EOFError("the packed file ends too early")
                yield member.decompress(rest, _CHUNK)
                rest = getattr(member, "unconsumed_tail", b"")  # bzip2 keeps it
            rest = member.unused_data or file.read(_CHUNK)


def one_line(error: BaseException) -> str:
    """An exception's message on one line, not too long, without a full stop at its end."""
    text = " ".join(str(error).split()).rstrip(".").replace(". ", "; ") or type(error).__name__
    return text if len(text) <= 300 else text[:297] + "..."


def check_affine(path: Path, affine: np.ndarray) -> np.ndarray:
    """The affine as (4, 4) float64, once it is known to be one of a scan.

    Raises:
        InputError: it is not finite or singular.
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
    return affine


def check_shape(
    path: Path, shape: tuple[int, ...], itemsize: int = 4, *, count: int = 1, packed: float = np.inf
) -> None:
    """Refuse shapes that are no volume, or too large for the memory that is left: twice the volume, as it is converted.

    Args:
        path: for messages.
        shape: of a volume.
        itemsize: of a voxel, bytes.
        count: number of volumes.
        packed: size of the file that holds them packed by gzip, bytes.

    Raises:
        InputError: not 3D, empty, or too large.
    """
    text = " x ".join(str(n) for n in shape)
    if len(shape) != 3:
        raise InputError(f"{path} has {len(shape)} dimension(s) ({text}): give a 3D scan.")
    if min(shape) < 1:
        raise InputError(f"{path} holds no voxels ({text}): copy, download or convert it again.")
    size = float(np.prod([float(n) for n in shape])) * itemsize
    if size > MOST_BYTES:
        raise InputError(f"{path} claims to have {text} voxels, which no scan has: repair its header.")
    if size * count > MOST_PACKED * packed:
        raise InputError(
            f"{path} claims to have {text} voxels{f' {count} times' if count > 1 else ''}, but its packed file of "
            f"{packed / 1e6:.3g} MB cannot hold them: copy or download it again, or repair its header."
        )
    check_memory(path, shape, itemsize)


def check_memory(name: object, shape: tuple[int, ...], itemsize: int = 4) -> None:
    """Raise `InputError` for an array that takes more than half of the memory that is left."""
    needed, left = 2 * itemsize * float(np.prod([float(n) for n in shape])), free_host_memory()
    if left is not None and needed > left:
        raise InputError(
            f"{name} has {' x '.join(map(str, shape))} voxels, which take {needed / 1e9:.1f} GB of memory to read, but "
            f"{left / 1e9:.1f} GB are left: crop or downsample it first."
        )


def plain_array(path: Path, data: np.ndarray) -> np.ndarray:
    """The voxels in native byte order and a type that every library knows: float32, or an integer of at most 32 bits.

    Raises:
        InputError: colors, complex numbers or other things that are no gray values.
    """
    check_type(path, data.dtype)
    if data.dtype.kind == "b":
        return data.astype(np.uint8)
    if data.dtype.kind == "f":
        with np.errstate(over="ignore"):
            return data.astype(np.float32, copy=False)
    if data.dtype.itemsize > 4 or data.dtype == np.dtype(np.uint32).newbyteorder(data.dtype.byteorder):
        low, high = (data.min(), data.max()) if data.size else (0, 0)
        fits = low >= -(2**31) and high < 2**31
        return data.astype(np.int32 if fits else np.float32)
    return data.astype(data.dtype.newbyteorder("="))


def check_type(path: Path, dtype: np.dtype) -> None:
    """Raise `InputError` for voxels that are no gray values: colors, complex numbers or other things."""
    if dtype.kind == "V" or dtype.names:
        raise InputError(f"{path} holds colors, not gray values: convert it to a single channel.")
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
    """Raise `InputError` for an image whose voxels all have the same value."""
    low, high = data.min(), data.max()
    if low == high:
        raise InputError(f"{path} is empty, all its voxels are {low:g}: export it again.")
