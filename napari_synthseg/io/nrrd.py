"""NRRD through pynrrd: its space, directions and origin as an affine in RAS mm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from napari_synthseg.errors import InputError
from napari_synthseg.io import checks
from napari_synthseg.io.scan_file import ScanFile

_TO_RAS = {
    "right-anterior-superior": (1, 1, 1),
    "ras": (1, 1, 1),
    "left-anterior-superior": (-1, 1, 1),
    "las": (-1, 1, 1),
    "left-posterior-superior": (-1, -1, 1),
    "lps": (-1, -1, 1),
}
_MM_PER_UNIT = {"mm": 1.0, "m": 1000.0, "cm": 10.0, "um": 0.001, "microns": 0.001, "micron": 0.001, "µm": 0.001}
_SECONDS_PER_UNIT = {"s": 1.0, "sec": 1.0, "seconds": 1.0, "ms": 1e-3, "msec": 1e-3, "milliseconds": 1e-3}


def read_nrrd(path: Path, index: int | None) -> tuple[np.ndarray, np.ndarray]:
    """The voxels (X, Y, Z) of one volume and the affine (4, 4) in RAS mm.

    Raises:
        InputError: see `napari_synthseg.io`.
    """
    data, affine, others, _ = _read(path)
    with checks.reading(path, "NRRD"):
        count = max((data.shape[axis] for axis in others), default=1)
        chosen = checks.choose_index(path, count, index)
        places = tuple(
            min(chosen, data.shape[axis] - 1) if axis in others else slice(None) for axis in range(data.ndim)
        )
        return checks.plain_array(path, data[places]), affine


def read_nrrd_scan(path: Path) -> ScanFile:
    """All volumes, in the type of the file; see `scan_file.read_scans`."""
    data, affine, others, header = _read(path)
    data = checks.exact_array(path, data)
    several = [axis for axis in others if data.shape[axis] > 1]
    data = data.squeeze(tuple(axis for axis in others if axis not in several))
    if data.ndim == 3:
        return ScanFile(data, affine)
    axis = several[0] - sum(other < several[0] for other in others if other not in several)
    return ScanFile(np.moveaxis(data, axis, -1), affine, step=_step(header, several[0]))


def _read(path: Path) -> tuple[np.ndarray, np.ndarray, list[int], dict[str, Any]]:
    """The array of a file, the affine (4, 4) of its spatial axes, its other axes, and its header."""
    import nrrd

    with checks.reading(path, "NRRD"):
        with open(path, "rb") as file:
            header = nrrd.read_header(file)
        sizes = [int(n) for n in header["sizes"]]
        if any("color" in str(kind).lower() for kind in header.get("kinds", ())):
            raise InputError(f"{path} holds colours, not grey values: convert it to a single channel.")
        directions = _directions(path, header, len(sizes))
        spatial = [axis for axis, direction in enumerate(directions) if direction is not None]
        others = [axis for axis in range(len(sizes)) if axis not in spatial]
        if len(spatial) != 3 or sum(sizes[axis] > 1 for axis in others) > 1:
            text = " x ".join(str(n) for n in sizes)
            raise InputError(f"{path} is no 3D scan ({text}, {len(spatial)} spatial axes): give a 3D scan.")
        checks.check_shape(path, tuple(sizes[axis] for axis in spatial))
        affine = checks.check_affine(path, _affine(path, header, [directions[axis] for axis in spatial]))
        data, _ = nrrd.read(str(path))
        return data, affine, others, header


def _step(header: dict[str, Any], axis: int) -> float | None:
    """Seconds between the volumes along an axis; None where the header does not say."""
    units = [str(unit).strip('"').lower() for unit in header.get("units", ())]
    seconds = _SECONDS_PER_UNIT.get(units[axis]) if axis < len(units) else None
    spacings = header.get("spacings")
    if seconds is None or spacings is None or not np.isfinite(spacings[axis]) or spacings[axis] <= 0:
        return None
    return float(spacings[axis]) * seconds


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
