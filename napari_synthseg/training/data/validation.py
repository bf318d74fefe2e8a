"""Validation: fixed synthetic heads of held-out maps, labelled scans, and the Dice of networks on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from napari_synthseg import anatomy
from napari_synthseg.devices import to_memory
from napari_synthseg.errors import InputError
from napari_synthseg.generator.brains import apply
from napari_synthseg.generator.head import Grid
from napari_synthseg.generator.labelmap import LabelMap
from napari_synthseg.generator.model import GenerativeModel
from napari_synthseg.jobs import checkpoint
from napari_synthseg.networks.locate_refine import LocateRefine
from napari_synthseg.networks.unet import UNet3d
from napari_synthseg.training.data.synthetic import percentile_limits, rescaled, step_generator
from napari_synthseg.training.engine.watching import doing


@dataclass(frozen=True)
class Case:
    """A validation head at 1 mm on the refiner's and the locator's common field of view.

    Attributes:
        name: shown in logs.
        image: (192, 224, 192) float32 in [0, 1].
        channels: (192, 224, 192) uint8, the truth.
    """

    name: str
    image: torch.Tensor
    channels: torch.Tensor


def synthetic_cases(
    maps: Sequence[LabelMap], priors: GenerativeModel, labels: Sequence[int], each: int, seed: int
) -> list[Case]:
    """Draw fixed heads from held-out maps."""
    cases: list[Case] = []
    for i, label_map in enumerate(maps):
        for j in range(each):
            doing("drawing heads for validation", len(cases) + 1, each * len(maps))
            record = priors.sample(label_map, step_generator(seed, 100 * i + j))
            sample = apply(record, label_map, Grid.centred((192, 224, 192), 1.0))
            image = rescaled(sample.image, percentile_limits(sample.image))
            channels = sample.target(labels)
            cases.append(Case(f"{label_map.name}-{j}", image.half(), channels))
    return cases


def labelled_scans(folder: Path, labels: Sequence[int]) -> list[Case]:
    """Read scans `<id>_t1.nii.gz` of 1 mm with labels `<id>_labels.nii.gz`, centered on the foreground.

    Raises:
        InputError: there are none, or one cannot be read.
    """
    from napari_synthseg.io import read_labels, read_volume
    from napari_synthseg.volume import to_canonical

    cases: list[Case] = []
    found = sorted(folder.glob("*_t1.nii.gz"))
    for path in found:
        doing("reading labelled scans", len(cases) + 1, len(found))
        scan = to_canonical(read_volume(path)).data.astype(np.float32)
        values = to_canonical(read_labels(path.with_name(path.name.replace("_t1", "_labels")))).data
        truth = np.zeros(values.shape, dtype=np.uint8)
        for i, v in enumerate(labels):
            truth[values == v] = i
        where = np.argwhere(scan > 0)
        start = ((where.min(0) + where.max(0) + 1) // 2 - np.array([96, 112, 96])).tolist()
        image = torch.from_numpy(window(scan, start, (192, 224, 192)))
        image = rescaled(image, percentile_limits(image))
        cases.append(Case(path.name[:4], image.half(), torch.from_numpy(window(truth, start, (192, 224, 192)))))
    if not cases:
        raise InputError(f"{folder} holds no scans <id>_t1.nii.gz to validate on: give another folder.")
    return cases


def window(array: np.ndarray, start: Sequence[int], shape: Sequence[int]) -> np.ndarray:
    """Return the part of an array that starts at `start` (may be negative), padded with zeros to a shape."""
    out = np.zeros(tuple(shape), dtype=array.dtype)
    source = tuple(slice(max(s, 0), min(s + n, size)) for s, n, size in zip(start, shape, array.shape, strict=True))
    place = tuple(slice(a.start - s, a.stop - s) for a, s in zip(source, start, strict=True))
    out[place] = array[source]
    return out


@dataclass(frozen=True)
class Scores:
    """Dice scores of a network on cases.

    Attributes:
        mean: over cases of the mean over structures; NaN without cases.
        structures: by name, mean over the cases in whose truth it is.
    """

    mean: float
    structures: dict[str, float]


def gathered(each: Sequence[dict[int, float]]) -> Scores:
    """Average the scores of cases, given the Dice of each structure (by its label) in each."""
    found: dict[int, list[float]] = {}
    for one in each:
        for value, score in one.items():
            found.setdefault(value, []).append(score)
    mean = float(np.mean([np.mean(list(one.values())) for one in each])) if each else float("nan")
    return Scores(mean, {anatomy.name(value): float(np.mean(scores)) for value, scores in found.items()})


def figures(
    score: Callable[[Any, Sequence[Case], torch.device], Scores],
    model: nn.Module,
    heads: Sequence[Case],
    scans: Sequence[Case],
    device: torch.device,
) -> dict[str, Any]:
    """Score a network on synthetic heads and, if there are some, on real scans, which then choose the model.

    Args:
        score: of a network on cases.
        model: the network.
        heads: drawn from label maps that are held out.
        scans: real ones.
        device: to predict on.
    """
    synthetic = score(model, heads, device)
    chosen = score(model, scans, device) if scans else synthetic
    return {"synthetic": synthetic.mean, "score": chosen.mean, "dice": chosen.structures}


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


def told(cases: Sequence[Any]) -> Iterator[Any]:
    """Go through the cases of a validation; whoever watches hears how far it is, and can stop it.

    Raises:
        Stopped: it was asked to.
    """
    for number, case in enumerate(cases):
        doing("validating", number + 1, len(cases))
        checkpoint()
        yield case


@torch.no_grad()
def score_locator(model: LocateRefine, cases: Sequence[Case], device: torch.device) -> Scores:
    """Return the Dice of the locator's labels on the 2 mm grid, against every second voxel of the truth."""
    scores = []
    for case in told(cases):
        with torch.autocast(device.type, dtype=torch.bfloat16):
            logits = model.locator(to_memory(pooled(case.image.float()).to(device)))
        scores.append(dice(logits[0].argmax(0).cpu(), case.channels[::2, ::2, ::2], model.labels))
    return gathered(scores)


