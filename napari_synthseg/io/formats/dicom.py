"""DICOM series through pydicom (extra `dicom`): slices sorted by position, volumes by what the headers say of them.

Classic files (one slice each) and enhanced multi-frame files, in one folder or in those below it, whatever their names.
The affine takes the true step from slice to slice, so a tilted gantry gives a sheared grid rather than a wrong one.
"""

from __future__ import annotations

import gzip
import logging
import math
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from napari_synthseg.errors import InputError
from napari_synthseg.io import checks, formats
from napari_synthseg.io.formats import Format, first_bytes, register
from napari_synthseg.io.scan import ScanFile, Series

logger = logging.getLogger(__name__)

MAGIC = b"DICM"
_SAME_PLACE_MM = 0.01
_LAST = math.inf
"""Sorts numbers that a header does not have, or that cannot be read, behind all others."""
_COMPONENTS = ("magnitude", "phase", "real", "imaginary")

_KEYS = {
    "time": ("TemporalPositionIdentifier", "FrameContentSequence", "TemporalPositionIndex"),
    "acquisition": ("AcquisitionNumber", "FrameContentSequence", "FrameAcquisitionNumber"),
    "component": ("ComplexImageComponent ImageType", "MRImageFrameTypeSequence", "ComplexImageComponent"),
    "echo": ("EchoTime EchoNumbers", "MREchoSequence", "EffectiveEchoTime"),
    "image": ("InstanceNumber", "", ""),
    "clock": ("TriggerTime AcquisitionTime ContentTime", "FrameContentSequence", "FrameAcquisitionDateTime"),
    "b": ("DiffusionBValue", "MRDiffusionSequence", "DiffusionBValue"),
}
"""What tells the volumes of a series apart, first things first: keywords in a file's header, of which the first counts;
and a functional group of a frame with the keyword there, which goes before."""

Headers = dict[Path, Any]
"""The headers of the files of one series."""


@dataclass(frozen=True)
class _Slice:
    """One image plane of a series, its pixels not yet read."""

    path: Path
    frame: int | None
    """Frame number in a multi-frame file."""
    shape: tuple[int, int]
    """(rows, columns)"""
    position: np.ndarray
    """(3,) center of the first pixel, LPS mm."""
    right: np.ndarray
    """(3,) step from column to column, LPS mm."""
    down: np.ndarray
    """(3,) step from row to row, LPS mm."""
    thickness: float
    """mm; only a series of a single slice needs it."""
    slope: float
    intercept: float
    moment: dict[str, float]
    """The number of each of `_KEYS`, and of the frame; the first sort before the last."""


@register
class DICOM(Format):
    """DICOM files and folders of them."""

    name = "DICOM"
    endings = (".dcm", ".dicom", ".ima")
    folders = True

    def recognizes(self, start: bytes) -> bool:
        return start[128:132] == MAGIC

    def open(self, path: Path) -> list[ScanFile]:
        """Return the series in a folder (if it has none, in those below it), or the one that a file belongs to.

        Series that are no volume (scouts, reports, single slices) are left out with a logged warning, as long as there
        is another one.

        Raises:
            InputError: no series is usable, pydicom is missing, or as in `napari_synthseg.io`.
        """
        path = path.parent if path.name.upper() == "DICOMDIR" else path
        try:
            import pydicom  # noqa: F401
        except ImportError as error:
            install = "pip install 'napari-synthseg[dicom]'"
            raise InputError(f"{path} needs pydicom to be read as DICOM: {install}, or convert it to NIfTI.") from error
        with checks.reading(path, self.name):
            every = _all_series(path) if path.is_dir() else [_series_of(path)]
        found: list[ScanFile] = []
        refused: list[InputError] = []
        for headers in every:
            try:
                with checks.reading(path, self.name):
                    found.append(_scan(path, headers))
            except InputError as error:
                refused.append(error)
        solid = [scan for scan in found if scan.data.shape[2] > 1]
        if not found:
            raise refused[0]
        left_out = len(found) - len(solid) if solid else 0
        for reason in (*map(str, refused), *([f"{left_out} of a single slice each."] if left_out else [])):
            logger.warning("Series of %s were left out: %s", path, reason)
        return solid or found


def is_dicom(path: Path) -> bool:
    """Whether a file has the mark of DICOM, whatever its name."""
    return first_bytes(path)[128:132] == MAGIC


