"""Objective of fine-tuning on crops of scans at 1 mm (transformers, SynthSeg's U-Net, hierarchy); early stopping."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from napari_synthseg import anatomy
from napari_synthseg.devices import half_precision
from napari_synthseg.generator.brains import apply
from napari_synthseg.generator.head import crop_grid
from napari_synthseg.generator.labelmap import LabelMap
from napari_synthseg.generator.model import GenerativeModel
from napari_synthseg.networks.hierarchy import Hierarchy, beside, one_hot
from napari_synthseg.networks.transformers import Transformer
from napari_synthseg.training.data.scan_sampler import FIELD_MM, ScanSampler
from napari_synthseg.training.data.synthetic import percentile_limits, rescaled, step_generator
from napari_synthseg.training.data.targets import grouped, target_losses
from napari_synthseg.training.engine.checkpoints import load_newest
from napari_synthseg.training.engine.loop import Objective, Validation
from napari_synthseg.training.folder import checkpoint

Synthetic = Callable[[torch.Generator], tuple[torch.Tensor, torch.Tensor]]
"""Draws a (1, 1, X, Y, Z) synthetic image in [0, 1] and its (1, X, Y, Z) channels of the network."""


class ScanCropsObjective(Objective):
    """Random crops of labelled scans; Dice and cross-entropy.

    Args:
        model: with `labels`; of a hierarchy, the last network is trained.
        sampler: draws scans.
        seed: of everything random.
        batch: crops a step.
        crop: voxels along each side.
        device: to train on.
        validation: scores the model.
        synthetic: draws crops of generated images; None for none.
        generated: fraction of them.
        encoder: parameters of the model that learn at another rate.
        encoder_lr_scale: their rate as a fraction of the loop's.
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
        generated: float = 0.0,
        encoder: Sequence[nn.Parameter] = (),
        encoder_lr_scale: float = 1.0,
    ) -> None:
        self.model = model.to(device)
        self.sampler, self.seed, self.batch, self.crop = sampler, seed, batch, crop
        self.device, self.validation = torch.device(device), validation
        self.synthetic, self.generated = synthetic, generated if synthetic is not None else 0.0
        self.encoder, self.encoder_lr_scale = list(encoder), encoder_lr_scale
        self.spacing, self.field_mm = 1.0, FIELD_MM
        if isinstance(model, Transformer):
            self.spacing, self.field_mm = float(model.spacing), float(model.field * model.spacing)

    @property
    def trained(self) -> nn.Module:  # type: ignore[override]
        """The network itself; of a hierarchy the last one."""
        return self.model.s2 if isinstance(self.model, Hierarchy) else self.model

    def groups(self) -> list[dict[str, Any]]:
        """Return the encoder's parameters, with a rate of their own, and all others."""
        apart = {id(p) for p in self.encoder}
        rest = [p for p in self.trained.parameters() if id(p) not in apart]
        own = [{"params": self.encoder, "lr_scale": self.encoder_lr_scale}] if self.encoder else []
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
            real = not torch.rand(1, generator=g).item() < self.generated
            image, truth, groups = self.sample(real, g)
            entropy, dice = target_losses(self.logits(image), truth, groups)
            total = total + (entropy + dice) / self.batch
            if bool(truth.any()):
                figures[f"soft_dice_{'scans' if real else 'synthetic'}"] = 1.0 - float(dice.detach())
        return total, figures

    def sample(self, real: bool, g: torch.Generator) -> tuple[torch.Tensor, torch.Tensor, Sequence[int]]:
        """Draw a (1, 1, X, Y, Z) image, its (1, X, Y, Z) truth, and the target of each channel."""
        if real:
            image, truth = self.sampler.crop(self.crop, g, self.spacing, self.field_mm)
            return image[None, None], truth[None], self.sampler.targets.groups
        assert self.synthetic is not None
        image, truth = self.synthetic(g)
        return image, truth, range(len(self.sampler.targets.labels))

    def enough(self) -> bool:
        """Whether the scores have not risen for long enough."""
        return isinstance(self.validation, EarlyStopping) and self.validation.over()

    def picture(self, step: int) -> dict[str, np.ndarray]:
        """Return a crop of a scan."""
        image, truth, groups = self.sample(True, step_generator(self.seed + 41, step))
        found = grouped(self.logits(image).float(), groups)[0].argmax(0)
        return self.sampler.targets.picture(image[0, 0], truth[0], found)


def freeze_norms(model: nn.Module) -> None:
    """Freeze the statistics of batch norms, since a crop or two have none of their own."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


class SyntheticCrops:
    """Crops of generated heads for whole-scan networks.

    Args:
        maps: label maps.
        priors: of the generative model.
        labels: the network's.
        task: one of `anatomy.TASKS`, if the labels are those of a task.
        side: voxels along each side.
        spacing: of the voxels, mm.
        device: of the crops.
    """

    def __init__(
        self,
        maps: Sequence[LabelMap],
        priors: GenerativeModel,
        labels: Sequence[int],
        task: str,
        side: int,
        spacing: float,
        device: torch.device | str,
    ) -> None:
        self.maps, self.priors = [m.to(device) for m in maps], priors
        self.side, self.spacing = side, spacing
        own = task == "all" or tuple(labels) != anatomy.task_values(task)
        self.values = tuple(labels) if own else anatomy.predicted_values(2)
        channel = {v: i for i, v in enumerate(labels)}
        counted = self.values if own else tuple(anatomy.in_task(v, task) for v in self.values)
        self.channels = torch.tensor([channel.get(v, 0) for v in counted], dtype=torch.uint8, device=device)

    def __call__(self, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw a (1, 1, X, Y, Z) image in [0, 1] and its (1, X, Y, Z) channels."""
        label_map = self.maps[int(torch.randint(len(self.maps), (1,), generator=generator))]
        record = self.priors.sample(label_map, generator)
        grid = crop_grid(label_map, (self.side,) * 3, record["crop"]["at"], self.spacing)
        sample = apply(record, label_map, grid)
        image = rescaled(sample.image, percentile_limits(sample.image, 0.005, 0.995))
        truth = self.channels[sample.target(self.values).long()]
        return image[None, None], truth[None]


class EarlyStopping:
    """Early stopping: validates, and counts validations without a better score.

    Args:
        validate: scores a model; "score" counts.
        patience: validations without a better score before the end; 0 for any number.
    """

    def __init__(self, validate: Callable[[nn.Module], dict[str, Any]], patience: int) -> None:
        self.validate, self.patience = validate, patience
        self.stale, self.best = 0, float("-inf")

    def __call__(self, model: nn.Module) -> dict[str, Any]:
        """Validate and count."""
        scores = self.validate(model)
        if "score" in scores:
            better = scores["score"] > self.best
            self.stale = 0 if better else self.stale + 1
            self.best = max(self.best, scores["score"])
        return scores

    def over(self) -> bool:
        """Whether the scores have not risen for long enough."""
        return 0 < self.patience <= self.stale

    def facts(self) -> dict[str, Any]:
        """Return the state that a checkpoint keeps."""
        return {"stale": self.stale, "best_score": self.best}

    def resume(self, run: Path, stage: str) -> None:
        """Continue the count of the newest checkpoint of a stage."""
        path = checkpoint(run, stage)
        if path.exists():
            kept = load_newest(run, stage)[0]["card"]
            self.stale, self.best = kept.get("stale", 0), kept.get("best_score", self.best)
