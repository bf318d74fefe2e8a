"""Scores of a network for an organ: Dice of each structure, on held-out scans and on images made from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from napari_synthseg.evaluation.metrics import dice
from napari_synthseg.generator.brains import apply, full_grid, target
from napari_synthseg.generator.priors import Priors
from napari_synthseg.generator.record import draw
from napari_synthseg.generator.subregions import Split, drawn
from napari_synthseg.inference.blocks import plan, window
from napari_synthseg.inference.prediction import blend
from napari_synthseg.inference.preprocess import rescale
from napari_synthseg.inference.presets import OWN
from napari_synthseg.jobs import run
from napari_synthseg.training.objectives.locate_refine import step_generator
from napari_synthseg.training.organ.pairs import Pair

BLOCK = 128**3
"""Voxels of a block at most."""


@dataclass(frozen=True)
class Case:
    """An image to be scored on.

    Attributes:
        image: (X, Y, Z) float32 in [0, 1].
        labels: (X, Y, Z) true values.
        kind: "real" or "synthetic".
    """

    image: np.ndarray
    labels: np.ndarray
    kind: str


def real_case(pair: Pair) -> Case:
    """A labelled scan as a network gets to see it."""
    return Case(rescale(pair.image, *OWN.percentiles), pair.labels, "real")


def synthetic_case(scan: Split, priors: Priors, labels: Sequence[int], seed: int) -> Case:
    """An image made from a labelled scan, the same for the same seed."""
    g = step_generator(seed, 0)
    label_map = drawn(scan, g)
    record = draw(priors, label_map, g)
    sample = apply(record, label_map, full_grid(label_map))
    channels = target(record, label_map, sample.labels, labels).numpy()
    return Case(rescale(sample.image.numpy(), *OWN.percentiles), np.asarray(labels)[channels], "synthetic")


@torch.no_grad()
def predicted(model: nn.Module, image: np.ndarray, device: torch.device) -> np.ndarray:
    """(X, Y, Z) labels of an image in [0, 1], block by block, with no clean-up."""
    blocks = plan(image.shape, max_voxels=BLOCK, overlap=32, multiple=32, minimum=64)
    source = torch.from_numpy(image)

    def one(first: Sequence[int]) -> torch.Tensor:
        return model(window(source, first, blocks.size)[None, None].to(device))[0].half()

    posteriors = run(blend("Segmenting", one, blocks, len(model.labels)))  # type: ignore[arg-type]
    return np.asarray(model.labels)[posteriors.argmax(0).numpy()]  # type: ignore[arg-type]


def score(model: nn.Module, cases: Sequence[Case], names: Mapping[int, str], device: torch.device) -> dict:
    """Mean Dice of the real and of the synthetic cases, "score" (the mean of both), and Dice by structure.

    A structure that a case does not hold is not scored on it.
    """
    by_kind: dict[str, list[float]] = {}
    by_name: dict[str, list[float]] = {}
    for case in cases:
        found = predicted(model, case.image, device)
        for value in model.labels[1:]:  # type: ignore[index]
            truth = case.labels == value
            if truth.any():
                one = dice(found == value, truth)
                by_kind.setdefault(case.kind, []).append(one)
                by_name.setdefault(names[value], []).append(one)
    means: dict = {kind: float(np.mean(all_)) for kind, all_ in by_kind.items()}
    if means:
        means["score"] = float(np.mean(list(means.values())))
        means["dice"] = {name: float(np.mean(all_)) for name, all_ in by_name.items()}
    return means