@torch.no_grad()
def score_refiner(
    model: LocateRefine,
    cases: Sequence[Case],
    device: torch.device,
    prior_of: Callable[[Case], torch.Tensor] | None = None,
) -> Scores:
    """Return the Dice of both stages at 1 mm, without flips or post-processing.

    Args:
        model: the network.
        cases: heads with their truth.
        device: to predict on.
        prior_of: the prior (1, K, 96, 112, 96) that the refiner gets; by default the locator's.
    """
    scores = []
    for case in told(cases):
        image = case.image.float().to(device)
        with torch.autocast(device.type, dtype=torch.bfloat16):
            prior = prior_of(case) if prior_of else model.locate(to_memory(pooled(image)))
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
            posteriors = model.refine(to_memory(image[fine][None, None]), near, appearance)
        prediction = torch.zeros(case.channels.shape, dtype=torch.uint8)
        prediction[fine] = posteriors[0].argmax(0).to(torch.uint8).cpu()
        scores.append(dice(prediction, case.channels, model.labels))
    return gathered(scores)


@torch.no_grad()
def score_unet(model: UNet3d, cases: Sequence[Case], device: torch.device) -> Scores:
    """Return the Dice of SynthSeg's U-Net in the middle 160^3 voxels, without flips or post-processing."""
    middle = (slice(16, 176), slice(32, 192), slice(16, 176))
    scores = []
    for case in told(cases):
        prediction = model.logits(case.image[middle].float()[None, None].to(device))[0].argmax(0).cpu()
        scores.append(dice(prediction, case.channels[middle], model.labels))
    return gathered(scores)
