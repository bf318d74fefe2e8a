"""DICOM series through pydicom (extra `dicom`): slices sorted by position, one volume of one series.

Classic files (one slice each) and enhanced multi-frame files. The affine takes the true step from slice to slice, so a
tilted gantry gives a sheared grid rather than a wrong one.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_synthseg.errors import InputError
from napari_synthseg.io import checks
from napari_synthseg.io.scan_file import ScanFile

logger = logging.getLogger(__name__)

_SAME_PLACE_MM = 0.01


@dataclass(frozen=True)
class _Slice:
    """One image plane of a series, its pixels not yet read."""

    path: Path
    frame: int | None
    """Frame number in a multi-frame file."""
    shape: tuple[int, int]
    """(rows, columns)"""
    position: np.ndarray
    """(3,) centre of the first pixel, LPS mm."""
    right: np.ndarray
    """(3,) step from column to column, LPS mm."""
    down: np.ndarray
    """(3,) step from row to row, LPS mm."""
    slope: float
    intercept: float
    order: tuple[int, ...]
    """Sorts the slices at one place: acquisition, echo, instance, frame."""


def read_dicom(path: Path, index: int | None) -> tuple[np.ndarray, np.ndarray]:
    """The voxels (columns, rows, slices) of one volume of a DICOM series and the affine (4, 4) in RAS mm.

    Args:
        path: a folder that holds one series, or a file (its series is read from the files beside it).
        index: which volume, where the series passes each slice position several times.

    Raises:
        InputError: no or several series, slices missing, or as in `napari_synthseg.io`.
    """
    _need_pydicom(path)
    with checks.reading(path, "DICOM"):
        volumes = _sorted_volumes(path, _slices(path, _one_series(path)))
        stack = volumes[checks.choose_index(path, len(volumes), index)]
        affine = checks.check_affine(path, _affine(path, stack))
        first = stack[0]
        checks.check_shape(path, (first.shape[1], first.shape[0], len(stack)))
        return checks.plain_array(path, _pixels(path, stack)), affine


def read_dicom_scans(path: Path) -> list[ScanFile]:
    """Every series in a folder, or the one that a file belongs to, by series number; see `scan_file.read_scans`.

    Series that are no volume (scouts, reports, single slices) are left out with a logged warning, as long as there is
    another one.

    Raises:
        InputError: no series is a volume.
    """
    _need_pydicom(path)
    found: list[ScanFile] = []
    refused: list[InputError] = []
    with checks.reading(path, "DICOM"):
        every = _all_series(path) if path.is_dir() else [_one_series(path)]
    for headers in every:
        try:
            with checks.reading(path, "DICOM"):
                found.append(_scan(path, headers))
        except InputError as error:
            refused.append(error)
    if not found:
        raise refused[0]
    for reason in refused:
        logger.warning("A series was left out: %s", reason)
    return found


def _scan(path: Path, headers: dict[Path, Any]) -> ScanFile:
    volumes = _sorted_volumes(path, _slices(path, headers))
    first = volumes[0][0]
    affine = checks.check_affine(path, _affine(path, volumes[0]))
    checks.check_shape(path, (first.shape[1], first.shape[0], len(volumes[0])))
    arrays = [checks.exact_array(path, _pixels(path, stack)) for stack in volumes]
    name = str(next(iter(headers.values())).get("SeriesDescription", "")).strip() or None
    return ScanFile(arrays[0] if len(arrays) == 1 else np.stack(arrays, axis=-1), affine, name=name)


def _need_pydicom(path: Path) -> None:
    try:
        import pydicom  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"{path} needs pydicom to be read as DICOM: pip install 'napari-synthseg[dicom]', or convert it to NIfTI."
        ) from error


def _all_series(path: Path) -> list[dict[Path, Any]]:
    """The headers of the images in a folder, one dictionary by file for each series, by series number."""
    series: dict[str, dict[Path, Any]] = defaultdict(dict)
    for file in sorted(path.iterdir()):
        if (header := _header(file)) is not None:
            series[str(header.get("SeriesInstanceUID", ""))][file] = header
    if not series:
        raise InputError(f"{path} holds no DICOM images: give the folder of one series, or a NIfTI file.")
    return sorted(series.values(), key=lambda headers: int(next(iter(headers.values())).get("SeriesNumber") or 0))


def _one_series(path: Path) -> dict[Path, Any]:
    """The headers by file of the one series at `path`: of the folder, or of what lies beside the file."""
    if path.is_dir():
        every = _all_series(path)
        if len(every) > 1:
            raise InputError(f"{path} holds {len(every)} DICOM series: put the one to read into a folder of its own.")
        return every[0]
    header = _header(path)
    if header is None:
        raise InputError(f"{path} holds no DICOM images: give the folder of one series, or a NIfTI file.")
    if "NumberOfFrames" in header:
        return {path: header}
    return next(headers for headers in _all_series(path.parent) if path in headers)


def _slices(path: Path, headers: dict[Path, Any]) -> list[_Slice]:
    """All image planes of a series."""
    import pydicom

    found: list[_Slice] = []
    for file, header in headers.items():
        if "MOSAIC" in [str(part).upper() for part in header.get("ImageType", [])]:
            raise InputError(f"{path} holds a Siemens mosaic: convert it to NIfTI with dcm2niix first.")
        if int(header.get("SamplesPerPixel", 1)) != 1:
            raise InputError(f"{path} holds colours, not grey values: give a scan.")
        if "PerFrameFunctionalGroupsSequence" in header:
            header = pydicom.dcmread(file, stop_before_pixels=True)
            found.extend(_frames(file, header))
        else:
            found.append(_classic(path, file, header))
    return found


def _header(file: Path) -> Any | None:
    """The header of a DICOM image, None for any other file."""
    import pydicom
    from pydicom.errors import InvalidDicomError

    if not file.is_file() or file.name.upper() == "DICOMDIR":
        return None
    try:
        header = pydicom.dcmread(file, stop_before_pixels=True)
    except (InvalidDicomError, EOFError):
        return None
    return header if "Rows" in header and "Columns" in header else None


def _classic(path: Path, file: Path, header: Any) -> _Slice:
    missing = [k for k in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing") if not header.get(k)]
    if missing:
        raise InputError(
            f"{path} has DICOM images without {missing[0]}, so their place is unknown: give an MR or CT scan."
        )
    order = tuple(int(header.get(k) or 0) for k in ("AcquisitionNumber", "EchoNumbers", "InstanceNumber"))
    return _slice(
        file,
        None,
        header,
        header.ImagePositionPatient,
        header.ImageOrientationPatient,
        header.PixelSpacing,
        header,
        order,
    )


def _frames(file: Path, header: Any) -> Iterator[_Slice]:
    shared = (header.get("SharedFunctionalGroupsSequence") or [None])[0]
    for number, own in enumerate(header.PerFrameFunctionalGroupsSequence):

        def group(name: str, own: Any = own) -> Any:
            """A functional group of the frame, or the one shared by all."""
            for place in (own, shared):
                if place is not None and name in place:
                    return place[name][0]
            raise InputError(f"{file} lacks {name}, so the place of its frames is unknown: convert it with dcm2niix.")

        measures = group("PixelMeasuresSequence")
        position = group("PlanePositionSequence").ImagePositionPatient
        orientation = group("PlaneOrientationSequence").ImageOrientationPatient
        try:
            rescale = group("PixelValueTransformationSequence")
        except InputError:
            rescale = header
        yield _slice(file, number, header, position, orientation, measures.PixelSpacing, rescale, (0, 0, 0, number))


def _slice(
    file: Path, frame: int | None, header: Any, position: Any, orientation: Any, spacing: Any, rescale: Any, order: Any
) -> _Slice:
    cosines = np.array([float(c) for c in orientation])
    row_mm, column_mm = (float(s) for s in spacing)
    return _Slice(
        path=file,
        frame=frame,
        shape=(int(header.Rows), int(header.Columns)),
        position=np.array([float(p) for p in position]),
        right=cosines[:3] * column_mm,
        down=cosines[3:] * row_mm,
        slope=float(rescale.get("RescaleSlope", 1) or 1),
        intercept=float(rescale.get("RescaleIntercept", 0) or 0),
        order=tuple(order),
    )


def _sorted_volumes(path: Path, slices: list[_Slice]) -> list[list[_Slice]]:
    """The volumes of a series: slices in order along their normal; the n-th at every place make volume n."""
    first = slices[0]
    for other in slices:
        off = max(np.abs(other.right - first.right).max(), np.abs(other.down - first.down).max())
        if other.shape != first.shape or off > 1e-3:
            raise InputError(f"{path} has slices of different size or direction: keep one stack of slices.")
    normal = np.cross(first.right, first.down)
    normal /= np.linalg.norm(normal)
    places: dict[int, list[_Slice]] = defaultdict(list)
    for item in slices:
        places[round(float(item.position @ normal) / _SAME_PLACE_MM)].append(item)
    stacks = [sorted(places[place], key=lambda s: s.order) for place in sorted(places)]
    counts = {len(stack) for stack in stacks}
    if len(counts) > 1:
        raise InputError(f"{path} has some slices {min(counts)} and some {max(counts)} times: copy the series again.")
    if len(stacks) < 2:
        raise InputError(f"{path} is a single slice: give the folder of a 3D scan.")
    return [list(volume) for volume in zip(*stacks, strict=True)]


def _affine(path: Path, stack: list[_Slice]) -> np.ndarray:
    """(4, 4) from (column, row, slice) to RAS mm; the slices must be evenly spaced."""
    positions = np.array([s.position for s in stack])
    step = (positions[-1] - positions[0]) / (len(stack) - 1)
    even = positions[0] + np.arange(len(stack))[:, None] * step
    if np.abs(positions - even).max() > 0.1 * np.linalg.norm(step):
        raise InputError(f"{path} has unevenly spaced slices, some may be missing: copy the series again.")
    lps = np.eye(4)
    lps[:3, :3] = np.column_stack([stack[0].right, stack[0].down, step])
    lps[:3, 3] = positions[0]
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ lps


def _pixels(path: Path, stack: list[_Slice]) -> np.ndarray:
    """(columns, rows, slices), rescaled; integers where nothing was to rescale."""
    import pydicom

    planes = []
    opened: tuple[Path, np.ndarray] | None = None
    for item in stack:
        if opened is None or opened[0] != item.path:
            opened = (item.path, pydicom.dcmread(item.path).pixel_array)
        plane = opened[1] if item.frame is None else opened[1].reshape(-1, *item.shape)[item.frame]
        if (item.slope, item.intercept) != (1.0, 0.0):
            plane = plane.astype(np.float32) * np.float32(item.slope) + np.float32(item.intercept)
        planes.append(np.asarray(plane).T)
    return np.stack(planes, axis=-1)
