"""The paper's recipe: SynthSeg's U-Net on 160^3 crops with the soft Dice loss (section 3.2)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from napari_synthseg.devices import bfloat16_where_quick, to_memory
from napari_synthseg.generator.brains import Grid, apply_batch, crop_grid
from napari_synthseg.generator.labelmap import LabelMap
from napari_synthseg.generator.priors import Priors
from napari_synthseg.generator.record import draw
from napari_synthseg.networks.unet import UNet3d
from napari_synthseg.training.engine.distributed import team
from napari_synthseg.training.engine.loop import Objective, Validation
from napari_synthseg.training.engine.losses import soft_dice_loss
from napari_synthseg.training.engine.pictures import labelled_picture
from napari_synthseg.training.objectives.locate_refine import step_generator


class PaperRecipe(Objective):
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

    shared = True

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
        self.device = torch.device(device)
        self.model = self.trained = model.to(device)
        if self.device.type != "mps":
            self.model.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self.maps = [m.to(device) for m in maps]
        self.priors, self.seed, self.batch, self.crop = priors, seed, batch, crop
        self.validation = validation
        self.values: Sequence[int] = model.labels

    def sample(self, g: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, 1, X, Y, Z) images and (B, X, Y, Z) channels of `values`; where several processes train, its own ones."""
        count = self.batch * team().size
        drawn = [self.maps[int(torch.randint(len(self.maps), (1,), generator=g))] for _ in range(count)]
        records = team().mine([draw(self.priors, m, g) for m in drawn])
        maps = team().mine(drawn)
        grids: list[Grid] = [crop_grid(m, (self.crop,) * 3, r.crop) for m, r in zip(maps, records, strict=True)]
        return apply_batch(records, maps, grids, self.values)

    def seen(self, g: torch.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Images, what the network sees of them, and the (B, X, Y, Z) channels that it is to find."""
        images, targets = self.sample(g)
        return images, images, targets

    @property
    def shown(self) -> Sequence[int]:
        """The label that each channel stands for."""
        return self.values

    def found(self, seen: torch.Tensor) -> torch.Tensor:
        """What the network finds in (B, C, X, Y, Z), (B, K, X, Y, Z) float32 posteriors."""
        with bfloat16_where_quick(self.device):
            return self.model(to_memory(seen))

    def picture(self, step: int) -> dict[str, np.ndarray]:
        images, seen, truth = self.seen(step_generator(self.seed, step))
        return labelled_picture(images[0, 0], truth[0], self.model(seen[:1])[0].argmax(0), self.shown)

    def loss(self, step: int) -> tuple[torch.Tensor, dict[str, float]]:
        _, seen, truth = self.seen(step_generator(self.seed, step))
        loss = soft_dice_loss(self.found(seen), truth)
        return loss, {"soft_dice": 1.0 - float(loss.detach())}
