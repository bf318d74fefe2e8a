"""Labelled scans: read, resampled to 1 mm as prediction does, and their labels turned into targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from napari_synthseg import anatomy
from napari_synthseg.errors import InputError
from napari_synthseg.evaluation.scans import is_label_name, labelled_scans
from napari_synthseg.inference.options import InferenceConfig
from napari_synthseg.inference.preprocess import brain_center, prepare, rescale
from napari_synthseg.io import read_labels, read_volume, stem
from napari_synthseg.training.data.targets import IGNORED, LabelTargets, counted, make_targets
from napari_synthseg.volume import resample_labels_to

NAMED = 8
"""Most unknown labels that a message names."""


@dataclass(frozen=True)
class RawScan:
    """A scan and its labels at 1 mm, axes pointing right, anterior, superior.

    Attributes:
        name: the beginning of its file's name, up to the first underscore.
        file: its label file's name.
        image: (X, Y, Z) float32 from 0 on, as `inference.preprocess.prepare` gives it.
        values: (X, Y, Z) label values.
    """

    name: str
    file: str
    image: np.ndarray
    values: np.ndarray


@dataclass(frozen=True)
class LabelledScan:
    """A scan with targets.

    Attributes:
        name: see `RawScan`.
        image: (X, Y, Z) float16 at 1 mm, in [0, 1]: by the largest intensity, or by the percentiles of the whole scan.
        targets: (X, Y, Z) uint8.
        centre: (3,) voxel around which the scan is looked at.
        pooled: (X/p, Y/p, Z/p), means over p^3 voxels.
        pool: p.
    """

    name: str
    image: torch.Tensor
    targets: torch.Tensor
    centre: tuple[float, float, float]
    pooled: torch.Tensor
    pool: int

    def to(self, device: torch.device | str) -> LabelledScan:
        """Move the scan to a device."""
        moved: dict[str, Any] = {k: getattr(self, k).to(device) for k in ("image", "targets", "pooled")}
        return replace(self, **moved)


@dataclass(frozen=True)
class InputSpec:
    """How a network gets scans.

    Attributes:
        how: preparation at prediction: crop to the head, voxels of 1 mm, percentiles that become 0 and 1.
        whole: whether these are percentiles of the whole scan (a fast network has its own rule).
        pool: size of the voxels of the network, or its first stage, mm.
        guess: whether its field is centered on the brain as estimated from the outline of the head, as at prediction.
    """

    how: InferenceConfig
    whole: bool = True
    pool: int = 1
    guess: bool = False


def read_scans(folder: Path, how: InferenceConfig, labels: Path | None = None) -> list[RawScan]:
    """Read the labelled scans of a folder (see `evaluation.scans.labelled_scans`).

    Args:
        folder: of scans, and of their label files unless these lie elsewhere.
        labels: folder of the label files.
        how: preparation of scans for the network.

    Raises:
        InputError: there is no such folder or pair, a file cannot be read, or labels and scan do not overlap.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder: give one of scans with label files beside them.")
    pairs = labelled_scans(folder, labels)
    if not pairs:
        raise InputError(
            f"{folder} contains no scan with a label file beside it: name them alike, such as 1002_t1.nii.gz and "
            "1002_labels.nii.gz."
        )
    return [_read(scan, found, how) for scan, found in pairs]


def _read(scan: Path, labels: Path, how: InferenceConfig) -> RawScan:
    made = prepare(read_volume(scan), crop_to_head=how.crop_to_head, reference_grid=how.reference_grid, name=scan.name)
    values = resample_labels_to(read_labels(labels), made.image.shape, made.affine).data
    if not values.any():
        raise InputError(f"{labels.name} has no label inside {scan.name}: check that they belong together.")
    return RawScan(_name(labels), labels.name, np.ascontiguousarray(made.image), values)


def _name(labels: Path) -> str:
    """Return the name of a scan: its label file's without the last part."""
    parts = stem(labels).split("_")
    return "_".join(parts[:-1] if is_label_name(labels) and len(parts) > 1 else parts)


