"""Steps of the lesion network: voxels of crops of recent heads, lesions and what is around white matter alike."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from napari_synthseg.anatomy import LESION
from napari_synthseg.networks.lesion_features import WHITE_AROUND, inverted, lesion_features
from napari_synthseg.networks.lesion_finder import LEAST_WHITE, LesionFinder
from napari_synthseg.training.fast import Validation, step_generator
from napari_synthseg.training.lesion_stage.sampler import Crops, Sampler
from napari_synthseg.training.pictures import labelled_picture

RECENT = 400
"""Heads whose voxels are kept at hand, 2 MB each."""
LESIONS, OTHERS = 1500, 4000
"""Voxels kept of a crop, at most."""
HEAVIEST = 60.0
"""A voxel stands for so many of its crop at most."""
THRESHOLDS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
"""Probabilities that are tried at validation."""


@dataclass(frozen=True)
class Voxels:
    """Some voxels of a head.

    Attributes:
        features: (N, FEATURES) float16.
        truth: (N,) float32, 1 for lesions.
        weight: (N,) float32, how many voxels each stands for.
    """

    features: torch.Tensor
    truth: torch.Tensor
    weight: torch.Tensor


class LesionRecipe:
    """Voxels of synthetic heads.

    Args:
        model: the network.
        sampler: makes the crops.
        seed: of everything random.
        crops: made of each head.
        batch: voxels a step.
        reuse: steps to a new head; drawing heads takes far longer than learning from them.
        validation: scores the model.
    """

    def __init__(
        self, model: LesionFinder, sampler: Sampler, *, seed: int, crops: int, batch: int, reuse: int,
        validation: Validation,
    ) -> None:  # fmt: skip
        self.device = sampler.device
        self.model = self.trained = model.to(self.device)
        self.sampler, self.seed, self.crops, self.batch, self.reuse = sampler, seed, crops, batch, reuse
        self.validate = validation
        self._recent: OrderedDict[int, Voxels] = OrderedDict()

    def made(self, number: int) -> Crops:
        """The crops of a head."""
        return self.sampler.crops(step_generator(self.seed, number), self.crops)

    def head(self, number: int) -> Voxels:
        """Voxels of a head, made when they are first asked for (and again by a run that is resumed)."""
        if number not in self._recent:
            self._recent[number] = some_voxels(self.made(number), step_generator(self.seed + 2, number))
            while len(self._recent) > RECENT:
                self._recent.popitem(last=False)
        return self._recent[number]

    def voxels(self, step: int) -> Voxels:
        """The batch of a step: from every head at hand alike; every other batch is of inverted scans."""
        g = step_generator(self.seed + 1, step)
        newest = step // self.reuse
        heads = [self.head(number) for number in range(max(0, newest - RECENT + 1), newest + 1)]
        which = torch.randint(len(heads), (self.batch,), generator=g)
        at = torch.rand(self.batch, generator=g)
        parts = []
        for i, count in enumerate(torch.bincount(which, minlength=len(heads)).tolist()):
            if count and (n := len(heads[i].truth)):
                chosen = (at[which == i] * n).long().clamp(max=n - 1).to(self.device)
                parts.append((heads[i].features[chosen], heads[i].truth[chosen], heads[i].weight[chosen]))
        features, truth, weight = (torch.cat(one) for one in zip(*parts, strict=True))
        features = features.float()
        return Voxels(inverted(features) if step % 2 else features, truth, weight)

    def loss(self, step: int) -> tuple[torch.Tensor, dict[str, float]]:
        batch = self.voxels(step)
        logits = self.model.voxels(batch.features)
        entropy = F.binary_cross_entropy_with_logits(logits, batch.truth, weight=batch.weight, reduction="sum")
        entropy = entropy / batch.weight.sum()
        p = logits.detach().sigmoid()
        both = 2 * float((batch.weight * batch.truth * p).sum())
        dice = both / max(float((batch.weight * (p + batch.truth)).sum()), 1e-6)
        return entropy, {"cross_entropy": float(entropy.detach()), "soft_dice": dice}

    def picture(self, step: int) -> dict[str, np.ndarray]:
        """One crop: image, truth and prediction."""
        crops = self.made(step // self.reuse)
        found = (self.model(crops.inputs[:1])[0, 0] > 0).long()
        return labelled_picture(crops.images[0], crops.lesions[0].long(), found, (0, LESION))


def some_voxels(crops: Crops, g: torch.Generator) -> Voxels:
    """Some lesion voxels of each crop, and some others near white matter."""
    features, truth, weight = [], [], []
    for inputs, lesions in zip(crops.inputs, crops.lesions, strict=True):
        every = lesion_features(inputs[None])[0].flatten(1).T
        near = (every[:, WHITE_AROUND] > LEAST_WHITE) | lesions.flatten()
        mine = lesions.flatten()
        for wanted, count, value in ((mine, LESIONS, 1.0), (near & ~mine, OTHERS, 0.0)):
            where = wanted.nonzero()[:, 0]
            kept = where[torch.randperm(len(where), generator=g)[:count].to(where.device)]
            features.append(every[kept].half())
            truth.append(torch.full((len(kept),), value, device=where.device))
            share = min(len(where) / max(len(kept), 1), HEAVIEST)
            weight.append(torch.full((len(kept),), share, device=where.device))
    return Voxels(torch.cat(features), torch.cat(truth), torch.cat(weight))


def scores_on(cases: Sequence[Crops]) -> Validation:
    """What validates: the Dice of fixed crops with lesions, at the best of some thresholds, and what is false."""

    @torch.no_grad()
    def score(model: torch.nn.Module) -> dict[str, float]:
        probability = [model(case.inputs.float())[:, 0].sigmoid() for case in cases]
        means = {t: _mean_dice(probability, cases, t) for t in THRESHOLDS}
        best = max(means, key=lambda t: means[t])
        false = [
            float((p > best).float().mean()) for p, c in zip(probability, cases, strict=True) if not c.lesions.any()
        ]
        figures = {"score": means[best], "lesion_dice": means[best], "threshold": best}
        return figures | ({"false_per_million": 1e6 * float(np.mean(false))} if false else {})

    return score


def _mean_dice(probability: Sequence[torch.Tensor], cases: Sequence[Crops], threshold: float) -> float:
    """Mean over heads that have lesions."""
    found = []
    for p, case in zip(probability, cases, strict=True):
        if case.lesions.any():
            mask = p > threshold
            found.append(float(2 * (mask & case.lesions).sum() / (mask.sum() + case.lesions.sum())))
    return float(np.mean(found)) if found else 0.0
