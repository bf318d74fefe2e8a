"""Reading one volume of any known format, checked; and telling label maps from images."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from napari_synthseg.errors import InputError
from napari_synthseg.io import checks, paths
from napari_synthseg.io.scan_file import ScanFile
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


def read_scans(path: str | Path) -> list[ScanFile]:
    """Reads all that is in a file or in a DICOM folder, for a viewer: one scan, or each of several DICOM series.

    Nothing is changed: values that are not finite stay, and so does a volume of one value only (an empty mask).

    Args:
        path: the file, or the folder of DICOM series.

    Raises:
        InputError: the file is missing, damaged, no 3D scan, or its header does not say where the voxels lie.
    """
    path = Path(path)
    form = _form(path)
    if form == "DICOM":
        from napari_synthseg.io.dicom import read_dicom_scans

        return read_dicom_scans(path)
    if form == "NRRD":
        from napari_synthseg.io.nrrd import read_nrrd_scan

        return [read_nrrd_scan(path)]
    from napari_synthseg.io.nifti import read_mgh_scan, read_nifti_scan

    return [read_nifti_scan(path) if form == "NIfTI" else read_mgh_scan(path)]


def _read(path: Path, index: int | None) -> tuple[np.ndarray, np.ndarray]:
    form = _form(path)
    if form == "DICOM":
        from napari_synthseg.io.dicom import read_dicom

        return read_dicom(path, index)
    if form == "NRRD":
        from napari_synthseg.io.nrrd import read_nrrd

        return read_nrrd(path, index)
    from napari_synthseg.io.nifti import read_mgh, read_nifti

    return read_nifti(path, index) if form == "NIfTI" else read_mgh(path, index)


def _form(path: Path) -> str:
    """The format of what is there: DICOM, NIfTI, MGH or NRRD."""
    if not paths.exists(path):
        raise InputError(f"{path} does not exist: check the path.")
    ending = paths.suffix(path)
    if path.is_dir() or ending in paths.DICOM:
        return "DICOM"
    if not path.is_file():  # a pipe would be waited for, a device never ends
        raise InputError(f"{path} is a pipe, a device or a socket: give a file.")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is an empty file: copy or download it again.")
    for form, endings in (("NIfTI", paths.NIFTI), ("MGH", paths.MGH), ("NRRD", paths.NRRD)):
        if ending in endings:
            return form
    raise InputError(f"{path} has no known ending: give a NIfTI, MGZ or NRRD file, or the folder of a DICOM series.")


FEW_VALUES = 16
"""An image has more values than this, whatever it shows."""
MOST_VALUES = 2048
"""A label map has no more values than this."""


def is_label_like(volume: Volume) -> bool:
    """Whether the values look like labels: whole, none negative, and very few or mostly the same as their neighbour's.

    Grey values of 8 bits are whole and few, too, but next to each other they rarely agree.
    """
    data = volume.data
    if data.dtype.kind == "b":
        return True
    thin = data[:, :, :: max(1, data.shape[2] // 32)]
    thin = thin if thin.any() else data  # a small lesion may lie between the slices
    if not is_whole(thin) or thin.size == 0 or thin.min() < 0:
        return False
    inside = thin[:-1] != 0
    if not thin.any():
        return data.dtype.kind != "f"
    count = len(np.unique(thin))
    agree = float((thin[1:] == thin[:-1])[inside].mean()) if inside.any() else 0.0
    return (count <= FEW_VALUES or (agree > 0.5 and count <= MOST_VALUES)) and is_whole(data)


def is_whole(data: np.ndarray) -> bool:
    """Whether all values are whole numbers, but for what scaling to and from integers does to a float's last digits.

    0 must be 0: the values of a map in small units are all next to 0.
    """
    if data.dtype.kind != "f":
        return data.dtype.kind in "biu"
    whole = np.rint(data)
    if np.array_equal(data, whole):
        return bool(np.isfinite(data).all())
    if not np.isfinite(data).all():
        return False
    return bool((np.abs(data - whole) <= 1e-5 * np.abs(whole)).all())
