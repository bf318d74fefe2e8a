"""MGH and MGZ, FreeSurfer's format, through nibabel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from napari_synthseg.errors import InputError
from napari_synthseg.io import checks
from napari_synthseg.io.formats import Format, first_bytes, register
from napari_synthseg.io.formats.nifti import SAME_MM, is_sheared, load_image, scan_of
from napari_synthseg.io.scan import FileHeader, ScanFile

_CODES = (0, 1, 3, 4, 10)
"""Types of voxels that nibabel knows."""
_FORM = "mgh"


@register
class MGH(Format):
    """MGH files, and MGZ, the same packed."""

    name = "FreeSurfer"
    writable = (".mgz", ".mgh")
    endings = (*writable, ".mgh.gz")
    types = (np.uint8, np.int16, np.int32, np.float32)

    def recognizes(self, start: bytes) -> bool:
        version, x, y, z, frames, code = (int.from_bytes(start[n : n + 4], "big", signed=True) for n in range(0, 24, 4))
        return version == 1 and min(x, y, z, frames) > 0 and max(x, y, z, frames) < 1 << 20 and code in _CODES

    def open(self, path: Path) -> list[ScanFile]:
        with checks.reading(path, "MGH"):
            start = first_bytes(path)
            if self.recognizes(start) and not _says_orientation(start):
                raise InputError(
                    f"{path} has no orientation in its header (goodRASFlag is 0): convert it again from DICOM."
                )
            image = load_image(path, nib.MGHImage)
            affine = checks.check_affine(path, image.affine)
            milliseconds = float(image.header["tr"])
            step = milliseconds / 1000 if np.isfinite(milliseconds) and milliseconds > 0 else None
            return [scan_of(path, image, affine, FileHeader(_FORM, image.header.binaryblock), step)]

    def write(
        self, path: Path, data: np.ndarray, affine: np.ndarray, header: FileHeader | None, step: float | None
    ) -> None:
        """Write MGH, or MGZ by the ending of the name; its header holds 32 bits of the affine.

        Raises:
            InputError: a type that the format does not have, or a sheared grid that is not the header's own.
        """
        if data.dtype not in self.types:
            raise InputError(f"{path.name} cannot hold {data.dtype} voxels: write NIfTI, or choose another type.")
        kept = header if header is not None and header.form == _FORM else None
        kind: Any = nib.freesurfer.mghformat.MGHHeader
        out = kind(kept.raw, check=False) if kept is not None else kind()
        before = out.get_affine() if kept is not None and out.get_data_shape()[:3] == data.shape[:3] else None
        as_before = before is not None and np.abs(before - affine).max() <= SAME_MM
        if is_sheared(affine) and not as_before:  # a file that came with axes askew is given back as it was
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


def _says_orientation(start: bytes) -> bool:
    """MGH keeps goodRASFlag, a big-endian int16, at byte 28; without it nibabel would assume coronal slices."""
    return int.from_bytes(start[28:30], "big") == 1
