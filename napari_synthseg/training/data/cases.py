"""Heads at 1 mm with their truth, generated or real: to validate on, with the Dice of networks, and to learn from.

Those to learn from are shown as they are, or made worse by SynthSeg+'s degradation model.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from napari_synthseg import anatomy
from napari_synthseg.devices import bfloat16_where_quick, to_memory
from napari_synthseg.generator.degradation import degrade_batch
from napari_synthseg.generator.head import Grid
from napari_synthseg.generator.labelmap import LabelMap
from napari_synthseg.generator.model import GenerativeModel
from napari_synthseg.generator.presets import DEGRADATION, degradation
from napari_synthseg.generator.sample import apply
from napari_synthseg.inference.patches import crop_with_padding
from napari_synthseg.networks.locate_refine import LocateRefine
from napari_synthseg.training.data.labelled_scans import counted, find, read
from napari_synthseg.training.data.synthetic import Batch, Sampler, random_index, rescaled, step_generator
from napari_synthseg.training.engine.events import doing, each

logger = logging.getLogger(__name__)

SHAPE = (192, 224, 192)
"""Voxels of 1 mm of the refiner's and the locator's common field of view."""
MIDDLE = (slice(16, 176), slice(32, 192), slice(16, 176))
"""Part of it that is scored by networks that see the whole: 160^3 voxels."""


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
    """Read labelled scans (`labelled_scans.find`) at 1 mm, centered on the middle of their nonzero voxels.

    Raises:
        InputError: there are none, one cannot be read, or a label file contains unknown values.
    """
    cases: list[ValidationCase] = []
    for files in each("reading labelled scans", find(folder)):
        scan = read(files)
        channels = channels_of(scan.values, labels, scan.file)
        where = np.argwhere(scan.image > 0)
        start = ((where.min(0) + where.max(0) + 1) // 2 - np.array(SHAPE) // 2).tolist()
        image, truth = (crop_with_padding(torch.from_numpy(one), start, SHAPE) for one in (scan.image, channels))
        cases.append(ValidationCase(scan.name, rescaled(image.clone()).half(), truth.clone()))
    return cases


def channels_of(values: np.ndarray, labels: Sequence[int], name: str) -> np.ndarray:
    """Map label values of any shape, FreeSurfer's own among them, to the uint8 channels of a network.

    Structures that the network does not predict are background; `name` is that of the file, for messages.

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


def dice_by_channel(found: torch.Tensor, truth: torch.Tensor, count: int) -> dict[int, float]:
    """Return the Dice of each of `count` channels that occurs in the truth; channel numbers of one shape."""
    both, a, b = (torch.bincount(x.reshape(-1).long(), minlength=count) for x in (found[found == truth], found, truth))
    return {i: float(2 * both[i] / (a[i] + b[i])) for i in range(count) if b[i] > 0}


def dice(prediction: torch.Tensor, truth: torch.Tensor, labels: Sequence[int]) -> dict[int, float]:
    """Return the Dice of each evaluated structure present in the truth, by its label."""
    scored = set(anatomy.evaluated_values())
    scores = dice_by_channel(prediction, truth, len(labels))
    return {labels[i]: score for i, score in scores.items() if labels[i] in scored}


def pooled(image: torch.Tensor) -> torch.Tensor:
    """(X, Y, Z) -> (1, 1, X/2, Y/2, Z/2) by averaging."""
    return torch.nn.functional.avg_pool3d(image[None, None], 2)


@torch.no_grad()
def score_locator(model: LocateRefine, cases: Sequence[ValidationCase], device: torch.device) -> Scores:
    """Return the Dice of the locator's labels on the 2 mm grid, against every second voxel of the truth."""
    scores = []
    for case in each("validating", cases):
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
    flip: bool = False,
) -> Scores:
    """Return the Dice of both stages at 1 mm, without post-processing.

    Args:
        model: the network.
        cases: heads with their truth.
        device: to predict on.
        prior_of: the prior (1, K, 96, 112, 96) that the refiner gets; by default the locator's.
        flip: average with the mirrored scan, as prediction does.
    """
    order, scores = anatomy.flip_channels(model.labels) if flip else None, []
    for case in each("validating", cases):
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
            logits = model.refine_averaged(part, near, appearance, order)
        posteriors = model.posteriors(logits, part, appearance)
        prediction = torch.zeros(case.channels.shape, dtype=torch.uint8)
        prediction[fine] = posteriors.argmax(0).to(torch.uint8).cpu()
        scores.append(dice(prediction, case.channels, model.labels))
    return gathered(scores)


