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
from napari_synthseg.files import checks

logger = logging.getLogger(__name__)

_MM_PER_UNIT = {1: 1000.0, 2: 1.0, 3: 0.001}  # NIfTI's codes for metre, millimetre, micrometre


def read_nifti(path: Path, index: int | None) -> tuple[np.ndarray, np.ndarray]:
    """The voxels (X, Y, Z) of one volume and the affine (4, 4) in RAS mm.

    Raises:
        InputError: see `napari_synthseg.files`.
    """
    with checks.reading(path, "NIfTI"):
        if path.name.lower().endswith(".gz"):
            checks.check_gzip(path)
        image = nib.load(path)
        if not isinstance(image, Nifti1Pair):
            raise InputError(f"{path} is an Analyze file, which does not say left from right: convert it to NIfTI.")
        _check_voxel_size(path, image)
        affine = checks.check_affine(path, _nifti_affine(path, image.header))
        return _one_volume(path, image, index), affine


def read_mgh(path: Path, index: int | None) -> tuple[np.ndarray, np.ndarray]:
    """The voxels (X, Y, Z) of one volume and the affine (4, 4) in RAS mm.

    Raises:
        InputError: see `napari_synthseg.files`.
    """
    with checks.reading(path, "MGH"):
        if _is_packed(path):
            checks.check_gzip(path)
        if not _says_orientation(path):
            raise InputError(
                f"{path} has no orientation in its header (goodRASFlag is 0): convert it again from DICOM."
            )
        image: Any = nib.load(path)
        affine = checks.check_affine(path, image.affine)
        return _one_volume(path, image, index), affine


def _nifti_affine(path: Path, header: Any) -> np.ndarray:
    if int(header["sform_code"]) > 0:
        affine = np.asarray(header.get_sform(), np.float64)
        _warn_of_contradiction(path, header, affine)
    elif int(header["qform_code"]) > 0:
        affine = np.asarray(header.get_qform(), np.float64)
    else:
        raise InputError(
            f"{path} has no affine (sform_code and qform_code are 0), so left and right are unknown: "
            "convert it again from DICOM, or set one."
        )
    scale = _MM_PER_UNIT.get(int(header["xyzt_units"]) & 7, 1.0)
    affine[:3] *= scale
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


def _one_volume(path: Path, image: Any, index: int | None) -> np.ndarray:
    """The voxels (X, Y, Z) of the chosen volume, reading no others; axes of length 1 after the third do not count."""
    shape = tuple(int(n) for n in image.shape)
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    more = [axis for axis in range(3, len(shape)) if shape[axis] > 1]
    if len(more) > 1:
        text = " x ".join(str(n) for n in shape)
        raise InputError(f"{path} has {len(shape)} dimensions ({text}): give a 3D scan, or a 4D series of them.")
    checks.check_shape(path, shape[:3], image.get_data_dtype().itemsize)
    chosen = checks.choose_index(path, shape[more[0]] if more else 1, index)
    places: list[Any] = [slice(None)] * 3
    places += [chosen if axis in more else 0 for axis in range(3, len(image.shape))]
    return _voxels(path, image, tuple(places))


def _voxels(path: Path, image: Any, places: tuple[Any, ...]) -> np.ndarray:
    dtype = image.get_data_dtype()
    data = np.asarray(image.dataobj[places])
    if dtype.kind == "f" or (dtype.kind in "iu" and _is_scaled(image)):
        with np.errstate(over="ignore"):
            data = data.astype(np.float32)
    return checks.plain_array(path, data)


def _is_scaled(image: Any) -> bool:
    slope, inter = getattr(image.dataobj, "slope", 1.0), getattr(image.dataobj, "inter", 0.0)
    return (slope, inter) != (1.0, 0.0)


def _is_packed(path: Path) -> bool:
    return path.name.lower().endswith((".mgz", ".gz"))


def _says_orientation(path: Path) -> bool:
    """MGH keeps goodRASFlag, a big-endian int16, at byte 28; without it nibabel would assume coronal slices."""
    with gzip.open(path) if _is_packed(path) else open(path, "rb") as file:
        start = file.read(30)
    return int.from_bytes(start[28:30], "big") == 1
