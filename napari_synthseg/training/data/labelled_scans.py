"""Labelled scans, of any organ: found, read, held out by name, and how their labels correspond to a network's channels.

Scans may be labelled more coarsely than the network predicts (a brain mask, four tissues), or in part (the hippocampi
alone). So the network's channels are grouped: at a voxel labelled as a group, the probabilities of its members shall
add up to one, in any proportion. Labels that no scan contains belong to the group of the background.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from napari_synthseg import anatomy
from napari_synthseg.errors import InputError
from napari_synthseg.evaluation import scans
from napari_synthseg.inference.options import InferenceConfig
from napari_synthseg.inference.preprocess import prepare
from napari_synthseg.io import read_labels, read_volume, stem
from napari_synthseg.training.engine.loop import labelled_picture
from napari_synthseg.training.engine.losses import IGNORED
from napari_synthseg.volume import Volume, resample_image, resample_labels_to, to_canonical

LONGEST = 192
"""Longest mean side of a scan, voxels, with the default voxel size."""
SAME_SPACING = 0.05
"""Relative difference of voxel sizes up to which scans are not resampled, as at prediction."""
LARGEST_LABEL = 32_767


Item = TypeVar("Item", bound=Any)
"""Data with a name."""


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


def read_as_predicted(found: ScanFiles, how: InferenceConfig, keep: Collection[int] = ()) -> RawScan:
    """Read a scan as prediction gets it, from 0 on and at 1 mm, and its labels on the same grid.

    FreeSurfer's own values become those of the label table, but for lesions, which say no side, and values to `keep`.

    Raises:
        InputError: a file cannot be read, or labels and scan do not overlap.
    """
    grid = {"crop_to_head": how.crop_to_head, "reference_grid": how.reference_grid}
    made = prepare(read_volume(found.scan), **grid, name=found.scan.name)
    values = resample_labels_to(read_labels(found.labels), made.image.shape, made.affine).data
    if not values.any():
        raise InputError(f"{found.labels.name} has no label inside {found.scan.name}: check that they belong together.")
    values, _ = anatomy.from_freesurfer(values, keep={*keep, *anatomy.parcels(), anatomy.LESION})
    return RawScan(found.short_name, found.labels.name, np.ascontiguousarray(made.image), values)


def hold_out(
    items: Sequence[Item], names: Sequence[str], kind: str, *, one_in: int = 10, least: int = 0
) -> tuple[list[Item], list[Item]]:
    """Split into items to train on and items held out for validation.

    Args:
        items: label maps, scans or files, with names.
        names: of those held out, or beginnings of them; by default the last ones are.
        kind: of the items, for messages.
        one_in: one item in this number is held out by default.
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

    It is the median, coarser for very large scans, and above 0.2 mm a multiple of 0.05 mm.
    """
    edges = [float(np.prod(spacing)) ** (1 / 3) for _, spacing in sizes]
    sides = [float(np.prod(np.multiply(shape, spacing))) ** (1 / 3) for shape, spacing in sizes]
    spacing = max(float(np.median(edges)), float(np.median(sides)) / LONGEST)
    return round(20 * spacing) / 20 if spacing > 0.2 else float(f"{spacing:.2g}")


def usual_crop(shapes: Sequence[Sequence[int]]) -> int:
    """Return the default side of a crop: the multiple of 32 below the median shortest side, from 64 to 160."""
    shortest = float(np.median([min(shape) for shape in shapes]))
    return int(min(160, max(64, shortest // 32 * 32)))


@dataclass(frozen=True)
class LabelTargets:
    """Maps label values and the channels of a network to targets."""

    labels: tuple[int, ...]
    """(K,) the network's values, background first."""
    groups: tuple[int, ...]
    """(K,) target of each channel; 0 is the background's."""
    values: tuple[int, ...]
    """(G,) value that shows each target: of the network, or of the task."""
    names: tuple[str, ...]
    scored: tuple[bool, ...]
    """(G,) whether a target's Dice enters the score."""
    task: str = "all"
    """One of `anatomy.TASKS`."""

    @cached_property
    def mirror(self) -> bool:
        """Whether the sides of all labels are known, so that scans can be mirrored."""
        return all(anatomy.known(v) for v in self.labels)

    def picture(self, image: torch.Tensor, truth: torch.Tensor, found: torch.Tensor) -> dict[str, np.ndarray]:
        """Return a picture of an image and targets, ignored voxels as background (see `loop.labelled_picture`)."""
        return labelled_picture(image, torch.where(truth == IGNORED, 0, truth), found, self.values)

    @property
    def count(self) -> int:
        return len(self.names)

    @cached_property
    def partners(self) -> tuple[int, ...]:
        """(G,) target of the contralateral structures of each target."""
        found = list(range(self.count))
        for channel, other in enumerate(anatomy.flip_channels(self.labels)):
            found[self.groups[channel]] = self.groups[other]
        return tuple(found)

    def of_values(self, values: np.ndarray, known: dict[int, int]) -> np.ndarray:
        """Return the uint8 targets of label values, given the target of each of them."""
        found, places = np.unique(values, return_inverse=True)
        table = np.array([known.get(int(v), IGNORED) for v in found], np.uint8)
        return table[places].reshape(values.shape)


