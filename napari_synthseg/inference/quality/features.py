"""What speaks for a segmentation and against it, structure by structure, with no ground truth and at little cost.

Shares are given as logits, sizes as logarithms, so that a linear model may add them up (see `calibration`). A column
that begins with "mean" is the same for all structures of a scan: the mean over its structures, CSF apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import find_objects

from napari_synthseg import anatomy
from napari_synthseg.anatomy import DENOISED, S1
from napari_synthseg.inference.plausibility import adult_range
from napari_synthseg.inference.state import Prediction, TissueMaps
from napari_synthseg.jobs import checkpoint

CSF = 24
LEAST = 0.005
"""Shares are kept this far from 0 and 1, so that their logits are finite."""
FARTHEST = 3.0
"""Largest distance of a size from the usual one that counts, in half widths of the usual range."""


@dataclass(frozen=True)
class QcFeatures:
    """Figures on each structure."""

    values: tuple[int, ...]
    """(n,) FreeSurfer values, background left out."""
    columns: dict[str, np.ndarray]
    """By name, (n,) figures; which there are depends on the network."""


def gather_features(
    prediction: Prediction,
    hard: np.ndarray,
    image: np.ndarray,
    soft: dict[int, float],
    sums: dict[int, float],
    before: dict[int, float],
    flips: bool,
) -> QcFeatures:
    """Gather what there is.

    Args:
        prediction: cleaned posteriors, and what else the network said.
        hard: (X, Y, Z) FreeSurfer values on the voxels of the posteriors.
        image: (X, Y, Z) the prepared scan.
        soft: `soft_dice` by value; 0 of a structure that it leaves out.
        sums: of the cleaned posteriors, by value, voxels.
        before: of the posteriors before they were cleaned, likewise.
        flips: whether the posteriors are means with those of the mirrored scan.

    Returns:
        soft: the soft Dice. sure, inside: mean posterior of the structure's voxels; share of its posterior that lies in
        them. kept: what the clean-up left of it. size: relative to the brain, against adults. sides: log ratio of the
        two. spread: of its intensities, relative to the brain's. explained: share of the variance of the brain's
        intensities that the labels explain. coarse: agreement with what the locator saw. tissue, mean tissue: agreement
        of the inner networks S1 and D of a hierarchy. flips: 1 or 0. And means.
    """
    values = tuple(int(v) for v in prediction.values[1:])
    counts = np.bincount(hard.ravel(), minlength=max(values, default=0) + 1)
    size = np.array([counts[v] for v in values], float)
    total = np.array([sums[v] for v in values])
    agree = np.array([soft.get(v, 0.0) for v in values])
    shared = agree * (size + total) / 2
    under = tuple(slice(a, a + n) for a, n in zip(prediction.start, hard.shape, strict=True))
    spread, explained = intensities(hard, image[under], values)
    columns = {
        "soft": logit(agree),
        "sure": logit(shared / np.maximum(size, 1)),
        "inside": logit(shared / np.maximum(total, 1)),
        "kept": np.log(np.clip(total / np.maximum([before[v] for v in values], 1e-3), 0.05, 2)),
        "size": sizes(values, total),
        "sides": sides(values, total),
        "spread": spread,
    }
    if prediction.coarse is not None and prediction.coarse_start is not None:
        small = _every_second(hard, prediction.start, prediction.coarse_start, prediction.coarse.shape[1:])
        found = soft_dice(prediction.coarse, prediction.values, small)
        columns["coarse"] = logit(np.array([found.get(v, 0.0) for v in values]))
    if prediction.tissues is not None and {S1, DENOISED} <= prediction.tissues.classes.keys():
        columns["tissue"] = tissue_agreement(values, prediction.tissues)
    brain = np.array([v != CSF for v in values])
    for name in ("soft", "sure", "kept", "coarse", "tissue"):
        if name in columns:
            columns[f"mean {name}"] = np.full(len(values), columns[name][brain].mean() if brain.any() else 0.0)
    off = np.abs(columns["size"][brain]).mean() if brain.any() else 0.0
    columns["mean off"] = np.full(len(values), off)
    columns["off"] = np.abs(columns["size"])
    columns["explained"] = np.full(len(values), logit(np.array(explained)))
    columns["flips"] = np.full(len(values), float(flips))
    return QcFeatures(values, columns)


def logit(share: np.ndarray) -> np.ndarray:
    """Return log(p / (1 - p)) of shares that are kept away from 0 and 1."""
    p = np.clip(share, LEAST, 1 - LEAST)
    return np.log(p / (1 - p))


def sizes(values: Sequence[int], total: np.ndarray) -> np.ndarray:
    """Return how far the fraction of each structure in the brain lies from the usual one, of (n,) volumes in any unit.

    0 is the middle of the range that adults have, 1 and -1 are its ends; 0 where no range is known.
    """
    usual = [adult_range(v) for v in values]
    brain = [i for i, (v, one) in enumerate(zip(values, usual, strict=True)) if one is not None and v != CSF]
    middle = np.array([np.sqrt(one[0] * one[1]) if one else 1.0 for one in usual])
    width = np.array([np.log(one[1] / one[0]) / 2 if one else np.inf for one in usual])
    whole = max(total[brain].sum() / max(middle[brain].sum(), 1e-6), 1e-6)
    return np.clip(np.log(np.maximum(total / whole, 1e-3) / middle) / width, -FARTHEST, FARTHEST)


def sides(values: Sequence[int], total: np.ndarray) -> np.ndarray:
    """Return `|log(left / right)|` of each volume, at most 2; 0 on the midline and if a side is missing."""
    by_value = dict(zip(values, total, strict=True))
    partners = [anatomy.structure(v).contralateral if anatomy.known(v) else v for v in values]
    ratio = [
        np.log(max(by_value[v], 1.0) / max(by_value.get(p, by_value[v]), 1.0))
        for v, p in zip(values, partners, strict=True)
    ]
    return np.minimum(np.abs(ratio), 2.0)


def intensities(hard: np.ndarray, image: np.ndarray, values: Sequence[int]) -> tuple[np.ndarray, float]:
    """Return each structure's spread of intensities (n,), log ratio to the brain's, and how much the labels explain.

    That is the fraction of the variance of the brain's intensities (CSF apart) between structures.
    """
    labels = hard.ravel()
    length = max(int(labels.max(initial=0)), max(values, default=0)) + 1
    flat = image.ravel().astype(np.float64)
    count = np.bincount(labels, minlength=length).astype(float)
    first = np.bincount(labels, flat, minlength=length)
    second = np.bincount(labels, flat * flat, minlength=length)
    mean = first / np.maximum(count, 1)
    within = np.maximum(second - first * mean, 0.0)
    chosen = [v for v in values if v != CSF]
    n = max(count[chosen].sum(), 1.0)
    everything = max(second[chosen].sum() - first[chosen].sum() ** 2 / n, 1e-9)
    deviation = np.sqrt(within / np.maximum(count, 1))
    relative = np.maximum(deviation / np.sqrt(everything / n), 0.02)
    return np.log(np.minimum(relative[list(values)], 5.0)), float(1 - within[chosen].sum() / everything)


def tissue_agreement(values: Sequence[int], tissues: TissueMaps) -> np.ndarray:
    """Return the logit of the Dice between S1's and D's map of the tissue that each structure is of."""
    s1, denoised = (tissues.classes[name].numpy().ravel() for name in (S1, DENOISED))
    length = len(anatomy.TISSUES)
    size = np.bincount(s1, minlength=length) + np.bincount(denoised, minlength=length)
    dice = 2 * np.bincount(s1[s1 == denoised], minlength=length) / np.maximum(size, 1)
    index = [anatomy.TISSUES.index(anatomy.structure(v).tissue) if anatomy.known(v) else 1 for v in values]
    return logit(dice[index])


def _every_second(
    hard: np.ndarray, start: Sequence[int], coarse_start: Sequence[int], shape: Sequence[int]
) -> np.ndarray:
    """Sample labels at 1 mm on the locator's grid of 2 mm: the first of every two voxels; 0 beyond."""
    out = np.zeros(tuple(shape), hard.dtype)
    source, place = [], []
    for a, b, n, m in zip(start, coarse_start, hard.shape, shape, strict=True):
        low = max(0, -(-(a - b) // 2))
        high = max(low, min(m, -(-(a + n - b) // 2)))
        place.append(slice(low, high))
        source.append(slice(b + 2 * low - a, b + 2 * high - a, 2))
    out[tuple(place)] = hard[tuple(source)]
    return out


def soft_dice(
    posteriors: torch.Tensor, values: Sequence[int], hard: np.ndarray, sums: Mapping[int, float] | None = None
) -> dict[int, float]:
    """Return the Dice between labels and their posteriors: `2 sum_{hard=k} p_k / (|hard=k| + sum p_k)`.

    It is the Dice to expect if the probabilities were true; they are not calibrated, so compare it between structures
    and scans of one network, and do not read it as a score. `sums` are those of the posteriors, if known already.

    Returns:
        0 to 1 by value, background left out; 0 where a structure has probability but no voxel. A structure with
        neither is left out.
    """
    boxes = find_objects(hard)  # only around a structure is there something to compare
    out = {}
    for value, channel in zip(map(int, values[1:]), posteriors[1:], strict=True):
        checkpoint()
        total = float(channel.sum(dtype=torch.float64)) if sums is None else sums[value]
        size, shared = 0, 0.0
        if value <= len(boxes) and (box := boxes[value - 1]) is not None:
            mask = torch.from_numpy(hard[box] == value)
            size = int(torch.count_nonzero(mask))
            shared = float(channel[box][mask].sum(dtype=torch.float64))
        if size + total > 0:
            out[value] = min(1.0, 2 * shared / (size + total))
    return out