def _all_series(path: Path) -> list[Headers]:
    """The headers of the images in a folder, else of those below it, for each series, by series number."""
    series: dict[str, Headers] = defaultdict(dict)
    seen: set[str] = set()
    for here, folders, files in os.walk(path, followlinks=True):
        images = _headers(here, files) if (real := os.path.realpath(here)) not in seen else {}
        for file, header in images.items():
            series[str(header.get("SeriesInstanceUID", ""))][file] = header
        inner = sorted(one for one in folders if not one.startswith("."))
        folders[:] = [] if real in seen or (series and here == str(path)) else inner
        seen.add(real)
    if not series:
        raise InputError(f"{path} holds no DICOM images: give the folder of one series, or a NIfTI file.")
    return sorted(series.values(), key=lambda headers: _number(next(iter(headers.values())).get("SeriesNumber")))


def _series_of(path: Path) -> Headers:
    """The headers of the series that a file belongs to: those of its files that lie beside it."""
    header = _header(path)
    if header is None:
        raise InputError(f"{path} holds no DICOM images: give the folder of one series, or a NIfTI file.")
    if "NumberOfFrames" in header:
        return {path: header}
    beside = _headers(path.parent, os.listdir(path.parent))
    own = header.get("SeriesInstanceUID")
    return {path: header} | {file: one for file, one in beside.items() if one.get("SeriesInstanceUID") == own}


def _headers(folder: Path | str, names: Iterable[str]) -> Headers:
    """The headers of the images among some files of a folder, in the order of their names."""
    files = (file for name in sorted(names) if formats.may_be_slice(file := Path(folder, name)))
    return {file: header for file in files if (header := _header(file)) is not None}


def _header(file: Path) -> Any | None:
    """The header of a DICOM image, None for any other file; raises `InputError` for one that was not fetched."""
    from pydicom.errors import InvalidDicomError

    if not file.is_file():
        if file.is_symlink():
            formats.check_there(file)
        return None
    with suppress(InvalidDicomError, EOFError):
        if "Rows" in (header := _read(file, stop_before_pixels=True)) and "Columns" in header:
            return header
    formats.check_fetched(file)
    return None


def _read(file: Path, **options: Any) -> Any:
    """Read a file, packed by gzip or not; one with an ending of DICOM's need not have DICOM's mark."""
    import pydicom

    with gzip.open(file) if formats.is_gzip(file) else open(file, "rb") as stream:
        return pydicom.dcmread(stream, force=formats.suffix(file) in DICOM.endings, **options)


def _number(value: Any, otherwise: float = _LAST) -> float:
    """A number of a header, or another one if it is missing or none."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return otherwise
    return number if math.isfinite(number) else otherwise


def _of(header: Any, key: str) -> Any:
    """A value of a header; None if it is missing or cannot be read."""
    try:
        return header.get(key)
    except Exception:  # pydicom reads values when they are asked for, and raises whatever is wrong with them
        return None


def _moment(header: Any, group: Callable[[str], Any] = lambda _: {}, frame: int = 0) -> dict[str, float]:
    """What tells an image's volume from the others of its series."""
    found = {}
    for name, (keywords, within, own) in _KEYS.items():
        value = next((one for key in keywords.split() if (one := _of(header, key)) is not None), None)
        number = _rank if name == "component" else _number
        found[name] = number(_of(group(within), own), number(value))
    return {**found, "frame": frame}


def _rank(words: Any, otherwise: float = _LAST) -> float:
    """The place in `_COMPONENTS` of one that the words of ImageType or ComplexImageComponent name."""
    said = {str(word).lower() for word in ([words] if isinstance(words, str) else words or ())}
    return next((rank for rank, one in enumerate(_COMPONENTS) if {one, one[0]} & said), otherwise)


