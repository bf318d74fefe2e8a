"""What a file says beside its voxels and their place, kept so that saving over it loses nothing.

The forms of a NIfTI file (sform, qform, their codes and units), its repetition time and notes; the footer of MGH.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import nibabel as nib
import numpy as np

_CLASSES: dict[str, Any] = {
    "nifti1": nib.Nifti1Header,
    "nifti2": nib.Nifti2Header,
    "mgh": nib.freesurfer.mghformat.MGHHeader,
}
_SECONDS_PER_UNIT = {8: 1.0, 16: 1e-3, 24: 1e-6}  # NIfTI's codes for second, millisecond, microsecond
_MM_PER_UNIT = {1: 1000.0, 2: 1.0, 3: 0.001}  # NIfTI's codes for metre, millimetre, micrometre
_LABEL_INTENT = 1002


@dataclass(frozen=True)
class FileHeader:
    """The header of a file as it stands there."""

    form: str
    """nifti1, nifti2 or mgh."""
    raw: bytes

    @classmethod
    def of(cls, header: Any) -> FileHeader | None:
        """The header of an image of nibabel's, None for other formats."""
        if isinstance(header, nib.Nifti2Header):
            return cls("nifti2", header.binaryblock)
        if isinstance(header, nib.Nifti1Header):
            return cls("nifti1", header.binaryblock)
        return cls("mgh", header.binaryblock) if isinstance(header, _CLASSES["mgh"]) else None

    @property
    def is_nifti(self) -> bool:
        """Whether it is one of NIfTI's two versions."""
        return self.form.startswith("nifti")

    def parsed(self) -> Any:
        """A header of nibabel's, in native byte order, the caller's to change."""
        header = _CLASSES[self.form](self.raw, check=False)
        return header.as_byteswapped(nib.volumeutils.native_code) if self.is_nifti else header


def nifti_affine(header: Any) -> np.ndarray | None:
    """(4, 4) from voxel index to RAS mm: the sform if it has a code, else the qform, None where neither has one."""
    if int(header["sform_code"]) > 0:
        affine = np.asarray(header.get_sform(), np.float64)
    elif int(header["qform_code"]) > 0:
        affine = np.asarray(header.get_qform(), np.float64)
    else:
        return None
    affine[:3] *= _MM_PER_UNIT.get(int(header["xyzt_units"]) & 7, 1.0)
    return affine


def series_step(header: Any) -> float | None:
    """Time from one volume to the next in seconds, None where the header does not say (or says no time)."""
    if isinstance(header, _CLASSES["mgh"]):
        milliseconds = float(header["tr"])
        return milliseconds / 1000 if np.isfinite(milliseconds) and milliseconds > 0 else None
    unit = _SECONDS_PER_UNIT.get(int(header["xyzt_units"]) & 0x38)
    step = float(header["pixdim"][4])
    if unit is None or not np.isfinite(step) or step <= 0:
        return None
    return float(f"{step:.7g}") * unit  # 32 bits in the file: 2.2, not 2.200000047


def says_labels(header: Any) -> bool:
    """Whether a NIfTI header says that the voxels are labels."""
    return isinstance(header, nib.Nifti1Header) and int(header["intent_code"]) == _LABEL_INTENT


def labels_header(header: FileHeader | None) -> FileHeader:
    """The header for labels that lie on the grid of a file: it says that they are labels, and no display range.

    A viewer then knows them for labels, whatever their values.
    """
    if header is not None and not header.is_nifti:
        return header
    out = header.parsed() if header is not None else nib.Nifti1Header()
    out["intent_code"], out["intent_name"] = _LABEL_INTENT, b""
    out["cal_min"], out["cal_max"] = 0, 0
    return FileHeader(header.form if header is not None else "nifti1", out.binaryblock)


def set_step(header: Any, step: float) -> None:
    """Set the time from one volume to the next, seconds, in the unit of time the NIfTI header has."""
    code = int(header["xyzt_units"]) & 0x38
    if code not in _SECONDS_PER_UNIT:
        code = 8
        header["xyzt_units"] = (int(header["xyzt_units"]) & 7) | code
    header["pixdim"][4] = step / _SECONDS_PER_UNIT[code]
