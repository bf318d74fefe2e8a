"""Labelled scans of any organ, size and spacing, resampled to the voxel size of a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from napari_synthseg.errors import InputError
from napari_synthseg.evaluation.scans import labelled_scans
from napari_synthseg.io import read_labels, read_volume, stem
from napari_synthseg.volume import Volume, resample_image, resample_labels_to, to_canonical

LONGEST = 192
"""Longest mean side of a scan, voxels, with the default voxel size."""
SAME_SPACING = 0.05
"""Relative difference of voxel sizes up to which scans are not resampled, as at prediction."""
LARGEST_LABEL = 32_767


@dataclass(frozen=True)
class OrganScan:
    """A labelled scan.

    Attributes:
        image: (X, Y, Z) float32, in the scan's own unit.
        labels: (X, Y, Z) int32.
        name: of the scan's file, without its ending.
    """

    image: np.ndarray
    labels: np.ndarray
    name: str


@dataclass(frozen=True)
class ScanFiles:
    """Files of a labelled scan, and its geometry before resampling.

    Attributes:
        scan: path of the image.
        labels: path of the label file.
        shape: voxels of the scan.
        spacing: their size, mm.
    """

    scan: Path
    labels: Path
    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]

    @property
    def name(self) -> str:
        return stem(self.scan)


def find(folder: Path, labels: Path | None = None) -> list[ScanFiles]:
    """Find the labelled scans of a folder.

    Args:
        folder: of scans.
        labels: of their label files, if these lie elsewhere.

    Raises:
        InputError: there is no such folder, or no labelled scan in it.
    """
    for one in (folder, labels):
        if one is not None and not one.is_dir():
            raise InputError(f"{one} is no folder: give one with scans and their label files.")
    found = []
    for scan, labelled in labelled_scans(folder, labels):
        volume = read_volume(scan)
        shape, spacing = volume.shape, tuple(float(s) for s in volume.spacing)
        found.append(ScanFiles(scan, labelled, shape, spacing))  # type: ignore[arg-type]
    if not found:
        raise InputError(
            f"{folder} holds no scan with a label file: name them alike, such as 01_image.nii.gz and 01_labels.nii.gz."
        )
    return found


def usual_spacing(found: Sequence[ScanFiles]) -> float:
    """Return the default voxel size, mm: the median of the scans' own, but coarser for very large scans.

    It is rounded to a twentieth of a millimeter if it is above a fifth of one.
    """
    edges = [float(np.prod(one.spacing)) ** (1 / 3) for one in found]
    sides = [float(np.prod(np.multiply(one.shape, one.spacing))) ** (1 / 3) for one in found]
    spacing = max(float(np.median(edges)), float(np.median(sides)) / LONGEST)
    return round(20 * spacing) / 20 if spacing > 0.2 else float(f"{spacing:.2g}")


def usual_crop(shapes: Sequence[Sequence[int]]) -> int:
    """Return the default side of a crop: the multiple of 32 below the median shortest side, from 64 to 160."""
    shortest = float(np.median([min(shape) for shape in shapes]))
    return int(min(160, max(64, shortest // 32 * 32)))


def read(found: ScanFiles, spacing: float) -> OrganScan:
    """Read a scan and its labels, and resample both to a voxel size; axes point right, anterior, superior.

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
        raise InputError(f"{found.labels.name} holds no label on the voxels of {found.scan.name}: is it the right one?")
    return OrganScan(np.asarray(scan.data, np.float32), labels, found.name)


def split(found: Sequence[ScanFiles], hold_out: Sequence[str]) -> tuple[list[ScanFiles], list[ScanFiles]]:
    """Split into training and held-out scans: those named (or whose names begin so), by default the last tenth.

    Raises:
        InputError: a name matches no scan, or nothing is left to train on.
    """
    for name in hold_out:
        if not any(one.name.startswith(name) for one in found):
            raise InputError(f"There is no scan named {name!r} to hold out: there are "
                             f"{', '.join(one.name for one in found)}.")  # fmt: skip
    last = {one.name for one in found[len(found) - len(found) // 10 :]}
    held = [one for one in found if (one.name.startswith(tuple(hold_out)) if hold_out else one.name in last)]
    rest = [one for one in found if one not in held]
    if not rest:
        raise InputError("No scan is left to train on: hold out fewer of them.")
    return rest, held


def with_labels(scan: OrganScan, labels: Sequence[int]) -> OrganScan:
    """Set the labels that a network does not predict to background."""
    return replace(scan, labels=np.where(np.isin(scan.labels, labels), scan.labels, 0))