def _scan(path: Path, headers: Headers) -> ScanFile:
    volumes = _sorted_volumes(path, _slices(path, headers))
    first = volumes[0][0]
    moments = [one.moment for stack in volumes for one in stack] if len(volumes) > 1 else []
    if any(len({one[key] == _LAST for one in moments}) > 1 for key in ("time", "acquisition", "image")):
        logger.warning("%s has slices that do not say to which volume they belong: look at its volumes first.", path)
    affine = checks.check_affine(path, _affine(path, volumes[0]))
    shape = (first.shape[1], first.shape[0], len(volumes[0]))
    checks.check_shape(path, shape)
    plain = all((one.slope, one.intercept) == (1.0, 0.0) for stack in volumes for one in stack)
    kind = _pixel_type(next(iter(headers.values()))) if plain else np.dtype(np.float32)

    def volume(index: int) -> np.ndarray:
        with checks.reading(path, "DICOM"):
            return checks.exact_array(path, _pixels(path, volumes[index]).astype(kind, copy=False))

    data = Series((*shape, len(volumes)), kind, volume)
    name = " ".join(str(_of(next(iter(headers.values())), "SeriesDescription") or "").split()) or None
    names = _names([stack[0].moment for stack in volumes])
    return ScanFile(data, affine, name=name, volume_names=names, source=next(iter(headers)))


def _pixel_type(header: Any) -> np.dtype:
    kind = "i" if int(_number(_of(header, "PixelRepresentation"), 0)) else "u"
    size = int(_number(_of(header, "BitsAllocated"), 16)) // 8
    return np.dtype(f"{kind}{size}") if size in (1, 2, 4) else np.dtype(np.float32)


def _names(moments: list[dict[str, float]]) -> tuple[str, ...]:
    """What tells volumes apart in words, such as "echo 2, phase"; empty for a single volume, and if nothing does."""
    parts: list[list[str]] = [[] for _ in moments]
    for key in ("time", "acquisition", "echo", "component", "b", "image"):
        values = [one[key] for one in moments]
        if len(different := sorted(set(values))) < 2 or (key == "image" and any(parts)):
            continue
        for own, value in zip(parts, values, strict=True):
            if key == "component":
                own.append(_COMPONENTS[int(value)] if value < _LAST else "of no kind")
            else:
                own.append(f"{key} {value:g}" if key in ("b", "image") else f"{key} {different.index(value) + 1}")
    return tuple(map(", ".join, parts)) if any(parts) else ()


def _slices(path: Path, headers: Headers) -> list[_Slice]:
    """All image planes of a series."""
    found: list[_Slice] = []
    keys = ("SOPInstanceUID", "ImagePositionPatient", *(key for one in _KEYS.values() for key in one[0].split()))
    for file, header in {str([_of(one, key) for key in keys]): (file, one) for file, one in headers.items()}.values():
        # a file that is there twice counts once
        if "MOSAIC" in [str(part).upper() for part in header.get("ImageType", [])]:
            raise InputError(f"{path} holds a Siemens mosaic: convert it to NIfTI with dcm2niix first.")
        if int(header.get("SamplesPerPixel", 1)) != 1:
            raise InputError(f"{path} holds colors, not gray values: give a scan.")
        if "PerFrameFunctionalGroupsSequence" in header:
            found.extend(_frames(file, header))
        elif _number(_of(header, "NumberOfFrames"), 1) > 1:
            raise InputError(f"{path} holds frames that do not say where they lie: convert it with dcm2niix.")
        else:
            found.append(_classic(path, file, header))
    return found


def _classic(path: Path, file: Path, header: Any) -> _Slice:
    keys = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
    if missing := [key for key in keys if not header.get(key)]:
        raise InputError(
            f"{path} has DICOM images without {missing[0]}, so their place is unknown: give an MR or CT scan."
        )
    return _slice(file, None, header, tuple(map(header.get, keys)), header, _moment(header))


def _frames(file: Path, header: Any) -> Iterator[_Slice]:
    shared = (header.get("SharedFunctionalGroupsSequence") or [None])[0]
    for number, own in enumerate(header.PerFrameFunctionalGroupsSequence):

        def group(name: str, own: Any = own) -> Any:
            """A functional group of the frame, or the one shared by all; empty if there is none."""
            return next((place[name][0] for place in (own, shared) if name and place and name in place), {})

        needed = ("PixelMeasuresSequence", "PlanePositionSequence", "PlaneOrientationSequence")
        if missing := [name for name in needed if not group(name)]:
            raise InputError(
                f"{file} lacks {missing[0]}, so the place of its frames is unknown: convert it with dcm2niix."
            )
        measures, position, orientation = map(group, needed)
        place = (position.ImagePositionPatient, orientation.ImageOrientationPatient, measures.PixelSpacing)
        rescale = group("PixelValueTransformationSequence") or header
        thickness = _number(_of(measures, "SliceThickness"), 1.0)
        one = _slice(file, number, header, place, rescale, _moment(header, group, number))
        yield replace(one, thickness=thickness)


