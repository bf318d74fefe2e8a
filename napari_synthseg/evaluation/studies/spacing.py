"""Slice spacing of scans in each direction: from columns of the table, or from the headers of the scans."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from pathlib import Path

import numpy as np

from napari_synthseg.errors import InputError
from napari_synthseg.evaluation.studies import names
from napari_synthseg.evaluation.studies.cohort import Cohort
from napari_synthseg.evaluation.studies.covariates import Covariate, who
from napari_synthseg.evaluation.studies.notes import Notes
from napari_synthseg.io import read_scans, suffix
from napari_synthseg.jobs import Progress

COLUMNS = ("spacing_x", "spacing_y", "spacing_z")
"""From left to right, from back to front and upwards, mm: sagittal, coronal and axial slices."""
_HEADERS_ONLY = (".nii", ".nii.gz", ".mgz", ".mgh")


def columns_of(wanted: str, columns: Sequence[str]) -> list[str]:
    """The columns of the spacing: those named, or (`auto`) those of the usual names that are there."""
    if wanted == "auto":
        return [one for one in COLUMNS if names.find(one, columns)]
    return [] if wanted in ("headers", "none", "") else [name.strip() for name in wanted.split(",") if name.strip()]


def spacing_from_headers(cohort: Cohort, notes: Notes) -> Generator[Progress, None, list[Covariate]]:
    """The spacing of every scan, read from its header; scans that cannot be read are noted and lack it.

    Raises:
        InputError: no scan could be read.
    """
    found = np.full((len(cohort), 3), np.nan)
    for row, (scan, folder) in enumerate(zip(cohort.scans, cohort.folders, strict=True)):
        yield Progress("Reading headers", row, len(cohort))
        try:
            found[row] = spacing_of(folder / scan) if scan else np.nan
        except (InputError, OSError, ValueError):
            continue
    lost = ~np.isfinite(found).all(1)
    if lost.all():
        raise InputError("No scan of the table could be read for its slice spacing: name columns with --spacing.")
    notes.add("spacing", "scans could not be read for it", who(cohort, lost))
    return [Covariate(name, found[:, axis]) for axis, name in enumerate(COLUMNS)]


def spacing_of(path: Path) -> np.ndarray:
    """Voxel size (3,) mm along left-right, back-front and up, of a file; of NIfTI and MGH the header alone is read.

    Raises:
        InputError: the file cannot be read.
    """
    import nibabel

    if suffix(path) in _HEADERS_ONLY and path.is_file():
        try:
            affine = np.asarray(nibabel.load(path).affine)  # type: ignore[attr-defined]
        except Exception as error:  # a broken header can raise nearly anything
            raise InputError(f"{path} cannot be read ({error}).") from error
    else:
        affine = read_scans(path)[0].affine
    axes = nibabel.orientations.io_orientation(affine)[:, 0]
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.isfinite(axes).all() or not np.isfinite(sizes).all() or (sizes <= 0).any():
        raise InputError(f"{path} does not say how its voxels lie.")
    out = np.empty(3)
    out[axes.astype(int)] = sizes
    return out