def known_values(
    scans: Sequence[RawScan], labels: Sequence[int], task: str, unknown: str = "refuse"
) -> dict[int, int | None]:
    """Map each value in the scans by `targets.counted`.

    Args:
        scans: whose values are mapped.
        labels: the network's.
        task: one of `anatomy.TASKS`.
        unknown: "refuse" unknown values, or "ignore" them (None).

    Raises:
        InputError: there are unknown values to refuse; the message names them.
    """
    found: dict[int, int | None] = {}
    strangers: dict[int, str] = {}
    for scan in scans:
        for value in map(int, np.unique(scan.values)):
            try:
                found.setdefault(value, counted(value, labels, task))
            except ValueError:
                found[value] = None
                strangers.setdefault(value, scan.file)
    if strangers and unknown == "refuse":
        some = ", ".join(map(str, sorted(strangers)[:NAMED])) + (" and others" if len(strangers) > NAMED else "")
        raise InputError(
            f"{next(iter(strangers.values()))} holds labels that the task {task!r} does not know ({some}): change them "
            "to values of the label table (resources/labels.tsv), or leave them out with --unknown ignore."
        )
    return found


def targets_for(
    training: Sequence[RawScan],
    others: Sequence[RawScan],
    labels: Sequence[int],
    task: str,
    *,
    unlabelled: Sequence[int] = (),
    unknown: str = "refuse",
) -> tuple[LabelTargets, dict[int, int]]:
    """Return the targets of a network for scans, and the target of each of their values.

    Args:
        training: scans to learn from.
        others: scans to score on.
        labels: the network's.
        task: one of `anatomy.TASKS`.
        unlabelled: labels of the network that the scans do not show completely.
        unknown: "refuse" or "ignore" unknown values.

    Raises:
        InputError: see `known_values` and `make_targets`.
    """
    known = known_values([*training, *others], labels, task, unknown)
    present = {known[int(v)] for scan in training for v in np.unique(scan.values)}
    targets = make_targets(labels, task, {v for v in present if v is not None}, unlabelled)
    place = {v: targets.groups[i] for i, v in enumerate(labels)} if task == "all" else _task_places(targets)
    return targets, {value: IGNORED if means is None else place[means] for value, means in known.items()}


def _task_places(targets: LabelTargets) -> dict[int, int]:
    """Return the target of each value of a task."""
    places = {v: i for i, v in enumerate(targets.values)}
    return {v: places.get(v, 0) for v in anatomy.task_values(targets.task)}


def with_targets(scan: RawScan, targets: LabelTargets, places: dict[int, int], look: InputSpec) -> LabelledScan:
    """Prepare a scan for training.

    Raises:
        InputError: it has no label of the task.
    """
    made = targets.of_values(scan.values, places)
    inside = np.argwhere((made > 0) & (made != IGNORED))
    if not len(inside):
        raise InputError(f"{scan.file} has no label that the network could learn for the task {targets.task!r}.")
    centre = brain_center(scan.image) if look.guess else (inside.min(0) + inside.max(0)) / 2
    image = torch.from_numpy(
        rescale(scan.image, *look.how.percentiles) if look.whole else scan.image / scan.image.max()
    )
    return LabelledScan(
        scan.name,
        image.half(),
        torch.from_numpy(made),
        tuple(centre.tolist()),
        F.avg_pool3d(image[None, None], look.pool)[0, 0].half(),
        look.pool,
    )


def held_out(scans: Sequence[RawScan], names: Sequence[str]) -> tuple[list[RawScan], list[RawScan]]:
    """Split into scans to learn from and scans that choose the best checkpoint: those named, or the last fifth.

    Raises:
        InputError: a name matches no scan, or nothing is left to learn from.
    """
    there = [scan.name for scan in scans]
    if unknown := set(names) - set(there):
        raise InputError(f"There is no scan {min(unknown)!r} to hold out: there are {', '.join(there)}.")
    kept = set(names) or (set(there[-max(1, len(there) // 5) :]) if len(there) > 1 else set())
    rest = [scan for scan in scans if scan.name not in kept]
    if not rest:
        raise InputError("No labelled scan is left to learn from: hold out fewer of them.")
    return rest, [scan for scan in scans if scan.name in kept]