def _slice(
    file: Path, frame: int | None, header: Any, place: tuple[Any, ...], rescale: Any, moment: dict[str, float]
) -> _Slice:
    position, orientation, spacing = (np.array([float(number) for number in numbers]) for numbers in place)
    return _Slice(
        path=file,
        frame=frame,
        shape=(int(header.Rows), int(header.Columns)),
        position=position,
        right=orientation[:3] * spacing[1],
        down=orientation[3:] * spacing[0],
        thickness=_number(_of(header, "SliceThickness"), 1.0) or 1.0,
        slope=float(rescale.get("RescaleSlope", 1) or 1),
        intercept=float(rescale.get("RescaleIntercept", 0) or 0),
        moment=moment,
    )


def _sorted_volumes(path: Path, slices: list[_Slice]) -> list[list[_Slice]]:
    """The volumes of a series: slices in order along their normal; the n-th at every place make volume n."""
    first = slices[0]
    for other in slices:
        off = max(np.abs(other.right - first.right).max(), np.abs(other.down - first.down).max())
        if other.shape != first.shape or off > 1e-3:
            raise InputError(f"{path} has slices of different size or direction: keep one stack of slices.")
    normal = _normal(first)
    places: dict[int, list[_Slice]] = defaultdict(list)
    for item in slices:
        places[round(float(item.position @ normal) / _SAME_PLACE_MM)].append(item)
    stacks = [sorted(places[place], key=lambda one: [*one.moment.values()]) for place in sorted(places)]
    counts = {len(stack) for stack in stacks}
    if len(counts) > 1:
        raise InputError(f"{path} has some slices {min(counts)} and some {max(counts)} times: copy the series again.")
    return [list(volume) for volume in zip(*stacks, strict=True)]


def _normal(one: _Slice) -> np.ndarray:
    normal = np.cross(one.right, one.down)
    return normal / np.linalg.norm(normal)


def _affine(path: Path, stack: list[_Slice]) -> np.ndarray:
    """(4, 4) from (column, row, slice) to RAS mm; the slices must be evenly spaced."""
    positions = np.array([s.position for s in stack])
    step = _normal(stack[0]) * stack[0].thickness
    if len(stack) > 1:
        step = (positions[-1] - positions[0]) / (len(stack) - 1)
        even = positions[0] + np.arange(len(stack))[:, None] * step
        if np.abs(positions - even).max() > 0.1 * np.linalg.norm(step):
            raise InputError(f"{path} has unevenly spaced slices, some may be missing: copy the series again.")
    lps = np.eye(4)
    lps[:3, :3] = np.column_stack([stack[0].right, stack[0].down, step])
    lps[:3, 3] = positions[0]
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ lps


def _pixels(path: Path, stack: list[_Slice]) -> np.ndarray:
    """(columns, rows, slices), rescaled; integers if there is nothing to rescale."""
    planes = []
    opened: tuple[Path, np.ndarray] | None = None
    for item in stack:
        if opened is None or opened[0] != item.path:
            opened = (item.path, _decoded(path, item.path))
        plane = opened[1] if item.frame is None else opened[1].reshape(-1, *item.shape)[item.frame]
        if (item.slope, item.intercept) != (1.0, 0.0):
            plane = plane.astype(np.float32) * np.float32(item.slope) + np.float32(item.intercept)
        planes.append(np.asarray(plane).T)
    return np.stack(planes, axis=-1)


def _decoded(path: Path, file: Path) -> np.ndarray:
    content = _read(file)
    try:
        return content.pixel_array
    except RuntimeError as error:
        missing = any(word in str(error) for word in ("dependencies", "decoders"))
        if not missing and "support" not in str(error):
            raise
        syntax = getattr(content.file_meta.get("TransferSyntaxUID"), "name", "an unknown method")
        remedy = "pip install 'napari-synthseg[dicom]'" if missing else "decompress it with dcmdjpeg of DCMTK"
        raise InputError(
            f"{path} is compressed ({syntax}), which cannot be read here: {remedy}, or convert it with dcm2niix."
        ) from error
