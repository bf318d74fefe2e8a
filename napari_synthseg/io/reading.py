"""Read one volume of any format, checked, or all that is in a file; tell label maps from images."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from napari_synthseg.errors import InputError
from napari_synthseg.io import checks
from napari_synthseg.io.formats import format_of
from napari_synthseg.io.scan import FileHeader, ScanFile
from napari_synthseg.volume import Volume

logger = logging.getLogger(__name__)

_LISTED = 6
"""Scans and volumes that a message names."""


class SeveralVolumes(InputError):
    """A file holds several volumes, `count`, and none was chosen."""

    def __init__(self, message: str, count: int) -> None:
        super().__init__(message)
        self.count = count


def read_volume(path: str | Path, *, index: int | None = None) -> Volume:
    """Read a scan: NIfTI, MGH/MGZ, NRRD, or (with the `dicom` extra) a DICOM file or a folder with one series.

    A few non-finite voxels become 0, with a logged warning; more than half of them are an error.

    Args:
        path: the file, or the folder of a DICOM series.
        index: which volume of a 4D file, from 0; needed there.

    Returns:
        The volume in its own voxel order: float32, or an integer type of at most 32 bits.

    Raises:
        InputError: the file is missing, damaged, all one value or mostly non-finite, or its header does not say where
            the voxels lie; the message is one sentence that names the file.
    """
    return read_with_header(path, index=index)[0]


def read_with_header(path: str | Path, *, index: int | None = None) -> tuple[Volume, FileHeader | None]:
    """Read a scan, and its header for the files that are made of it; see `read_volume`."""
    path = Path(path)
    scan, data = _one_volume(path, index)
    data = checks.finite(path, data)
    checks.check_contrast(path, data)
    return Volume(data, scan.affine), scan.header


def read_labels(path: str | Path) -> Volume:
    """Read a label map in its own voxel order, of an integer type of at most 32 bits; it may be all background.

    Raises:
        InputError: as `read_volume`, there are several volumes, or the values are not whole numbers.
    """
    path = Path(path)
    remedy = "give one label map, such as all segments saved on one layer"
    scan, data = _one_volume(path, None, remedy)
    if data.dtype.kind == "f":
        data = checks.finite(path, data)
        whole = np.rint(data)
        if np.abs(whole - data).max() > 1e-3 or np.abs(whole).max() >= 2**31:
            raise InputError(f"{path} is no label map, its values are not whole numbers: give a file of labels.")
        data = whole.astype(np.int32)
    return Volume(data, scan.affine)


def read_scans(path: str | Path) -> list[ScanFile]:
    """Read all that is in a file or in a DICOM folder, for a viewer: one scan, or each of several DICOM series.

    Nothing is changed: values that are not finite stay, and so does a volume of one value only (an empty mask).

    Raises:
        InputError: the file is missing, damaged, no scan, or its header does not say where the voxels lie.
    """
    path = Path(path)
    form = format_of(path)
    with checks.reading(path, form.name):
        return [scan.loaded() for scan in form.open(path)]


def _one_volume(path: Path, index: int | None, remedy: str | None = None) -> tuple[ScanFile, np.ndarray]:
    """The one scan at a path, and the voxels (X, Y, Z) of one of its volumes, in a plain type."""
    form = format_of(path)
    scans = form.open(path)
    if len(scans) > 1:
        some = [f"{one.source} ({one.name or 'no name'}, {_size(one)})" for one in scans[:_LISTED]]
        rest = f" and {len(scans) - _LISTED} more" if len(scans) > _LISTED else ""
        raise InputError(f"{path} holds {len(scans)} {form.name} series: give a file of one, {', '.join(some)}{rest}.")
    scan = scans[0]
    chosen = _chosen(path, scan, index, remedy)
    if scan.volume_names:
        logger.info("%s: volume %d is %s.", path, chosen, scan.volume_names[chosen])
    with checks.reading(path, form.name):
        return scan, checks.plain_array(path, np.asarray(scan.volume(chosen)))


def _size(scan: ScanFile) -> str:
    return " x ".join(str(n) for n in scan.data.shape[: 3 if scan.count == 1 else 4])


def _chosen(path: Path, scan: ScanFile, index: int | None, remedy: str | None) -> int:
    """The volume of a scan to read; `InputError` if there are several and none was chosen, or there is no such one."""
    count = scan.count
    if index is None:
        if count == 1:
            return 0
        named = "; ".join(f"{number}: {name}" for number, name in enumerate(scan.volume_names[:_LISTED]))
        names = f" ({named}{'; ...' if count > _LISTED else ''})" if named else ""
        how = f"choose one by its index, 0 to {count - 1}{names}, with --index of segment, batch or prompt"
        choose = remedy or f"{how}, or save it as a file of its own"
        raise SeveralVolumes(f"{path} holds {count} volumes: {choose}.", count)
    if not 0 <= index < count:
        there = "only volume 0" if count == 1 else f"volumes 0 to {count - 1}"
        raise InputError(f"{path} has no volume {index}: it holds {there}.")
    return index


FEW_VALUES, MANY_VALUES, MOST_VALUES = 16, 64, 2048
"""A label map of few values is known by these alone; an image of many may fill its range; no label map has more."""
GRAY_VALUES = 8
"""An image of evenly spaced levels has at least as many: fewer are more often tissues."""


def is_label_like(data: np.ndarray) -> bool:
    """Whether the values of an array (X, Y, Z) look like labels, not like intensities.

    Labels are whole and not negative, and few or mostly the same as their neighbor's; the most frequent value, which is
    background even if it is not 0, says nothing. The values of a smooth image or a mask with soft edges are few, too,
    and agree, but they are levels (`_are_levels`).
    """
    if data.dtype.kind == "b":
        return True
    thin = data[:, :, :: max(1, data.shape[2] // 32)]
    thin = thin if thin.any() else data  # a small lesion may lie between the slices
    if not is_whole(thin) or thin.size == 0 or thin.min() < 0:
        return False
    if not thin.any():
        return data.dtype.kind != "f"
    values, counts = np.unique(thin, return_counts=True)
    if len(values) > MOST_VALUES or _are_levels(thin, values):
        return False
    inside = thin[:-1] != values[counts.argmax()]
    agree = float((thin[1:] == thin[:-1])[inside].mean()) if inside.any() else 0.0
    full = len(values) > MANY_VALUES and len(values) > 0.75 * (float(values[-1]) - float(values[0]) + 1)
    few = len(values) <= FEW_VALUES  # noise of few values does not agree, but neither do spots, which are rare
    return (agree > (0.8 if full else 0.3 if few else 0.5) or (few and inside.mean() < 0.05)) and is_whole(data)


def _are_levels(data: np.ndarray, values: np.ndarray) -> bool:
    """Whether values that leave out few are levels: neighbors that differ are mostly a level apart, or edges blend.

    Edges do if the highest value has an area, but most between have none (numbered points have none at all).
    """
    range_ = float(values[-1]) - float(values[0])
    if len(values) < GRAY_VALUES or len(values) < 0.6 * (range_ / float(np.diff(values).min()) + 1):
        return False
    level = np.searchsorted(values, data)
    steps = np.abs(np.diff(level, axis=0))
    count = np.bincount(level[1:].ravel(), minlength=len(values))
    agree = np.bincount(level[1:][steps == 0], minlength=len(values)) / np.maximum(count, 1)
    return bool(np.mean(steps[steps > 0] == 1) > 0.6 or np.median(agree) < 0.25 < agree[-1])


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
