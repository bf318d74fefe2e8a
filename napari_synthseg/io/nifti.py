"""NIfTI and MGH/MGZ through nibabel: which affine holds, its units, and one volume of a 4D file."""

from __future__ import annotations

import gzip
import logging
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.nifti1 import Nifti1Pair

from napari_synthseg.errors import InputError
from napari_synthseg.io import checks
from napari_synthseg.io.headers import FileHeader, nifti_affine, says_labels, series_step
from napari_synthseg.io.scan_file import MOST_AT_ONCE, ScanFile

logger = logging.getLogger(__name__)


def read_nifti(path: Path, index: int | None) -> tuple[np.ndarray, np.ndarray]:
    """The voxels (X, Y, Z) of one volume and the affine (4, 4) in RAS mm.

    Raises:
        InputError: see `napari_synthseg.io`.
    """
    with checks.reading(path, "NIfTI"):
        image, affine = _open_nifti(path)
        return _one_volume(path, image, index), affine


def read_mgh(path: Path, index: int | None) -> tuple[np.ndarray, np.ndarray]:
    """The voxels (X, Y, Z) of one volume and the affine (4, 4) in RAS mm.

    Raises:
        InputError: see `napari_synthseg.io`.
    """
    with checks.reading(path, "MGH"):
        image, affine = _open_mgh(path)
        return _one_volume(path, image, index), affine


def read_nifti_scan(path: Path) -> ScanFile:
    """All volumes, in the type of the file; see `reading.read_scans`."""
    with checks.reading(path, "NIfTI"):
        return _scan(path, *_open_nifti(path, mmap=False))


def read_mgh_scan(path: Path) -> ScanFile:
    """All volumes, in the type of the file; see `reading.read_scans`."""
    with checks.reading(path, "MGH"):
        return _scan(path, *_open_mgh(path, mmap=False))


def _scan(path: Path, image: Any, affine: np.ndarray) -> ScanFile:
    series = _Volumes(path, image)
    several = series.shape[3] > 1
    return ScanFile(
        data=series.volume(0) if not several else series if series.nbytes > MOST_AT_ONCE else series.all(),
        affine=affine,
        step=series_step(image.header) if several else None,
        header=FileHeader.of(image.header),
        is_labels=says_labels(image.header),
    )


def _open_nifti(path: Path, *, mmap: bool = True) -> tuple[Any, np.ndarray]:
    """The image, its voxels not yet read, and its checked affine (4, 4) in RAS mm; to be called in `checks.reading`.

    Raises:
        InputError: the header does not say where the voxels lie.
    """
    if path.name.lower().endswith(".gz"):
        checks.check_gzip(path)
    image = nib.load(path, mmap=mmap)
    if not isinstance(image, Nifti1Pair):
        raise InputError(f"{path} is an Analyze file, which does not say left from right: convert it to NIfTI.")
    _check_voxel_size(path, image)
    return image, checks.check_affine(path, _nifti_affine(path, image.header))


def _open_mgh(path: Path, *, mmap: bool = True) -> tuple[Any, np.ndarray]:
    """As `_open_nifti`, for MGH and MGZ."""
    if _is_packed(path):
        checks.check_gzip(path)
    if not _says_orientation(path):
        raise InputError(f"{path} has no orientation in its header (goodRASFlag is 0): convert it again from DICOM.")
    image: Any = nib.load(path, mmap=mmap)
    return image, checks.check_affine(path, image.affine)


def _nifti_affine(path: Path, header: Any) -> np.ndarray:
    affine = nifti_affine(header)
    if affine is None:
        raise InputError(
            f"{path} has no affine (sform_code and qform_code are 0), so left and right are unknown: "
            "convert it again from DICOM, or set one."
        )
    if int(header["sform_code"]) > 0:
        _warn_of_contradiction(path, header, np.asarray(header.get_sform(), np.float64))
    return affine


def _warn_of_contradiction(path: Path, header: Any, sform: np.ndarray) -> None:
    """Logs a qform that puts a corner of the volume more than a voxel away from where the sform does."""
    if int(header["qform_code"]) <= 0:
        return
    try:
        qform = np.asarray(header.get_qform(), np.float64)
    except Exception:  # the sform is taken: whatever is wrong with the qform does not matter
        return
    corner = np.array([*(n - 1 for n in header.get_data_shape()[:3]), 1][-4:], np.float64)
    if len(corner) < 4 or not np.isfinite(sform).all():
        return
    off = max(np.abs((sform - qform) @ point).max() for point in (corner, np.array([0.0, 0, 0, 1])))
    if off > np.linalg.norm(sform[:3, :3], axis=0).max():
        logger.warning("%s has an sform and a qform that differ by %.1f mm; the sform is taken.", path, off)


