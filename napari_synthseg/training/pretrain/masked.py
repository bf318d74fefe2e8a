"""Pre-training of UNETR's encoder: patches are masked, and reconstructed from the others (section III-A)."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from napari_synthseg.networks.pretraining import (
    MaskedAutoencoder,
    masked_error,
    normalised,
    patches,
    random_mask,
    whole,
)
from napari_synthseg.training.data.synthetic import step_generator
from napari_synthseg.training.engine.distributed import process_group
from napari_synthseg.training.pretrain.crops import Crops
from napari_synthseg.training.pretrain.recipe import Explained, PretextRecipe, beside


class MaskedRecipe(PretextRecipe):
    """Mean squared error of the masked patches alone.

    Args:
        model: masked autoencoder.
        crops: to learn from.
        held_out: to validate on.
        ratio: share of the patches that are masked.
        normalise: reconstruct patches with mean 0 and variance 1.
        options: seed, batch and device of `PretextRecipe`.
    """

    shared = True

    def __init__(
        self,
        model: MaskedAutoencoder,
        crops: Crops,
        held_out: Crops,
        *,
        ratio: float = 0.75,
        normalise: bool = False,
        **options,
    ) -> None:
        super().__init__(model, crops, held_out, **options)
        self.autoencoder, self.ratio, self.normalise = model, ratio, normalise

    def mask(self, batch: int, g: torch.Generator) -> torch.Tensor:
        """(batch, N) which patches are masked."""
        return random_mask(batch, self.autoencoder.count, self.ratio, g).to(self.device)

    def wanted(self, images: torch.Tensor) -> torch.Tensor:
        """(B, N, V) what is to be reconstructed."""
        parts = patches(images)
        return normalised(parts) if self.normalise else parts

    def loss(self, step: int) -> tuple[torch.Tensor, dict[str, float]]:
        g = step_generator(self.seed, step)
        images = self.drawn(g)
        mask = torch.stack(list(process_group().shard(list(self.mask(self.batch * process_group().size, g)))))
        wanted = self.wanted(images)
        with self.autocast():
            found = self.autoencoder(images, mask)
        error, explained = process_group().sum(masked_error(found, wanted, mask) / process_group().size), Explained()
        explained.add(found[mask], wanted[mask])
        return error, {"explained": explained.share}

    def validate(self, model: nn.Module) -> dict[str, float]:
        """How much of the masked patches of held-out crops is explained."""
        explained = Explained()
        for number in range(len(self.fixed)):
            image, g = self.validated(number)
            mask, wanted = self.mask(1, g), self.wanted(image)
            with self.autocast():
                found = model(image, mask)
            explained.add(found[mask], wanted[mask])
        return {"score": explained.share, "held_out_error": explained.error}

    def picture(self, step: int) -> dict[str, np.ndarray]:
        """A crop, what of it is seen, and what is made of that, from left to right."""
        g = step_generator(self.seed, step)
        image = self.drawn(g)[:1]
        mask, parts = self.mask(1, g), patches(image)
        with self.autocast():
            found = self.autoencoder(image, mask).float()
        if self.normalise:
            found = found * (parts.var(-1, keepdim=True) + 1e-6).sqrt() + parts.mean(-1, keepdim=True)
        hidden, edge = mask[..., None], self.autoencoder.edge
        seen = torch.where(hidden, torch.full_like(parts, 0.5), parts)
        return beside(image, whole(seen, edge), whole(torch.where(hidden, found, parts), edge))
