"""Dice on labelled scans, segmented as `segment` does it but for flips and clean-up: what chooses a checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from napari_synthseg.errors import InputError
from napari_synthseg.inference.memory import predict_steps
from napari_synthseg.inference.postprocess import best_channel
from napari_synthseg.inference.whole_volume import NO_BRAIN
from napari_synthseg.jobs import run
from napari_synthseg.training.finetune.scans import Look, RawScan
from napari_synthseg.training.finetune.targets import IGNORED, Targets


@dataclass(frozen=True)
class ScoredScan:
    """A scan to score a network on.

    Attributes:
        name: see `RawScan`.
        image: (X, Y, Z) float32 from 0 on, at 1 mm.
        targets: (X, Y, Z) uint8.
    """

    name: str
    image: np.ndarray
    targets: np.ndarray


def to_score(scans: Sequence[RawScan], targets: Targets, places: dict[int, int]) -> list[ScoredScan]:
    """Scans with the targets of their values."""
    return [ScoredScan(scan.name, scan.image, targets.of_values(scan.values, places)) for scan in scans]


def score(
    model: nn.Module, scans: Sequence[ScoredScan], targets: Targets, look: Look, device: torch.device
) -> dict[str, Any]:
    """Dice of a network on scans.

    Returns:
        "score": mean over scans of the mean over scored structures; "dice": means over scans by structure's name;
        "by_scan": each scan's mean. Empty without scans.
    """
    if not scans:
        return {}
    rows = [dice_of(found_targets(model, scan.image, targets, look, device), scan.targets, targets) for scan in scans]
    means = [_mean([d for i, d in row.items() if targets.scored[i]]) for row in rows]
    by_name = {
        targets.names[i]: round(_mean([row[i] for row in rows if i in row]), 4)
        for i in range(1, targets.count)
        if any(i in row for row in rows)
    }
    return {
        "score": _mean(means),
        "dice": by_name,
        "by_scan": {scan.name: round(m, 4) for scan, m in zip(scans, means, strict=True)},
    }


def found_targets(
    model: nn.Module, image: np.ndarray, targets: Targets, look: Look, device: torch.device
) -> np.ndarray:
    """(X, Y, Z) uint8 targets that a network finds in a prepared scan; background where it finds no brain."""
    out = np.zeros(image.shape, np.uint8)
    how = replace(look.how, flip=False)
    try:
        prediction = run(predict_steps(model, image, device=str(device), config=how)).within(image.shape)
    except InputError as error:
        if str(error) != NO_BRAIN:
            raise
        return out
    posteriors = prediction.posteriors
    if targets.groups != tuple(range(len(posteriors))):
        joint = torch.zeros((targets.count, *posteriors.shape[1:]), dtype=posteriors.dtype)
        for channel, group in zip(posteriors, targets.groups, strict=True):
            joint[group] += channel
        posteriors = joint
    place = tuple(slice(a, a + n) for a, n in zip(prediction.start, posteriors.shape[1:], strict=True))
    out[place] = best_channel(posteriors)
    return out


def dice_of(found: np.ndarray, true: np.ndarray, targets: Targets) -> dict[int, float]:
    """Dice of each target but the background that the truth holds; ignored voxels left out."""
    kept = true != IGNORED
    a, b = found[kept], true[kept]
    both = np.bincount(a[a == b], minlength=targets.count)
    size_a, size_b = np.bincount(a, minlength=targets.count), np.bincount(b, minlength=targets.count)
    return {i: float(2 * both[i] / (size_a[i] + size_b[i])) for i in range(1, targets.count) if size_b[i]}


def _mean(figures: Sequence[float]) -> float:
    return float(np.mean(figures)) if len(figures) else 0.0
