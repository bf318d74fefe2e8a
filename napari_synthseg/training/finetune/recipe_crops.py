"""Fine-tuning of networks that see crops of the scan at 1 mm: UNETR, Swin UNETR, SynthSeg's U-Net and hierarchy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from napari_synthseg.devices import half_precision
from napari_synthseg.networks.hierarchy import Hierarchy, beside, one_hot
from napari_synthseg.networks.transformers import Transformer
from napari_synthseg.training.data.synthetic import step_generator
from napari_synthseg.training.engine.loop import Objective, Validation
from napari_synthseg.training.finetune.patience import Patience
from napari_synthseg.training.finetune.sampler import FIELD_MM, ScanSampler
from napari_synthseg.training.finetune.targets import grouped, target_losses

Synthetic = Callable[[torch.Generator], tuple[torch.Tensor, torch.Tensor]]
"""Draws a (1, 1, X, Y, Z) synthetic image in [0, 1] and its (1, X, Y, Z) channels of the network."""


class CropRecipe(Objective):
    """Random crops of labelled scans; Dice and cross-entropy.

    Args:
        model: what is trained, with `labels`; of a hierarchy its last network, the others stay.
        sampler: draws scans.
        seed: of everything random.
        batch: crops a step.
        crop: voxels along each side.
        device: to train on.
        validation: scores the model.
        synthetic: draws synthetic crops; None where there are none.
        share: of synthetic crops.
        encoder: of the model's parameters, those that learn at a share of the rate.
        encoder_share: which share.
    """

    def __init__(
        self,
        model: nn.Module,
        sampler: ScanSampler,
        *,
        seed: int,
        batch: int,
        crop: int,
        device: torch.device | str,
        validation: Validation,
        synthetic: Synthetic | None = None,
        share: float = 0.0,
        encoder: Sequence[nn.Parameter] = (),
        encoder_share: float = 1.0,
    ) -> None:
        self.model = model.to(device)
        self.sampler, self.seed, self.batch, self.crop = sampler, seed, batch, crop
        self.device, self.validation = torch.device(device), validation
        self.synthetic, self.share = synthetic, share if synthetic is not None else 0.0
        self.encoder, self.encoder_share = list(encoder), encoder_share
        self.spacing, self.field_mm = 1.0, FIELD_MM
        if isinstance(model, Transformer):
            self.spacing, self.field_mm = float(model.spacing), float(model.field * model.spacing)

    @property
    def trained(self) -> nn.Module:  # type: ignore[override]
        """The network itself; of a hierarchy the last one."""
        return self.model.s2 if isinstance(self.model, Hierarchy) else self.model

    def groups(self) -> list[dict[str, Any]]:
        """The encoder's parameters, which learn at a rate of their own, and all others."""
        apart = {id(p) for p in self.encoder}
        rest = [p for p in self.trained.parameters() if id(p) not in apart]
        own = [{"params": self.encoder, "lr_scale": self.encoder_share}] if self.encoder else []
        return [*own, {"params": rest}]

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 1, X, Y, Z) images in [0, 1] -> (B, K, X, Y, Z) logits; transformers in bfloat16 if fast."""
        if isinstance(self.model, Transformer):
            with half_precision(self.device):
                return self.model.logits(images)
        if isinstance(self.model, Hierarchy):
            with torch.no_grad():
                tissues = one_hot(self.model.denoiser(one_hot(self.model.s1(images))))
            return self.model.s2.logits(beside(images, tissues))  # type: ignore[operator, union-attr]
        return self.model.logits(images)  # type: ignore[operator]

    def loss(self, step: int) -> tuple[torch.Tensor, dict[str, float]]:
        g = step_generator(self.seed + 41, step)
        freeze_norms(self.model)
        total, figures = torch.zeros((), device=self.device), {}
        for _ in range(self.batch):  # one after the other: crops are large
            real = not torch.rand(1, generator=g).item() < self.share
            image, truth, groups = self.sample(real, g)
            entropy, dice = target_losses(self.logits(image), truth, groups)
            total = total + (entropy + dice) / self.batch
            if bool(truth.any()):
                figures[f"soft_dice_{'scans' if real else 'synthetic'}"] = 1.0 - float(dice.detach())
        return total, figures

    def sample(self, real: bool, g: torch.Generator) -> tuple[torch.Tensor, torch.Tensor, Sequence[int]]:
        """A (1, 1, X, Y, Z) image, its (1, X, Y, Z) truth, and what the truth's numbers are of each channel."""
        if real:
            image, truth = self.sampler.crop(self.crop, g, self.spacing, self.field_mm)
            return image[None, None], truth[None], self.sampler.targets.groups
        assert self.synthetic is not None
        image, truth = self.synthetic(g)
        return image, truth, range(len(self.sampler.targets.labels))

    def enough(self) -> bool:
        """Whether the scores have not risen for long enough."""
        return isinstance(self.validation, Patience) and self.validation.over()

    def picture(self, step: int) -> dict[str, np.ndarray]:
        """A crop of a scan."""
        image, truth, groups = self.sample(True, step_generator(self.seed + 41, step))
        found = grouped(self.logits(image).float(), groups)[0].argmax(0)
        return self.sampler.targets.picture(image[0, 0], truth[0], found)


def freeze_norms(model: nn.Module) -> None:
    """Let batch norms use what they learned before: a crop or two have no statistics to norm by."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
