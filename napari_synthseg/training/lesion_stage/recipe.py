"""Steps of the lesion network: crops of recent heads, each used a few times, mirrored and inverted at random."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional as F

from napari_synthseg.anatomy import LESION
from napari_synthseg.networks.lesion_finder import LesionFinder
from napari_synthseg.training.fast import Validation, step_generator, to_memory
from napari_synthseg.training.lesion_stage.sampler import Crops, Sampler
from napari_synthseg.training.pictures import labelled_picture

RECENT = 24
"""Heads whose crops are kept at hand."""
INTENSITIES = 2
"""Channels of the input that are intensities; they come first."""
STRETCH = 0.2
"""Intensities are stretched or shrunk by up to this share."""


class LesionRecipe:
    """Crops of synthetic heads.

    Args:
        model: the network.
        sampler: makes the crops.
        seed: of everything random.
        batch: crops a step, and crops made of each head.
        reuse: steps to a new head; drawing heads takes longer than learning from them.
        bfloat16: compute in bfloat16.
        validation: scores the model.
    """

    def __init__(
        self, model: LesionFinder, sampler: Sampler, *, seed: int, batch: int, reuse: int, bfloat16: bool,
        validation: Validation,
    ) -> None:  # fmt: skip
        self.device = sampler.device
        self.model = self.trained = model.to(self.device).to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self.sampler, self.seed, self.batch, self.reuse, self.bfloat16 = sampler, seed, batch, reuse, bfloat16
        self.validate = validation
        self._recent: OrderedDict[int, Crops] = OrderedDict()

    def head(self, number: int) -> Crops:
        """The crops of a head, made when they are first asked for (and again by a run that is resumed)."""
        if number not in self._recent:
            made = self.sampler.crops(step_generator(self.seed, number), self.batch)
            self._recent[number] = Crops(made.inputs.half(), made.lesions, made.images.half())
            while len(self._recent) > RECENT:
                self._recent.popitem(last=False)
        return self._recent[number]

    def chosen(self, step: int, g: torch.Generator) -> list[tuple[int, int]]:
        """Heads and which of their crops a step learns from; the first is of the newest head."""
        newest = step // self.reuse
        oldest = max(0, newest - RECENT + 1)
        heads = [newest, *torch.randint(oldest, newest + 1, (self.batch - 1,), generator=g).tolist()]
        return list(zip(heads, torch.randint(self.batch, (self.batch,), generator=g).tolist(), strict=True))

    def samples(self, step: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(B, CHANNELS, X, Y, Z) inputs, (B, X, Y, Z) lesions and images of a step."""
        g = step_generator(self.seed + 1, step)
        found = []
        for number, which in self.chosen(step, g):
            head = self.head(number)
            found.append(varied(head.inputs[which].float(), head.lesions[which], head.images[which], g))
        inputs, lesions, images = (torch.stack(one) for one in zip(*found, strict=True))
        return to_memory(inputs), lesions, images

    def loss(self, step: int) -> tuple[torch.Tensor, dict[str, float]]:
        inputs, lesions, _ = self.samples(step)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            logits = self.model(inputs)[:, 0]
        entropy, dice = entropy_and_dice(logits.float(), lesions)
        return entropy + dice, {"cross_entropy": float(entropy.detach()), "soft_dice": 1.0 - float(dice.detach())}

    def picture(self, step: int) -> dict[str, np.ndarray]:
        """One training sample: image, truth and prediction."""
        inputs, lesions, images = self.samples(step)
        found = (self.model(inputs[:1])[0, 0] > 0).long()
        return labelled_picture(images[0], lesions[0].long(), found, (0, LESION))


def varied(
    inputs: torch.Tensor, lesions: torch.Tensor, image: torch.Tensor, g: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A crop mirrored or not, inverted or not (lesions are dark as often as bright), a little stretched."""
    mirror, invert, stretch = torch.rand(3, generator=g).tolist()
    factor = (1 + STRETCH * (2 * stretch - 1)) * (-1 if invert < 0.5 else 1)
    inputs = inputs.clone()
    inputs[:INTENSITIES] *= factor
    if mirror < 0.5:
        inputs, lesions, image = inputs.flip(1), lesions.flip(0), image.flip(0)
    return inputs, lesions, image


def entropy_and_dice(logits: torch.Tensor, lesions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Cross-entropy of each lesion voxel and the background, and one minus the soft Dice over the batch.

    Args:
        logits: (B, X, Y, Z).
        lesions: (B, X, Y, Z) bool.
    """
    truth = lesions.to(logits.dtype)
    entropy = F.binary_cross_entropy_with_logits(logits, truth)
    p = logits.sigmoid()
    smooth = 50.0  # voxels: a batch with next to no lesions says next to nothing here
    dice = (2 * (p * truth).sum() + smooth) / (p.sum() + truth.sum() + smooth)
    return 4 * entropy, 1 - dice


def scores_on(cases: Sequence[Crops]) -> Validation:
    """What validates: the mean Dice over fixed heads with lesions, and false positives in those without."""

    @torch.no_grad()
    def score(model: torch.nn.Module) -> dict[str, float]:
        dice, false = [], []
        for case in cases:
            found = torch.cat([model(to_memory(one[None].float()))[:, 0] > 0 for one in case.inputs])
            truth = case.lesions
            if truth.any():
                dice.append(float(2 * (found & truth).sum() / (found.sum() + truth.sum())))
            else:
                false.append(float(found.float().mean()))
        mean = float(np.mean(dice)) if dice else 0.0
        figures = {"score": mean, "lesion_dice": mean}
        return figures | ({"false_per_million": 1e6 * float(np.mean(false))} if false else {})

    return score
