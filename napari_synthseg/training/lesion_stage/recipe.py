"""Steps of the lesion network: voxels of crops of recent heads, lesions and what is around white matter alike."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from napari_synthseg.anatomy import LESION
from napari_synthseg.atomic_io import placed
from napari_synthseg.networks.lesion_features import WHITE_AROUND, inverted, lesion_features
from napari_synthseg.networks.lesion_finder import LEAST_WHITE, LesionFinder
from napari_synthseg.training.fast import step_generator
from napari_synthseg.training.lesion_stage.sampler import Crops, Sampler
from napari_synthseg.training.pictures import labelled_picture

RECENT = 400
"""Heads whose voxels are kept at hand, 3 MB each."""
LESIONS, OTHERS = 4000, 12_000
"""Voxels kept of a crop, at most."""
EDGE = 6
"""Voxels next to a crop's faces that are not learned from: some of what surrounds them is cut off."""
APART = math.asinh(2.0)
"""Of a voxel that is not as bright as the white matter around: its first input, 2 standard deviations."""
HEAVIEST = 1000.0
"""A voxel stands for so many of its crop at most."""
THRESHOLDS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.97)
"""Probabilities that are tried at validation."""
SPARED = 5
"""Every so manyth head chooses the threshold and is not learned from."""
FALSE = 8e-4
"""Share of the voxels near white matter that may be marked where there are no lesions: about 1 ml of a head."""


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


class Heads:
    """Voxels of numbered synthetic heads, drawn when they are first asked for.

    Args:
        sampler: makes the crops.
        seed: of everything random.
        crops: made of each head.
        folder: where heads are kept on disk too, for a run that is resumed or another one with the same options.
    """

    def __init__(self, sampler: Sampler, seed: int, crops: int, folder: Path | None = None) -> None:
        self.sampler, self.seed, self.crops, self.folder = sampler, seed, crops, folder
        self._recent: OrderedDict[int, Voxels] = OrderedDict()

    def made(self, number: int) -> Crops:
        """The crops of a head."""
        return self.sampler.crops(step_generator(self.seed, number), self.crops)

    def __getitem__(self, number: int) -> Voxels:
        """The voxels of a head."""
        if number not in self._recent:
            self._recent[number] = self._read(number) or self._drawn(number)
            while len(self._recent) > RECENT:
                self._recent.popitem(last=False)
        return self._recent[number]

    def _read(self, number: int) -> Voxels | None:
        """A head from disk, if it is there."""
        if self.folder is None or not (path := self._path(number)).exists():
            return None
        return Voxels(**load_file(path, device=str(self.sampler.device)))

    def _drawn(self, number: int) -> Voxels:
        """A new head."""
        voxels = some_voxels(self.made(number), step_generator(self.seed + 2, number))
        if self.folder is not None:
            with placed(self._path(number)) as path:
                save_file({key: one.contiguous() for key, one in vars(voxels).items()}, path)
        return voxels

    def _path(self, number: int) -> Path:
        assert self.folder is not None
        return self.folder / f"head-{self.seed}-{number:05d}.safetensors"


