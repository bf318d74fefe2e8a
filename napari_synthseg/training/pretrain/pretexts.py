"""Pre-training of Swin UNETR's encoder: inpainting, rotation and contrast (section III-A, after Tang et al. 2022)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from napari_synthseg.networks.pretraining import SwinPretexts, contrastive_loss
from napari_synthseg.training.data.synthetic import step_generator
from napari_synthseg.training.pretrain.crops import Crops
from napari_synthseg.training.pretrain.recipe import Explained, PretextRecipe, beside
from napari_synthseg.training.pretrain.views import cut_out, random_turns, turned


@dataclass(frozen=True)
class View:
    """One view of a batch of crops.

    Attributes:
        seen: (B, 1, X, Y, Z) turned and partly cut out.
        whole: (B, 1, X, Y, Z) turned.
        holes: (B, 1, X, Y, Z) where it was cut out.
        turns: (B,) right angles.
    """

    seen: torch.Tensor
    whole: torch.Tensor
    holes: torch.Tensor
    turns: torch.Tensor


class SwinRecipe(PretextRecipe):
    """The sum of three losses, each with the weight 1: L1 of the image, two cross-entropies.

    Args:
        model: encoder and heads.
        crops: to learn from.
        held_out: to validate on.
        share: of the voxels that are cut out.
        temperature: of the contrastive loss.
        options: seed, batch and device of `PretextRecipe`.
    """

    shared = False  # crops are contrasted with all others, so that they have to be in one process

    def __init__(
        self,
        model: SwinPretexts,
        crops: Crops,
        held_out: Crops,
        *,
        share: float = 0.3,
        temperature: float = 0.5,
        **options,
    ) -> None:
        super().__init__(model, crops, held_out, **options)
        self.heads, self.share, self.temperature = model, share, temperature

    def view(self, images: torch.Tensor, g: torch.Generator) -> View:
        """A random view of crops."""
        turns = random_turns(len(images), g)
        whole = turned(images, turns)
        seen, holes = cut_out(whole, self.share, g)
        return View(seen, whole, holes, turns.to(images.device))

    def loss(self, step: int) -> tuple[torch.Tensor, dict[str, float]]:
        g = step_generator(self.seed, step)
        images = self.drawn(g)
        views = [self.view(images, g) for _ in range(2)]
        with self.autocast():
            found = [self.heads(view.seen) for view in views]
        rotation = sum(F.cross_entropy(f[0].float(), v.turns) for f, v in zip(found, views, strict=True)) / 2
        inpainting = sum(F.l1_loss(f[2].float(), v.whole) for f, v in zip(found, views, strict=True)) / 2
        contrast = contrastive_loss(found[0][1], found[1][1], self.temperature)
        figures = {"inpainting": inpainting, "rotation": rotation, "contrast": contrast}
        total = inpainting + rotation + contrast
        return total, {name: float(one.detach()) for name, one in figures.items()}  # type: ignore[union-attr]

    def validate(self, model: nn.Module) -> dict[str, float]:
        """How much of the holes of held-out crops is explained, and how many rotations are told."""
        explained, told = Explained(), 0
        for number in range(len(self.fixed)):
            image, g = self.validated(number)
            view = self.view(image, g)
            with self.autocast():
                rotation, _, found = model(view.seen)
            explained.add(found[view.holes], view.whole[view.holes])
            told += int(rotation.argmax(1) == view.turns)
        share = told / len(self.fixed)
        return {"score": explained.share, "held_out_error": explained.error, "rotations_told": share}

    def picture(self, step: int) -> dict[str, np.ndarray]:
        """A turned crop, what of it is seen, and what is made of that, from left to right."""
        g = step_generator(self.seed, step)
        view = self.view(self.drawn(g)[:1], g)
        with self.autocast():
            found = self.heads(view.seen)[2]
        return beside(view.whole, view.seen, found)
