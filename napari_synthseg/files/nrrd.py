"""NRRD through pynrrd: its space, directions and origin as an affine in RAS mm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from napari_synthseg.errors import InputError
from napari_synthseg.files import checks

_TO_RAS = {
    "right-anterior-superior": (1, 1, 1),
    "ras": (1, 1, 1),
    "left-anterior-superior": (-1, 1, 1),
    "las": (-1, 1, 1),
    "left-posterior-superior": (-1, -1, 1),
    "lps": (-1, -1, 1),
}
_MM_PER_UNIT = {"mm": 1.0, "m": 1000.0, "cm": 10.0, "um": 0.001, "microns": 0.001, "micron": 0.001, "µm": 0.001}


def read_nrrd(path: Path, index: int | None) -> tuple[np.ndarray, np.ndarray]:
    """The voxels (X, Y, Z) of one volume and the affine (4, 4) in RAS mm.

    Raises:
        InputError: see `napari_synthseg.files`.
    """
    import nrrd

    with checks.reading(path, "NRRD"):
        with open(path, "rb") as file:
            header = nrrd.read_header(file)
        sizes = [int(n) for n in header["sizes"]]
        directions = _directions(path, header, len(sizes))
        spatial = [axis for axis, direction in enumerate(directions) if direction is not None]
        others = [axis for axis in range(len(sizes)) if axis not in spatial]
        if len(spatial) != 3 or sum(sizes[axis] > 1 for axis in others) > 1:
            text = " x ".join(str(n) for n in sizes)
            raise InputError(f"{path} is no 3D scan ({text}, {len(spatial)} spatial axes): give a 3D scan.")
        checks.check_shape(path, tuple(sizes[axis] for axis in spatial))
        affine = checks.check_affine(path, _affine(path, header, [directions[axis] for axis in spatial]))
        count = max([sizes[axis] for axis in others], default=1)
        chosen = checks.choose_index(path, count, index)
        data, _ = nrrd.read(str(path))
        places = tuple(slice(None) if axis in spatial else min(chosen, sizes[axis] - 1) for axis in range(len(sizes)))
        return checks.plain_array(path, data[places]), affine


def _directions(path: Path, header: dict[str, Any], dimensions: int) -> list[np.ndarray | None]:
    """The direction of each array axis in the file's space; None for axes that are not spatial."""
    if "space directions" not in header:
        raise InputError(
            f"{path} has no space directions, so left and right are unknown: "
            "convert it again from DICOM, or save it from 3D Slicer."
        )
    rows = [None if row is None else np.asarray(row, np.float64) for row in header["space directions"]]
    rows = [None if row is None or np.isnan(row).all() else row for row in rows]
    if len(rows) != dimensions:
        raise InputError(f"{path} has {dimensions} axes but {len(rows)} space directions: convert it again.")
    return rows


def _affine(path: Path, header: dict[str, Any], directions: list[np.ndarray | None]) -> np.ndarray:
    space = str(header.get("space", "")).lower().removesuffix("-time")
    space = space[:-1] if space in ("rast", "last", "lpst") else space
    if space not in _TO_RAS:
        raise InputError(
            f"{path} lies in the space '{space or 'unknown'}', which does not say left from right: "
            "save it in left-posterior-superior or right-anterior-superior space."
        )
    affine = np.eye(4)
    affine[:3, :3] = np.column_stack([d for d in directions if d is not None])[:3]
    affine[:3, 3] = np.asarray(header.get("space origin", np.zeros(3)), np.float64)[:3]
    units = [str(unit).strip('"').lower() for unit in header.get("space units", ())][:3]
    scales = [_MM_PER_UNIT.get(unit, 1.0) for unit in units] or [1.0] * 3
    affine[:3] *= (np.array(_TO_RAS[space]) * np.array(scales))[:, None]
    return affine
