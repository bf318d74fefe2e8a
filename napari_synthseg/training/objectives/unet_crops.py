"""SynthSeg's objective: a network on crops at 1 mm with the average soft Dice loss (section 3.2, eq. 27)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn

from napari_synthseg.devices import bfloat16_where_quick, to_memory
from napari_synthseg.training.data.synthetic import step_generator
from napari_synthseg.training.engine.loop import Objective, Validation, labelled_picture, to_device
from napari_synthseg.training.engine.losses import soft_dice_loss

Batch = tuple[torch.Tensor, torch.Tensor]
"""Images (B, 1, X, Y, Z) in [0, 1], and (B, X, Y, Z) channels of labels."""
View = Callable[[torch.Tensor, torch.Tensor, torch.Generator], Batch]
"""Images, channels of labels and randomness -> (B, C, X, Y, Z), which the network sees, and (B, X, Y, Z) targets."""


class UNetCrops(Objective):
    """Average soft Dice over all channels, on crops.

    Args:
        model: gives (B, K, X, Y, Z) float32 posteriors.
        sample: draws the crops of a step.
        shown: label that each channel stands for.
        seed: of everything random.
        device: to train on.
        validation: scores the model.
        view: what the network sees and is to find; by default images and labels.
        figures: more numbers for the log, of what the network sees and is to find.
        shared: whether several processes can share a step.
    """

    def __init__(
        self,
        model: nn.Module,
        sample: Callable[[torch.Generator], Batch],
        shown: Sequence[int],
        *,
        seed: int,
        device: torch.device | str,
        validation: Validation,
        view: View = lambda images, channels, generator: (images, channels),
        figures: Callable[[torch.Tensor, torch.Tensor], dict[str, float]] = lambda seen, truth: {},
        shared: bool = True,
    ) -> None:
        self.device = torch.device(device)
        self.model = self.trained = model.to(device) if self.device.type == "mps" else to_device(model, device)
        self.sample, self.shown, self.seed, self.shared = sample, shown, seed, shared
        self.validation, self.view, self.figures = validation, view, figures

    def picture(self, step: int) -> dict[str, np.ndarray]:
        g = step_generator(self.seed, step)
        images, channels = self.sample(g)
        seen, truth = self.view(images, channels, g)
        return labelled_picture(images[0, 0], truth[0], self.model(seen[:1])[0].argmax(0), self.shown)

    def loss(self, step: int) -> tuple[torch.Tensor, dict[str, float]]:
        g = step_generator(self.seed, step)
        seen, truth = self.view(*self.sample(g), g)
        with bfloat16_where_quick(self.device, min(seen.shape[2:]) // getattr(self.model, "multiple", 1)):
            posteriors = self.model(to_memory(seen))
        loss = soft_dice_loss(posteriors, truth)
        return loss, {"soft_dice": 1.0 - float(loss.detach()), **self.figures(seen, truth)}
