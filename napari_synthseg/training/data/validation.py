"""Validation: fixed synthetic heads of held-out maps, labelled scans, and the Dice of networks on them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from napari_synthseg import anatomy
from napari_synthseg.devices import bfloat16_where_quick, to_memory
from napari_synthseg.generator.head import Grid
from napari_synthseg.generator.labelmap import LabelMap
from napari_synthseg.generator.model import GenerativeModel
from napari_synthseg.generator.sample import apply
from napari_synthseg.jobs import checkpoint
from napari_synthseg.networks.locate_refine import LocateRefine
from napari_synthseg.training.data.labelled_scans import find, read
from napari_synthseg.training.data.synthetic import rescaled, step_generator
from napari_synthseg.training.data.targets import counted
from napari_synthseg.training.engine.events import doing, each

logger = logging.getLogger(__name__)

SHAPE = (192, 224, 192)
"""Voxels of 1 mm of the refiner's and the locator's common field of view."""
MIDDLE = (slice(16, 176), slice(32, 192), slice(16, 176))
"""Part of it that is scored by networks that see the whole: 160^3 voxels."""
Item = TypeVar("Item")


@dataclass(frozen=True)
class ValidationCase:
    """A head at 1 mm, generated or real, with its truth."""

    name: str
    image: torch.Tensor
    """`SHAPE`, float16 in [0, 1]."""
    channels: torch.Tensor
    """`SHAPE`, uint8."""


def synthetic_cases(
    maps: Sequence[LabelMap], priors: GenerativeModel, labels: Sequence[int], count: int, seed: int
) -> list[ValidationCase]:
    """Draw fixed heads from held-out maps, `count` of each."""
    cases: list[ValidationCase] = []
    for i, label_map in enumerate(maps):
        for j in range(count):
            doing("drawing heads for validation", len(cases) + 1, count * len(maps))
            record = priors.sample(label_map, step_generator(seed, 100 * i + j))
            sample = apply(record, label_map, Grid.centered(SHAPE, 1.0))
            image = rescaled(sample.image).half()
            cases.append(ValidationCase(f"{label_map.name}-{j}", image, sample.target(labels)))
    return cases


def labelled_cases(folder: Path, labels: Sequence[int]) -> list[ValidationCase]:
    """Read labelled scans at 1 mm, centered on the middle of their nonzero voxels.

    Args:
        folder: of scans with label files beside them, such as `1002_t1.nii.gz` with `1002_labels.nii.gz`.
        labels: values of the network, background first; FreeSurfer's values become those (`channels_of`).

    Raises:
        InputError: there are none, one cannot be read, or a label file contains unknown values.
    """
    cases: list[ValidationCase] = []
    for files in each("reading labelled scans", find(folder)):
        scan = read(files)
        channels = channels_of(scan.values, labels, scan.file)
        where = np.argwhere(scan.image > 0)
        start = ((where.min(0) + where.max(0) + 1) // 2 - np.array(SHAPE) // 2).tolist()
        image = rescaled(torch.from_numpy(window(scan.image, start, SHAPE))).half()
        cases.append(ValidationCase(scan.name, image, torch.from_numpy(window(channels, start, SHAPE))))
    return cases


def channels_of(values: np.ndarray, labels: Sequence[int], name: str) -> np.ndarray:
    """Map label values, FreeSurfer's own among them, to the channels of a network.

    Args:
        values: whole numbers, of any shape.
        labels: values of the network, background first.
        name: of the file, for messages.

    Returns:
        uint8 channels; structures that the network does not predict are background.

    Raises:
        InputError: a value belongs neither to the network nor to a structure.
    """
    values, mapped = anatomy.from_freesurfer(values, keep=labels, predicted=True)
    if mapped:
        logger.info("%s contains %d values of FreeSurfer's own, which are mapped.", name, len(mapped))
    if unknown := [value for value in anatomy.unknown_values(values) if value not in labels]:
        raise anatomy.unknown_error(name, unknown)
    found, places = np.unique(values, return_inverse=True)
    channel = {value: i for i, value in enumerate(labels)}
    known = [int(v) if int(v) in channel else counted(int(v), labels, "all") or 0 for v in found]
    return np.array([channel.get(value, 0) for value in known], np.uint8)[places].reshape(values.shape)


def window(array: np.ndarray, start: Sequence[int], shape: Sequence[int]) -> np.ndarray:
    """Return the part of an array that starts at `start` (may be negative), padded with zeros to a shape."""
    out = np.zeros(tuple(shape), dtype=array.dtype)
    source = tuple(slice(max(s, 0), min(s + n, size)) for s, n, size in zip(start, shape, array.shape, strict=True))
    place = tuple(slice(a.start - s, a.stop - s) for a, s in zip(source, start, strict=True))
    out[place] = array[source]
    return out


@dataclass(frozen=True)
class Scores:
    """Dice scores of a network on cases."""

    mean: float
    """Mean over cases of the mean over structures; NaN without cases."""
    structures: dict[str, float]
    """By name, mean over the cases in whose truth it is."""


def gathered(scores: Sequence[dict[int, float]]) -> Scores:
    """Average the scores of cases, given the Dice of each structure (by its label) in each."""
    found: dict[int, list[float]] = {}
    for one in scores:
        for value, score in one.items():
            found.setdefault(value, []).append(score)
    mean = float(np.mean([np.mean(list(one.values())) for one in scores])) if scores else float("nan")
    return Scores(mean, {anatomy.name(value): float(np.mean(dices)) for value, dices in found.items()})


def dice(prediction: torch.Tensor, truth: torch.Tensor, labels: Sequence[int]) -> dict[int, float]:
    """Return the Dice of each evaluated structure present in the truth, by its label."""
    k = len(labels)
    both = torch.bincount(prediction[prediction == truth].long(), minlength=k)
    a, b = (
        torch.bincount(prediction.reshape(-1).long(), minlength=k),
        torch.bincount(truth.reshape(-1).long(), minlength=k),
    )
    scored = set(anatomy.evaluated_values())
    return {v: float(2 * both[i] / (a[i] + b[i])) for i, v in enumerate(labels) if v in scored and b[i] > 0}


def pooled(image: torch.Tensor) -> torch.Tensor:
    """(X, Y, Z) -> (1, 1, X/2, Y/2, Z/2) by averaging."""
    return torch.nn.functional.avg_pool3d(image[None, None], 2)


def validated(cases: Sequence[Item]) -> Iterator[Item]:
    """Iterate over the cases of a validation; whoever follows the run sees how far it is, and can stop it.

    Raises:
        Stopped: it was asked to.
    """
    for case in each("validating", cases):
        checkpoint()
        yield case


@torch.no_grad()
def score_locator(model: LocateRefine, cases: Sequence[ValidationCase], device: torch.device) -> Scores:
    """Return the Dice of the locator's labels on the 2 mm grid, against every second voxel of the truth."""
    scores = []
    for case in validated(cases):
        with bfloat16_where_quick(device):
            logits = model.locator(to_memory(pooled(case.image.float()).to(device)))
        scores.append(dice(logits[0].argmax(0).cpu(), case.channels[::2, ::2, ::2], model.labels))
    return gathered(scores)


