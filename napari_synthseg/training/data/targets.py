"""Targets: how the labels of scans correspond to the channels of a network, and which voxels are ignored.

Scans may be labelled more coarsely than the network predicts (a brain mask, four tissues), or in part (the hippocampi
alone). So the network's channels are grouped: at a voxel labelled as a group, the probabilities of its members shall
add up to one, in any proportion. Labels that no scan contains belong to the group of the background.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from napari_synthseg import anatomy
from napari_synthseg.errors import InputError
from napari_synthseg.training.data.labelled_scans import RawScan
from napari_synthseg.training.engine.loop import labelled_picture
from napari_synthseg.training.engine.losses import IGNORED


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
        """G."""
        return len(self.names)

    @cached_property
    def partners(self) -> tuple[int, ...]:
        """(G,) target of the contralateral structures of each target."""
        found = list(range(self.count))
        for channel, other in enumerate(anatomy.flip_channels(self.labels)):
            found[self.groups[channel]] = self.groups[other]
        return tuple(found)

    def of_channels(self, channels: torch.Tensor) -> torch.Tensor:
        """Return the targets of channels, of any shape."""
        return torch.tensor(self.groups, dtype=torch.uint8, device=channels.device)[channels.long()]

    def of_values(self, values: np.ndarray, known: dict[int, int]) -> np.ndarray:
        """Return the uint8 targets of label values, given the target of each of them."""
        found, places = np.unique(values, return_inverse=True)
        table = np.array([known.get(int(v), IGNORED) for v in found], np.uint8)
        return table[places].reshape(values.shape)


def counted(value: int, labels: Sequence[int], task: str) -> int | None:
    """Map a label value to a value of the network or of the task; None if it is ambiguous.

    Args:
        value: in a label file.
        labels: the network's.
        task: one of `anatomy.TASKS`.

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
    """Return the targets of a network for scans that contain these values.

    Args:
        labels: the network's, sorted, background first.
        task: one of `anatomy.TASKS`.
        present: mapped values of the scans (`counted`).
        unlabelled: labels of the network that the scans do not show completely.

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
    """Map each value in the scans by `targets.counted`.

    Args:
        scans: whose values are mapped.
        labels: the network's.
        task: one of `anatomy.TASKS`.
        unknown: "refuse" unknown values, or "ignore" them (map them to None).

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