def _check_voxel_size(path: Path, image: Nifti1Pair) -> None:
    """Refuses voxel sizes of 0, which nibabel would silently take for 1 mm."""
    with (image.file_map.get("header") or image.file_map["image"]).get_prepare_fileobj("rb") as file:
        header = type(image.header).from_fileobj(file, check=False)
    sizes = np.asarray(header["pixdim"][1:4], np.float64)
    if not np.isfinite(sizes).all() or (sizes == 0).any():
        text = " x ".join(f"{s:g}" for s in sizes)
        raise InputError(f"{path} has a spacing of {text} mm in its header (pixdim): repair it, or convert it again.")


class _Volumes:
    """The volumes of an image of nibabel's, in the type of the file; a `scan_file.Series`."""

    def __init__(self, path: Path, image: Any) -> None:
        self._path, self._image = path, image
        count = _volume_count(path, image)
        checks.check_type(path, image.get_data_dtype())
        x, y, z = (int(n) for n in image.shape[:3])
        self.shape = (x, y, z, count)
        self.dtype = self._exact(np.zeros(0, self._stored)).dtype

    @property
    def _stored(self) -> np.dtype:
        """The type of the values: of the file, or floats where its numbers are scaled."""
        dtype = self._image.get_data_dtype()
        if not _is_scaled(self._image):
            return dtype
        few = dtype.itemsize <= (4 if dtype.kind == "f" else 2)
        return np.dtype(np.float32 if few else np.float64)

    @property
    def nbytes(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    def volume(self, index: int) -> np.ndarray:
        with checks.reading(self._path, "NIfTI"):
            return self._exact(np.asarray(self._image.dataobj[_volume_place(self._image, index)]))

    def all(self) -> np.ndarray:
        """(X, Y, Z, T)"""
        return self._exact(np.asarray(self._image.dataobj).reshape(self.shape, order="F"))

    def _exact(self, data: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):
            return checks.exact_array(self._path, data.astype(self._stored, copy=False))


def _one_volume(path: Path, image: Any, index: int | None) -> np.ndarray:
    """The voxels (X, Y, Z) of the chosen volume, reading no others."""
    chosen = checks.choose_index(path, _volume_count(path, image), index)
    return _voxels(path, image, _volume_place(image, chosen))


def _volume_count(path: Path, image: Any) -> int:
    """How many volumes an image holds: axes of length 1 after the third do not count.

    Raises:
        InputError: what it holds are no volumes.
    """
    shape = tuple(int(n) for n in image.shape)
    more = [n for n in shape[3:] if n > 1]
    if len(more) > 1:
        text = " x ".join(str(n) for n in shape)
        raise InputError(f"{path} has {len(shape)} dimensions ({text}): give a 3D scan, or a 4D series of them.")
    checks.check_shape(path, shape[:3], image.get_data_dtype().itemsize)
    return more[0] if more else 1


def _volume_place(image: Any, index: int) -> tuple[Any, ...]:
    """What to index the voxels of an image with to get one of its volumes."""
    return (*[slice(None)] * 3, *(index if n > 1 else 0 for n in image.shape[3:]))


def _voxels(path: Path, image: Any, places: tuple[Any, ...]) -> np.ndarray:
    dtype = image.get_data_dtype()
    data = np.asarray(image.dataobj[places])
    if dtype.kind == "f" or (dtype.kind in "iu" and _is_scaled(image)):
        with np.errstate(over="ignore"):
            data = data.astype(np.float32)
    return checks.plain_array(path, data)


def _is_scaled(image: Any) -> bool:
    """Whether the numbers in the file are to be multiplied or shifted."""
    slope, inter = getattr(image.dataobj, "slope", 1.0), getattr(image.dataobj, "inter", 0.0)
    return (slope, inter) != (1.0, 0.0)


def _is_packed(path: Path) -> bool:
    return path.name.lower().endswith((".mgz", ".gz"))


def _says_orientation(path: Path) -> bool:
    """MGH keeps goodRASFlag, a big-endian int16, at byte 28; without it nibabel would assume coronal slices."""
    with gzip.open(path) if _is_packed(path) else open(path, "rb") as file:
        start = file.read(30)
    return int.from_bytes(start[28:30], "big") == 1
