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
from napari_synthseg.training.engine.loop import labelled_picture
from napari_synthseg.training.engine.losses import dice_and_cross_entropy

IGNORED = 255
"""Target of voxels that are left out of the loss."""


@dataclass(frozen=True)
class LabelTargets:
    """Maps label values and the channels of a network to targets.

    Attributes:
        labels: (K,) the network's values, background first.
        groups: (K,) target of each channel; 0 is the background's.
        values: (G,) value that shows each target: of the network, or of the task.
        names: (G,) of each target.
        scored: (G,) whether a target's Dice enters the score.
        task: one of `anatomy.TASKS`.
    """

    labels: tuple[int, ...]
    groups: tuple[int, ...]
    values: tuple[int, ...]
    names: tuple[str, ...]
    scored: tuple[bool, ...]
    task: str = "all"

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
    if task == "all":  # where one side is labelled, the other is too
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


def grouped(logits: torch.Tensor, groups: Sequence[int]) -> torch.Tensor:
    """Turn (B, K, ...) logits of channels into (B, G, ...) logits of targets, by the sum of probabilities."""
    if tuple(groups) == tuple(range(logits.shape[1])):
        return logits
    members = [[k for k, g in enumerate(groups) if g == n] for n in range(max(groups) + 1)]
    return torch.stack([logits[:, m[0]] if len(m) == 1 else logits[:, m].logsumexp(1) for m in members], 1)


def target_losses(
    logits: torch.Tensor, target: torch.Tensor, groups: Sequence[int], weights: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return cross-entropy and one minus the soft Dice of targets, without ignored voxels.

    Args:
        logits: (B, K, X, Y, Z) of the network's channels.
        target: (B, X, Y, Z) targets, or `IGNORED`.
        groups: (K,) target of each channel.
        weights: (G,) of the cross-entropy.
    """
    logits = grouped(logits.float(), groups)
    kept = target != IGNORED
    if not bool(kept.all()):
        if not bool(kept.any()):
            nothing = logits.sum() * 0.0
            return nothing, nothing
        logits = logits.movedim(1, -1)[kept].T[None, :, :, None, None]
        target = target[kept][None, :, None, None]
    return dice_and_cross_entropy(logits, target, weights)