class LesionRecipe:
    """Voxels of synthetic heads.

    Args:
        model: the network.
        heads: that it learns from; one of every `SPARED` chooses the threshold instead.
        batch: voxels a step.
        reuse: steps to a new head; drawing heads takes far longer than learning from them.
        inverted_share: share of the batches that are of inverted scans.
        held_out: voxels of heads of other label maps, which score the model.
    """

    def __init__(
        self, model: LesionFinder, heads: Heads, *, batch: int, reuse: int, inverted_share: float = 0.0,
        held_out: Sequence[Voxels] = (),
    ) -> None:  # fmt: skip
        self.device = heads.sampler.device
        self.model = self.trained = model.to(self.device)
        self.heads, self.batch, self.reuse, self.inverted_share = heads, batch, reuse, inverted_share
        self.held_out = held_out
        self._newest = 0

    def voxels(self, step: int) -> Voxels:
        """The batch of a step: from every head at hand alike."""
        g = step_generator(self.heads.seed + 1, step)
        self._newest = step // self.reuse
        heads = [self.heads[n] for n in self._at_hand() if n % SPARED != SPARED - 1]
        which = torch.randint(len(heads), (self.batch,), generator=g)
        at, turned = torch.rand(self.batch, generator=g), float(torch.rand(1, generator=g)) < self.inverted_share
        parts = []
        for i, count in enumerate(torch.bincount(which, minlength=len(heads)).tolist()):
            if count and (n := len(heads[i].truth)):
                chosen = (at[which == i] * n).long().clamp(max=n - 1).to(self.device)
                parts.append((heads[i].features[chosen], heads[i].truth[chosen], heads[i].weight[chosen]))
        features, truth, weight = (torch.cat(one) for one in zip(*parts, strict=True))
        features = features.float()
        return Voxels(inverted(features) if turned else features, truth, weight)

    def _at_hand(self) -> range:
        """Numbers of the heads drawn so far that are still kept."""
        return range(max(0, self._newest - RECENT + 1), self._newest + 1)

    @torch.no_grad()
    def validate(self, model: torch.nn.Module) -> dict[str, float]:
        """Scores on held-out heads at the threshold that serves the spared ones best."""
        spared = [self.heads[n] for n in self._at_hand() if n % SPARED == SPARED - 1]
        chosen = best_threshold(model, spared or [self.heads[0]])
        dice, false = scores(model, self.held_out or spared or [self.heads[0]], chosen)
        figures = {"score": dice, "lesion_dice": dice, "threshold": chosen}
        return figures | ({} if math.isnan(false) else {"false_per_million": 1e6 * false})

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
        crops = self.heads.made(step // self.reuse)
        found = (self.model(crops.inputs[:1])[0, 0] > 0).long()
        return labelled_picture(crops.images[0], crops.lesions[0].long(), found, (0, LESION))


def some_voxels(crops: Crops, g: torch.Generator) -> Voxels:
    """Some lesion voxels of each crop, and some others near white matter: half of these differ from it, if as many do.

    What is as bright as white matter is left alone soon; what is not, and is no lesion, has to be learned.
    """
    features, truth, weight = [], [], []
    for inputs, lesions in zip(crops.inputs, crops.lesions, strict=True):
        inner = (slice(None), *(slice(EDGE, n - EDGE) for n in lesions.shape))
        every = lesion_features(inputs[None])[0][inner].flatten(1)
        mine = lesions[inner[1:]].flatten()
        near = (every[WHITE_AROUND] > LEAST_WHITE) & ~mine
        apart = every[0].abs() > APART
        for wanted, count, value in (
            (mine, LESIONS, 1.0),
            (near & apart, OTHERS // 2, 0.0),
            (near & ~apart, OTHERS // 2, 0.0),
        ):
            where = wanted.nonzero()[:, 0]
            kept = where[torch.randperm(len(where), generator=g)[:count].to(where.device)]
            features.append(every[:, kept].T.half())
            truth.append(torch.full((len(kept),), value, device=where.device))
            share = min(len(where) / max(len(kept), 1), HEAVIEST)
            weight.append(torch.full((len(kept),), share, device=where.device))
    return Voxels(torch.cat(features), torch.cat(truth), torch.cat(weight))


def best_threshold(model: torch.nn.Module, heads: Sequence[Voxels]) -> float:
    """The threshold with the best mean Dice of those that mark little in heads without lesions.

    Where all of them mark too much there, it is the highest.
    """
    figures = {t: scores(model, heads, t) for t in THRESHOLDS}
    fair = [t for t, (_, false) in figures.items() if not false > FALSE]
    return max(fair or THRESHOLDS[-1:], key=lambda t: figures[t][0])


def scores(model: torch.nn.Module, heads: Sequence[Voxels], threshold: float) -> tuple[float, float]:
    """Mean Dice over heads with lesions (0 without any), and the share marked of those without (NaN without any)."""
    dice, false = [], []
    for head in heads:
        mask = model.voxels(head.features.float()).sigmoid() > threshold  # type: ignore[operator]
        marked, true = float(head.weight[mask].sum()), float((head.weight * head.truth).sum())
        if true:
            both = float((head.weight * head.truth)[mask].sum())
            dice.append(2 * both / (marked + true))
        else:
            false.append(marked / max(float(head.weight.sum()), 1.0))
    return float(np.mean(dice)) if dice else 0.0, float(np.mean(false)) if false else math.nan
