"""Data of fine-tuning: scans to learn from, scans to score on, label maps of generated images, and the scores.

Scans are segmented for their scores as `segment` does, but without flips and post-processing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from napari_synthseg import anatomy
from napari_synthseg.errors import InputError
from napari_synthseg.generator.labelmap import LabelMap, prepare
from napari_synthseg.inference.memory import predict_steps
from napari_synthseg.inference.postprocess import best_channel
from napari_synthseg.inference.whole_volume import NO_BRAIN
from napari_synthseg.jobs import run
from napari_synthseg.training.data.label_maps import read_maps
from napari_synthseg.training.data.labelled_scans import RawScan, find, hold_out, read_as_predicted
from napari_synthseg.training.data.scan_sampler import InputSpec, ScanSampler, with_targets
from napari_synthseg.training.data.start import labels_of
from napari_synthseg.training.data.targets import LabelTargets, targets_for
from napari_synthseg.training.engine.events import each
from napari_synthseg.training.engine.losses import IGNORED

if TYPE_CHECKING:
    from napari_synthseg.training.recipes.finetune import TrainFinetuneOptions

LESION_SIDES = (25, 57)
"""Left and right lesions of white matter in label maps."""
COMPLETE = 0.5
"""Fraction of a network's labels that maps must contain, since missing ones are learned as background."""


@dataclass(frozen=True)
class FinetuneData:
    """Data of a run."""

    targets: LabelTargets
    sampler: ScanSampler
    """Draws the scans to learn from."""
    scored: list[RawScan]
    """Scans that choose the best checkpoint, with targets as values."""
    look: InputSpec
    maps: list[LabelMap]
    """Label maps of generated images; may be empty."""
    generated: float
    """Fraction of generated samples."""
    held: tuple[str, ...]
    """Names of the scans held out."""


def gather(options: TrainFinetuneOptions, model: nn.Module, look: InputSpec, device: torch.device) -> FinetuneData:
    """Read scans and label maps.

    Raises:
        InputError: they cannot be used.
    """
    training = [read_as_predicted(one, look.how) for one in find(options.scans, options.labels)]
    names: tuple[str, ...] = ()
    if options.validation is not None:
        held = [read_as_predicted(one, look.how) for one in find(options.validation)]
    else:
        training, held = hold_out(training, options.hold_out, "scan", one_in=5, least=1)
        names = tuple(scan.name for scan in held)
    labels = labels_of(model)
    targets, places = targets_for(
        training, held, labels, options.task, unlabelled=options.unlabelled, unknown=options.unknown
    )
    scans = [with_targets(scan, targets, places, look).to(device) for scan in training]
    generated = options.synthetic if options.synthetic is not None else 0.0 if look.guess else 0.5
    sampler = ScanSampler(scans, targets, options.augmentation)
    maps = _maps(options, training, labels) if generated > 0 else []
    scored = [replace(scan, values=targets.of_values(scan.values, places)) for scan in held]
    return FinetuneData(targets, sampler, scored, look, maps, generated, names)


def _maps(options: TrainFinetuneOptions, training: Sequence[RawScan], labels: Sequence[int]) -> list[LabelMap]:
    if options.label_maps is not None:
        return run(read_maps(options.label_maps))
    own = options.task == "all" or tuple(labels) != anatomy.task_values(options.task)
    return maps_of_scans(training, labels if own else anatomy.predicted_values(2))


def maps_of_scans(scans: Sequence[RawScan], labels: Sequence[int]) -> list[LabelMap]:
    """Turn the labels of scans into label maps for generated images.

    Raises:
        InputError: they are too coarse, or lack most structures that the network predicts.
    """
    found = [prepare(single_structures(scan.values, labels), name=scan.name) for scan in scans]
    held = {t for m in found for t in m.targets} & set(labels)
    if len(held) < COMPLETE * len(labels):
        raise _too_coarse()
    return found


def single_structures(values: np.ndarray, labels: Sequence[int]) -> np.ndarray:
    """Turn label values into those of label maps: no parcels, and lesions with a side.

    Raises:
        InputError: a value stands for several structures.
    """
    out = np.zeros(values.shape, np.int32)
    for value in map(int, np.unique(values)):
        here = values == value
        if value in labels or value == 0:
            out[here] = value
        elif value == anatomy.LESION:
            left = np.indices(values.shape)[0] < np.argwhere(values > 0)[:, 0].mean()  # the first axis points right
            out[here] = np.where(left, *LESION_SIDES)[here]
        elif value in anatomy.parcels():
            out[here] = anatomy.in_task(value, "all")
        elif anatomy.known(value) and value not in {g.value for g in (anatomy.BRAIN, *anatomy.COARSE)}:
            out[here] = value
        elif anatomy.known(value):
            raise _too_coarse()
    return out


def _too_coarse() -> InputError:
    return InputError(
        "The scans' labels are too few to make synthetic images from: give label maps of the whole brain with "
        "--label-maps, or add --synthetic 0 (and expect other contrasts to be forgotten)."
    )


# Scores


def score(model: nn.Module, data: FinetuneData, device: torch.device) -> dict[str, Any]:
    """Score a network by Dice on the scans to score on.

    Returns:
        "score": mean over scans of the mean over scored structures; "dice": means over scans by structure's name;
        "by_scan": each scan's mean. Empty without scans.
    """
    scans, targets = data.scored, data.targets
    if not scans:
        return {}
    rows = [
        dice_of(found_targets(model, scan.image, targets, data.look, device), scan.values, targets)
        for scan in each("validating", scans)
    ]
    means = [_mean([d for i, d in row.items() if targets.scored[i]]) for row in rows]
    by_name = {
        targets.names[i]: round(_mean([row[i] for row in rows if i in row]), 4)
        for i in range(1, targets.count)
        if any(i in row for row in rows)
    }
    by_scan = {scan.name: round(m, 4) for scan, m in zip(scans, means, strict=True)}
    return {"score": _mean(means), "dice": by_name, "by_scan": by_scan}


@torch.no_grad()
def found_targets(
    model: nn.Module, image: np.ndarray, targets: LabelTargets, look: InputSpec, device: torch.device
) -> np.ndarray:
    """Predict the (X, Y, Z) uint8 targets of a prepared scan; all background if no brain is found."""
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


def dice_of(found: np.ndarray, true: np.ndarray, targets: LabelTargets) -> dict[int, float]:
    """Return the Dice of each target in the truth but the background, without ignored voxels."""
    kept = true != IGNORED
    a, b = found[kept], true[kept]
    both = np.bincount(a[a == b], minlength=targets.count)
    size_a, size_b = np.bincount(a, minlength=targets.count), np.bincount(b, minlength=targets.count)
    return {i: float(2 * both[i] / (size_a[i] + size_b[i])) for i in range(1, targets.count) if size_b[i]}


def _mean(figures: Sequence[float]) -> float:
    return float(np.mean(figures)) if len(figures) else 0.0