@torch.no_grad()
def score_whole(model: Any, cases: Sequence[ValidationCase], device: torch.device) -> Scores:
    """Return the Dice of a U-Net or hierarchy in the middle 160^3 voxels, without flips or post-processing."""
    scores = []
    for case in each("validating", cases):
        found = model.eval()(case.image[MIDDLE].float()[None, None].to(device))[0].argmax(0).cpu()
        scores.append(dice(found, case.channels[MIDDLE], model.labels))
    return gathered(scores)


NEAR = degradation().with_values(scaling=(0.8, 1.2), translation_mm=(-20.0, 20.0))
"""Table S1's degradations of heads that were found and have human sizes, as the fast field of view can show them."""
WORSE = (*(name for name in DEGRADATION if name not in ("flip", "in_plane_blur")), "slice_direction")
"""Priors of a synthetic image that are those of the degradation model."""


def labelled_crops(cases: Sequence[ValidationCase], *, crop: int, batch: int, device: torch.device | str) -> Sampler:
    """Return a sampler of crops, of `crop` voxels along each side, around random labelled voxels of random scans."""

    def place(channels: torch.Tensor, g: torch.Generator) -> tuple[slice, ...]:
        inside = channels.reshape(-1).nonzero()[:, 0]
        flat = int(inside[random_index(len(inside), g)]) if len(inside) else 0
        middle = torch.unravel_index(torch.tensor(flat), channels.shape)
        lows = [min(max(int(c) - crop // 2, 0), n - crop) for c, n in zip(middle, channels.shape, strict=True)]
        return tuple(slice(low, low + crop) for low in lows)

    def sample(g: torch.Generator) -> Batch:
        chosen = []
        for _ in range(batch):
            case = cases[random_index(len(cases), g)]
            where = place(case.channels, g)
            chosen.append((case.image[where].float(), case.channels[where]))
        images, targets = (torch.stack(some).to(device) for some in zip(*chosen, strict=True))
        return images[:, None], targets

    return sample


def worse(priors: GenerativeModel, model: GenerativeModel) -> GenerativeModel:
    """Return priors of synthetic images as bad as degraded real ones: the same contrasts, the degradation's ranges.

    The degradation model is the generative one without its mixture (section 2.3), so a synthetic image is degraded by
    drawing it so, and labels are deformed once instead of twice.
    """
    values = {name: value for name, value in model.values.items() if name in WORSE}
    return priors.with_values(p_isotropic_1mm=0.0, **values)


def degraded_case(
    case: ValidationCase,
    priors: GenerativeModel,
    generator: torch.Generator,
    device: torch.device | str,
    spacing: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Make a labelled image at 1 mm worse, and mirror half of all.

    Returns:
        (1, X, Y, Z) image in [0, 1] and (X, Y, Z) channels, at a spacing of 1 or 2 mm; mirrored ones keep their sides'
        names, so that only classes without sides may be made of them.
    """
    record = priors.sample(seed=generator)
    flip = bool(torch.rand(1, generator=generator) < 0.5)
    image, channels = case.image.float().to(device)[None, None], case.channels.to(device)[None]
    if spacing > 1.0:  # a voxel averages eight, and their noise
        image, channels = F.avg_pool3d(image, 2), channels[:, ::2, ::2, ::2]
        record = record.changed("acquisition", noise_std=record["acquisition"]["noise_std"] * spacing**-1.5)
    made, moved = degrade_batch(image, [record], (spacing,) * 3, channels)
    assert moved is not None
    return (made[0].flip(1), moved[0].flip(0)) if flip else (made[0], moved[0])


def degraded_scans(
    cases: Sequence[ValidationCase],
    priors: GenerativeModel,
    *,
    batch: int,
    spacing: float,
    device: torch.device | str,
    crop: int | None = None,
) -> Sampler:
    """Return a sampler of random scans made worse, at 1 or 2 mm; with `crop`, of random crops of so many voxels."""

    def sample(generator: torch.Generator) -> Batch:
        images, targets = [], []
        for _ in range(batch):
            case = cases[random_index(len(cases), generator)]
            image, channels = degraded_case(case, priors, generator, device, spacing)
            if crop is not None:
                lows = [random_index(n - crop + 1, generator) for n in channels.shape]
                where = tuple(slice(low, low + crop) for low in lows)
                image, channels = image[(slice(None), *where)], channels[where]
            images.append(image)
            targets.append(channels)
        return torch.stack(images), torch.stack(targets)

    return sample


def worse_cases(
    cases: Sequence[ValidationCase], priors: GenerativeModel, seed: int, spacing: float
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return two fixed degradations of each case, for validation: images (1, X, Y, Z) and channels."""
    return [
        degraded_case(case, priors, step_generator(seed, 10 * i + j), "cpu", spacing)
        for i, case in enumerate(cases)
        for j in range(2)
    ]