@torch.no_grad()
def score_refiner(
    model: LocateRefine,
    cases: Sequence[ValidationCase],
    device: torch.device,
    prior_of: Callable[[ValidationCase], torch.Tensor] | None = None,
    passes: int = 1,
    flip: bool = False,
) -> Scores:
    """Return the Dice of both stages at 1 mm, without post-processing.

    Args:
        model: the network.
        cases: heads with their truth.
        device: to predict on.
        prior_of: the prior (1, K, 96, 112, 96) that the refiner gets; by default the locator's.
        passes: of the refiner, each after the first with the prior averaged with the answer before.
        flip: average with the mirrored scan, as prediction does.
    """
    order, scores = anatomy.flip_channels(model.labels) if flip else None, []
    for case in validated(cases):
        image = case.image.float().to(device)
        with bfloat16_where_quick(device):
            prior = prior_of(case) if prior_of else model.locate_averaged(pooled(image), order)[0][None].float()
            inside = prior[0].argmax(0).nonzero()
            if not len(inside):  # nothing was located, as happens at the start
                scores.append(dice(torch.zeros_like(case.channels), case.channels, model.labels))
                continue
            m = model.multiple // 2
            low = ((inside.amin(0) - 3).clamp(min=0) // m * m).tolist()
            high = [
                min(int(-(-(h + 4) // m) * m), n) for h, n in zip(inside.amax(0).tolist(), prior.shape[2:], strict=True)
            ]
            coarse = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
            fine = tuple(slice(2 * a, 2 * b) for a, b in zip(low, high, strict=True))
            near = to_memory(prior[(slice(None), slice(None), *coarse)])
            with torch.autocast(device.type, enabled=False):  # variances need float32, as in training and prediction
                appearance = model.appearance(pooled(image), prior)
            part = to_memory(image[fine][None, None])
            posteriors = model.refine_averaged(part, near, appearance, order)[None].float()
            for _ in range(1, passes):
                answered = (near + torch.nn.functional.avg_pool3d(posteriors, 2)) / 2
                posteriors = model.refine_averaged(part, to_memory(answered), appearance, order)[None].float()
        prediction = torch.zeros(case.channels.shape, dtype=torch.uint8)
        prediction[fine] = posteriors[0].argmax(0).to(torch.uint8).cpu()
        scores.append(dice(prediction, case.channels, model.labels))
    return gathered(scores)


@torch.no_grad()
def score_whole(model: Any, cases: Sequence[ValidationCase], device: torch.device) -> Scores:
    """Return the Dice of a U-Net or hierarchy in the middle 160^3 voxels, without flips or post-processing."""
    scores = []
    for case in validated(cases):
        found = model.eval()(case.image[MIDDLE].float()[None, None].to(device))[0].argmax(0).cpu()
        scores.append(dice(found, case.channels[MIDDLE], model.labels))
    return gathered(scores)
