"""The paper's recipe: SynthSeg's U-Net on 160^3 crops with the soft Dice loss (section 3.2)."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from napari_synthseg.networks.unet import UNet3d
from napari_synthseg.synthesis.brains import Grid, apply_batch, crop_grid
from napari_synthseg.synthesis.labelmap import LabelMap
from napari_synthseg.synthesis.priors import Priors
from napari_synthseg.synthesis.record import draw
from napari_synthseg.training.fast import Validation, step_generator
from napari_synthseg.training.losses import soft_dice_loss


class PaperRecipe:
    """Random crops of random heads, average soft Dice over all labels (eq. 27).

    Args:
        model: SynthSeg's U-Net.
        maps: training label maps.
        priors: of the generative model.
        seed: of everything random.
        batch: samples a step.
        crop: voxels along each side of a crop, a multiple of the network's.
        device: to generate and train on.
        validation: scores the model.
    """

    def __init__(
        self,
        model: UNet3d,
        maps: Sequence[LabelMap],
        priors: Priors,
        *,
        seed: int,
        batch: int,
        crop: int,
        device: torch.device | str,
        validation: Validation,
    ) -> None:
        self.model = self.trained = model.to(device)
        self.maps = [m.to(device) for m in maps]
        self.priors, self.seed, self.batch, self.crop = priors, seed, batch, crop
        self.validate = validation
        self.values: Sequence[int] = model.labels

    def sample(self, g: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, 1, X, Y, Z) images and (B, X, Y, Z) channels of `values`."""
        maps = [self.maps[int(torch.randint(len(self.maps), (1,), generator=g))] for _ in range(self.batch)]
        records = [draw(self.priors, m, g) for m in maps]
        grids: list[Grid] = [crop_grid(m, (self.crop,) * 3, r.crop) for m, r in zip(maps, records, strict=True)]
        return apply_batch(records, maps, grids, self.values)

    def loss(self, step: int) -> tuple[torch.Tensor, dict[str, float]]:
        images, targets = self.sample(step_generator(self.seed, step))
        loss = soft_dice_loss(self.model(images), targets)
        return loss, {"soft_dice": 1.0 - float(loss.detach())}
