"""Reading one volume of any known format, checked; and telling label maps from images."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from napari_synthseg.errors import InputError
from napari_synthseg.files import checks, paths
from napari_synthseg.volume import Volume


def read_volume(path: str | Path, *, index: int | None = None) -> Volume:
    """Reads a scan: NIfTI, MGH/MGZ, NRRD, or (with the `dicom` extra) a DICOM file or a folder with one series.

    A few non-finite voxels become 0, with a logged warning; more than half of them are an error.

    Args:
        path: the file, or the folder of a DICOM series.
        index: which volume of a 4D file, from 0; needed there.

    Returns:
        The volume in its own voxel order: float32, or an integer type of at most 32 bits.

    Raises:
        InputError: the file is missing, damaged, not 3D, all one value or mostly non-finite, or its header does not say
            where the voxels lie; the message is one sentence that names the file.
    """
    path = Path(path)
    data, affine = _read(path, index)
    data = checks.finite(path, data)
    checks.check_contrast(path, data)
    return Volume(data, affine)


def read_labels(path: str | Path, *, index: int | None = None) -> Volume:
    """Reads a label map, of whole numbers; unlike an image it may be all background.

    Args:
        path: the file.
        index: which volume of a 4D file, from 0; needed there.

    Returns:
        The volume in its own voxel order, of an integer type of at most 32 bits.

    Raises:
        InputError: as `read_volume`, or the values are not whole numbers.
    """
    path = Path(path)
    data, affine = _read(path, index)
    if data.dtype.kind == "f":
        data = checks.finite(path, data)
        whole = np.rint(data)
        if np.abs(whole - data).max() > 1e-3 or np.abs(whole).max() >= 2**31:
            raise InputError(f"{path} is no label map, its values are not whole numbers: give a file of labels.")
        data = whole.astype(np.int32)
    return Volume(data, affine)


def _read(path: Path, index: int | None) -> tuple[np.ndarray, np.ndarray]:
    if not path.exists():
        raise InputError(f"{path} does not exist: check the path.")
    ending = paths.suffix(path)
    if path.is_dir() or ending in paths.DICOM:
        from napari_synthseg.files.dicom import read_dicom

        return read_dicom(path, index)
    if path.stat().st_size == 0:
        raise InputError(f"{path} is an empty file: copy or download it again.")
    if ending in paths.NIFTI:
        from napari_synthseg.files.nifti import read_nifti

        return read_nifti(path, index)
    if ending in paths.MGH:
        from napari_synthseg.files.nifti import read_mgh

        return read_mgh(path, index)
    if ending in paths.NRRD:
        from napari_synthseg.files.nrrd import read_nrrd

        return read_nrrd(path, index)
    raise InputError(f"{path} has no known ending: give a NIfTI, MGZ or NRRD file, or the folder of a DICOM series.")


def is_label_like(volume: Volume) -> bool:
    """Whether the values look like labels: whole, not too many, and mostly the same as their neighbour's.

    Grey values of 8 bits are whole and few, too, but next to each other they rarely agree.
    """
    data = volume.data
    if data.dtype.kind == "b":
        return True
    thin = data[:, :, :: max(1, data.shape[2] // 32)]
    if data.dtype.kind == "f" and not (np.isfinite(thin).all() and np.array_equal(thin, np.rint(thin))):
        return False
    if thin.size == 0 or thin.min() < 0:
        return False
    inside = thin[:-1] != 0
    if not inside.any():
        return bool((thin == 0).all()) and data.dtype.kind != "f"
    agree = float((thin[1:] == thin[:-1])[inside].mean())
    return agree > 0.5 and len(np.unique(thin)) <= 2048
