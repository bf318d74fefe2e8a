"""The formats that are written, one function each: voxels, affine and what is kept of the header they came with.

Every function takes the path, the voxels (X, Y, Z) or (X, Y, Z, T) in the type to store, the affine (4, 4) in RAS mm,
the header of the file the voxels came from (or None), and the seconds between the volumes of a series (or None).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from napari_synthseg.errors import InputError
from napari_synthseg.io.headers import FileHeader, nifti_affine, set_step

MGH_TYPES = (np.uint8, np.int16, np.int32, np.float32)

_SAME_MM = 1e-6
_SHEAR = 1e-4


def write_nifti(
    path: Path, data: np.ndarray, affine: np.ndarray, header: FileHeader | None, step: float | None
) -> None:
    """NIfTI-1 (NIfTI-2 where the voxels came from one).

    The forms of a header that says the same affine stay as they are, to the bit. Else both forms are set, with the
    codes of that header or 1 (scanner space); a sheared grid has no qform.
    """
    kept = header if header is not None and header.is_nifti else None
    large = (kept is not None and kept.form == "nifti2") or max(data.shape) > 32767
    image_class, header_class = (nib.Nifti2Image, nib.Nifti2Header) if large else (nib.Nifti1Image, nib.Nifti1Header)
    out: Any = kept.parsed() if kept is not None and isinstance(kept.parsed(), header_class) else header_class()
    pixdim = np.array(out["pixdim"], np.float64)
    out.set_data_dtype(data.dtype)
    out.set_data_shape(data.shape)
    out["pixdim"] = pixdim
    out["vox_offset"] = 0
    out["scl_slope"], out["scl_inter"] = 1, 0
    before = nifti_affine(out) if kept is not None else None
    if before is None or np.abs(before - affine).max() > _SAME_MM:
        _set_forms(out, affine)
    if data.ndim == 4 and step is not None:
        set_step(out, step)
    nib.save(image_class(data, None, out), path)


def _set_forms(header: Any, affine: np.ndarray) -> None:
    sform, qform = int(header["sform_code"]), int(header["qform_code"])
    header["xyzt_units"] = (int(header["xyzt_units"]) & 0x38) | 2
    header["pixdim"][1:4] = np.linalg.norm(affine[:3, :3], axis=0)
    header.set_sform(affine, code=sform or qform or 1)
    header.set_qform(affine, code=0 if _is_sheared(affine) else qform or sform or 1)


def write_mgh(path: Path, data: np.ndarray, affine: np.ndarray, header: FileHeader | None, step: float | None) -> None:
    """MGH, or MGZ by the ending of the name; its header holds 32 bits of the affine.

    Raises:
        InputError: a type that the format does not have, or a sheared grid that is not the header's own.
    """
    if data.dtype not in MGH_TYPES:
        raise InputError(f"{path.name} cannot hold {data.dtype} voxels: write NIfTI, or choose another type.")
    kept = header is not None and header.form == "mgh"
    out: Any = header.parsed() if kept and header else nib.freesurfer.mghformat.MGHHeader()
    before = out.get_affine() if kept and out.get_data_shape()[:3] == data.shape[:3] else None
    as_before = before is not None and np.abs(before - affine).max() <= _SAME_MM
    if _is_sheared(affine) and not as_before:  # a file that came with axes askew is given back as it was
        raise InputError(f"{path.name} cannot hold a sheared grid: write NIfTI.")
    spacing = np.array(out["delta"])
    out.set_data_dtype(data.dtype)
    out.set_data_shape(data.shape)  # forgets the spacing
    out["delta"], out["goodRASFlag"] = spacing, 1
    if not as_before:
        out["delta"] = spacing = np.linalg.norm(affine[:3, :3], axis=0)
        out["Mdc"] = (affine[:3, :3] / spacing).T
        out["Pxyz_c"] = (affine @ [*(n / 2 for n in data.shape[:3]), 1])[:3]
    if data.ndim == 4 and step is not None:
        out["tr"] = step * 1000
    nib.save(nib.MGHImage(data, None, out), path)


def write_nrrd(path: Path, data: np.ndarray, affine: np.ndarray, header: FileHeader | None, step: float | None) -> None:
    """NRRD in left-posterior-superior space, the one of 3D Slicer and ITK; a series has its own axis, the last."""
    import nrrd

    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    fields: dict[str, Any] = {
        "space": "left-posterior-superior",
        "space directions": lps[:3, :3].T,
        "space origin": lps[:3, 3],
        "space units": ["mm", "mm", "mm"],
        "kinds": ["domain", "domain", "domain"],
        "encoding": "gzip",
    }
    if data.ndim == 4:
        fields["space directions"] = np.vstack([lps[:3, :3].T, np.full(3, np.nan)])
        fields["kinds"] = ["domain", "domain", "domain", "list" if step is None else "time"]
    if data.ndim == 4 and step is not None:
        fields["spacings"] = [np.nan, np.nan, np.nan, step]
        fields["units"] = ["", "", "", "s"]
    nrrd.write(str(path), np.asfortranarray(data), fields, compression_level=4)


def _is_sheared(affine: np.ndarray) -> bool:
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return bool(np.abs(axes.T @ axes - np.eye(3)).max() > _SHEAR)


WRITERS: dict[str, Callable[[Path, np.ndarray, np.ndarray, FileHeader | None, float | None], None]] = {
    ".nii.gz": write_nifti,
    ".nii": write_nifti,
    ".mgz": write_mgh,
    ".mgh": write_mgh,
    ".nrrd": write_nrrd,
}