def counted(value: int, labels: Sequence[int], task: str) -> int | None:
    """Map a value in a label file to one of the network's, or of a task of `anatomy.TASKS`; None if it is ambiguous.

    Raises:
        ValueError: the value is unknown.
    """
    if task == "all" and value in labels:
        return value
    found = anatomy.in_task(value, task)
    if task != "all" or found in labels:
        return found
    if found == anatomy.LESION:  # of either side
        return None
    known = anatomy.structure(found).target_v1
    return known if known in labels else 0


def make_targets(
    labels: Sequence[int], task: str, present: Iterable[int], unlabelled: Sequence[int] = ()
) -> LabelTargets:
    """Return the targets of a network for scans that contain these values (`counted`).

    `unlabelled` are labels of the network that the scans do not show completely.

    Raises:
        InputError: a label does not belong to the network, or nothing is left to learn.
    """
    if wrong := set(unlabelled) - set(labels):
        raise InputError(f"The network does not predict the label {min(wrong)}: leave it out of --unlabelled.")
    seen = set(present)
    if task == "all":  # if one side is labelled, the other is too
        seen |= {anatomy.structure(v).contralateral for v in seen if anatomy.known(v)}
        wanted = [v if v in seen and v not in unlabelled else 0 for v in labels]
    else:
        wanted = [v if v in seen else 0 for v in (counted(one, labels, task) or 0 for one in labels)]
    order = [0, *sorted(set(wanted) - {0})]
    if len(order) < 2:
        raise InputError(f"The labels of the scans contain nothing that the network could learn for the task {task!r}.")
    scored = set(anatomy.evaluated_values())
    return LabelTargets(
        tuple(labels),
        tuple(order.index(v) for v in wanted),
        tuple(order),
        tuple(anatomy.name(v) for v in order),
        tuple(v > 0 and (task != "all" or v in scored or not scored & set(order)) for v in order),
        task,
    )


def known_values(
    scans: Sequence[RawScan], labels: Sequence[int], task: str, unknown: str = "refuse"
) -> dict[int, int | None]:
    """Map each value in the scans by `counted`; "ignore" maps unknown ones to None, "refuse" raises an `InputError`."""
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
        name = f"{next(iter(strangers.values()))} (task {task})"
        raise anatomy.unknown_error(name, sorted(strangers), "or leave them out with --unknown ignore")
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
    """Return the targets of a network for scans to learn from and others to score on, and the target of each value.

    Raises:
        InputError: see `known_values` and `make_targets`.
    """
    known = known_values([*training, *others], labels, task, unknown)
    present = {known[int(v)] for scan in training for v in np.unique(scan.values)}
    targets = make_targets(labels, task, {v for v in present if v is not None}, unlabelled)
    place = dict(zip(labels, targets.groups, strict=True))
    if task != "all":
        place = dict.fromkeys(anatomy.task_values(task), 0) | {v: i for i, v in enumerate(targets.values)}
    return targets, {value: IGNORED if means is None else place[means] for value, means in known.items()}
