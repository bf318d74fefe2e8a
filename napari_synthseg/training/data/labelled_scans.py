"""Labelled scans, of any organ: found in folders, read with image and labels on one grid, held out by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np

from napari_synthseg.errors import InputError
from napari_synthseg.evaluation import scans
from napari_synthseg.inference.options import InferenceConfig
from napari_synthseg.inference.preprocess import prepare
from napari_synthseg.io import read_labels, read_volume, stem
from napari_synthseg.volume import Volume, resample_image, resample_labels_to, to_canonical

LONGEST = 192
"""Longest mean side of a scan, voxels, with the default voxel size."""
SAME_SPACING = 0.05
"""Relative difference of voxel sizes up to which scans are not resampled, as at prediction."""
LARGEST_LABEL = 32_767


class Named(Protocol):
    """Data with a name."""

    @property
    def name(self) -> str: ...


Item = TypeVar("Item", bound=Named)


@dataclass(frozen=True)
class ScanFiles:
    """Files of a labelled scan."""

    scan: Path
    labels: Path

    @property
    def name(self) -> str:
        """Name of the scan's file, without its ending."""
        return stem(self.scan)

    @property
    def short_name(self) -> str:
        """Name of the label file, without a last part such as `_labels`."""
        parts = stem(self.labels).split("_")
        return "_".join(parts[:-1] if scans.is_label_name(self.labels) and len(parts) > 1 else parts)


@dataclass(frozen=True)
class RawScan:
    """A scan and its labels on one grid, axes pointing right, anterior, superior."""

    name: str
    file: str
    """Name of its label file."""
    image: np.ndarray
    """(X, Y, Z) float32."""
    values: np.ndarray
    """(X, Y, Z) label values, or targets."""


def find(folder: Path, labels: Path | None = None) -> list[ScanFiles]:
    """Find the labelled scans of a folder (see `evaluation.scans.labelled_scans`).

    Args:
        folder: of scans.
        labels: of their label files, if these lie elsewhere.

    Raises:
        InputError: there is no such folder, or no labelled scan in it.
    """
    for one in (folder, labels):
        if one is not None and not one.is_dir():
            raise InputError(f"{one} is no folder: give one of scans with label files beside them.")
    found = [ScanFiles(*pair) for pair in scans.labelled_scans(folder, labels)]
    if not found:
        raise InputError(
            f"{folder} contains no scan with a label file: name them alike, such as 1002_t1.nii.gz and "
            "1002_labels.nii.gz."
        )
    return found


def read(found: ScanFiles, spacing: float = 1.0) -> RawScan:
    """Read a scan, in its own unit, and its labels, and resample both to a voxel size in mm.

    Raises:
        InputError: a file cannot be read, or its labels are negative, too large, or all 0.
    """
    scan, drawn = to_canonical(read_volume(found.scan)), to_canonical(read_labels(found.labels))
    scan = Volume(np.nan_to_num(np.asarray(scan.data, np.float32), posinf=0, neginf=0), scan.affine)
    if np.any(np.abs(np.asarray(scan.spacing) / spacing - 1) > SAME_SPACING):
        scan = resample_image(scan, spacing)
    labels = resample_labels_to(drawn, scan.shape, scan.affine).data.astype(np.int32)
    if labels.min() < 0 or labels.max() > LARGEST_LABEL:
        raise InputError(f"{found.labels.name} holds labels outside of 0 to {LARGEST_LABEL}: give others.")
    if not labels.any():
        raise InputError(f"{found.labels.name} has no label inside {found.scan.name}: check that they belong together.")
    return RawScan(found.short_name, found.labels.name, np.asarray(scan.data, np.float32), labels)


def read_as_predicted(found: ScanFiles, how: InferenceConfig) -> RawScan:
    """Read a scan as prediction gets it, from 0 on and at 1 mm, and its labels on the same grid.

    Raises:
        InputError: a file cannot be read, or labels and scan do not overlap.
    """
    grid = {"crop_to_head": how.crop_to_head, "reference_grid": how.reference_grid}
    made = prepare(read_volume(found.scan), **grid, name=found.scan.name)
    values = resample_labels_to(read_labels(found.labels), made.image.shape, made.affine).data
    if not values.any():
        raise InputError(f"{found.labels.name} has no label inside {found.scan.name}: check that they belong together.")
    return RawScan(found.short_name, found.labels.name, np.ascontiguousarray(made.image), values)


def hold_out(
    items: Sequence[Item], names: Sequence[str], kind: str, *, one_in: int = 10, least: int = 0
) -> tuple[list[Item], list[Item]]:
    """Split into items to train on and items held out for validation: those named, by default the last ones.

    Args:
        items: label maps, scans or files.
        names: of items, or beginnings of them.
        kind: of the items, for messages.
        one_in: by default, one item in this number is held out.
        least: fewest items held out by default, if there are several.

    Raises:
        InputError: a name matches no item, or nothing is left to train on.
    """
    there = [item.name for item in items]
    for name in names:
        if not any(one.startswith(name) for one in there):
            raise InputError(f"There is no {kind} named {name!r} to hold out: there are {', '.join(there)}.")
    chosen = [any(one == name or (name not in there and one.startswith(name)) for name in names) for one in there]
    if not names and len(there) > 1:
        count = max(least, len(there) // one_in)
        chosen = [i >= len(there) - count for i in range(len(there))]
    if items and all(chosen):
        raise InputError(f"No {kind} is left to train on: hold out fewer of them.")
    rest, held = ([item for item, out in zip(items, chosen, strict=True) if out == side] for side in (False, True))
    return rest, held


def usual_spacing(sizes: Sequence[tuple[Sequence[int], Sequence[float]]]) -> float:
    """Return the default voxel size, mm, for scans of these shapes (voxels) and spacings (mm).

    It is the median of the scans' own, but coarser for very large scans. Above a fifth of a millimeter it is rounded
    to a twentieth.
    """
    edges = [float(np.prod(spacing)) ** (1 / 3) for _, spacing in sizes]
    sides = [float(np.prod(np.multiply(shape, spacing))) ** (1 / 3) for shape, spacing in sizes]
    spacing = max(float(np.median(edges)), float(np.median(sides)) / LONGEST)
    return round(20 * spacing) / 20 if spacing > 0.2 else float(f"{spacing:.2g}")


def usual_crop(shapes: Sequence[Sequence[int]]) -> int:
    """Return the default side of a crop: the multiple of 32 below the median shortest side, from 64 to 160."""
    shortest = float(np.median([min(shape) for shape in shapes]))
    return int(min(160, max(64, shortest // 32 * 32)))
