"""Objectives of fine-tuning: labelled scans among generated images, until the scores rise no more.

Networks that see the whole scan (transformers, SynthSeg's U-Net, hierarchy) learn from crops at 1 mm; the fast
networks, robust or not, learn in two stages, as in `train synthseg`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from napari_synthseg.devices import bfloat16_where_quick, half_precision, to_memory
from napari_synthseg.generator.head import Grid
from napari_synthseg.networks.hierarchy import beside, one_hot
from napari_synthseg.networks.registry import InferenceSpec
from napari_synthseg.networks.subvoxel import subvoxel
from napari_synthseg.training.data.scan_sampler import FIELD_MM, ScanSampler
from napari_synthseg.training.data.synthetic import Sampler, random_index, rescaled, step_generator
from napari_synthseg.training.engine.loop import Objective, freeze_norms
from napari_synthseg.training.engine.losses import IGNORED, grouped, target_losses
from napari_synthseg.training.objectives.locate_refine import Crops, HeadsObjective, Locate, Refine, crop_around


class EarlyStopping:
    """Early stopping: validates, and counts validations without a better score.

    Args:
        validate: scores a model; "score" counts.
        patience: validations without a better score before the end; 0 for any number.
        resumed: a checkpoint whose count goes on.
    """

    def __init__(
        self, validate: Callable[[nn.Module], dict[str, Any]], patience: int, resumed: dict[str, Any] | None = None
    ) -> None:
        kept = resumed["card"] if resumed else {}
        self.validate, self.patience = validate, patience
        self.stale, self.best = kept.get("stale", 0), kept.get("best_score", float("-inf"))

    def __call__(self, model: nn.Module) -> dict[str, Any]:
        scores = self.validate(model)
        if "score" in scores:
            self.stale = 0 if scores["score"] > self.best else self.stale + 1
            self.best = max(self.best, scores["score"])
        return scores

    def over(self) -> bool:
        return 0 < self.patience <= self.stale

    def facts(self) -> dict[str, Any]:
        """Return the state that a checkpoint keeps."""
        return {"stale": self.stale, "best_score": self.best}


def trained_part(model: Any) -> nn.Module:
    """Return the network itself; of a hierarchy the last one, S2."""
    return getattr(model, "s2", model)


@dataclass(eq=False, repr=False)
class ScanCropsObjective(Objective):
    """Random crops of labelled scans at 1 mm, and of generated images; Dice and cross-entropy.

    `model` has `labels`; of a hierarchy, the last network is trained.
    """

    sampler: ScanSampler
    """Draws scans."""
    _: KW_ONLY
    crop: int
    """Voxels along each side."""
    synthetic: Sampler | None = None
    """Draws crops of generated images; None for none."""
    generated: float = 0.0
    """Fraction of them."""
    encoder: Sequence[nn.Parameter] = ()
    """Parameters of the model that learn at another rate."""
    encoder_lr_scale: float = 1.0
    """Their rate as a fraction of the loop's."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.spec: InferenceSpec = getattr(self.model, "spec", InferenceSpec())
        self.generated = self.generated if self.synthetic is not None else 0.0
        self.spacing = float(getattr(self.model, "spacing", 1.0))
        self.field_mm = float(getattr(self.model, "field", FIELD_MM)) * self.spacing

    def part(self) -> nn.Module:
        return trained_part(self.model)

    def groups(self) -> list[dict[str, Any]]:
        """Return the encoder's parameters, with a rate of their own, and all others."""
        apart = {id(p) for p in self.encoder}
        rest = [p for p in self.trained.parameters() if id(p) not in apart]
        own = [{"params": list(self.encoder), "lr_scale": self.encoder_lr_scale}] if apart else []
        return [*own, {"params": rest}]

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 1, X, Y, Z) images in [0, 1] -> (B, K, X, Y, Z) logits; transformers in bfloat16 if fast."""
        if self.spec.tissues:
            with torch.no_grad():
                tissues = one_hot(self.model.denoiser(one_hot(self.model.s1(images))))
            images = beside(images, tissues)
        if self.spec.predictor != "sliding_window":
            return self.trained.logits(images)
        with half_precision(self.device):
            return self.trained.logits(images)

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
        if real or self.synthetic is None:
            image, truth = self.sampler.crop(self.crop, g, self.spacing, self.field_mm)
            return image[None, None], truth[None], self.sampler.targets.groups
        return *self.synthetic(g), range(len(self.sampler.targets.labels))

    def picture(self, step: int) -> dict[str, np.ndarray]:
        image, truth, groups = self.sample(True, step_generator(self.seed + 41, step))
        found = grouped(self.logits(image).float(), groups)[0].argmax(0)
        return self.sampler.targets.picture(image[0, 0], truth[0], found)


# The fast networks


@dataclass(eq=False, repr=False)
class ScanHeads(HeadsObjective):
    """Base of both stages of a fast network: now a labelled scan, now a generated head."""

    _: KW_ONLY
    sampler: ScanSampler
    """Draws scans."""
    generated: float
    """Fraction of generated heads."""
    shared: bool = False  # steps are drawn whole
    stream: ClassVar[int]
    """Added to the seed."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.generated = self.generated if self.heads.maps else 0.0
        self.scan_weights = self.sampler.group_weights(self.weight_power).to(self.device)

    def synthetic(self, g: torch.Generator) -> bool:
        """Draw whether a sample is generated."""
        return torch.rand(1, generator=g).item() < self.generated

    def losses(self, logits: torch.Tensor, truth: torch.Tensor, real: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """Return cross-entropy and Dice loss of (B, K, ...) logits: of targets for scans, else of channels."""
        if real:
            return target_losses(logits, truth, self.sampler.targets.groups, self.scan_weights)
        return target_losses(logits, truth, range(logits.shape[1]), self.weights)

    def pictured(self, image: torch.Tensor, truth: torch.Tensor, logits: torch.Tensor) -> dict[str, np.ndarray]:
        """Return a picture of a scan: (X, Y, Z) image, targets and (K, X, Y, Z) logits."""
        targets = self.sampler.targets
        return targets.picture(image, truth, grouped(logits[None].float(), targets.groups)[0].argmax(0))


@dataclass(eq=False, repr=False)
class ScanLocate(ScanHeads, Locate):
    """Stage 1: whole heads at 2 mm, scans among them; of a robust network, the locator of S2 is trained."""

    _: KW_ONLY
    weight_power: float = 0.33
    stream = 31

    def part(self) -> nn.Module:
        return trained_part(self.model.locator)

    def real_head(self, g: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw a scan at 2 mm in the locator's field of view: image in [0, 1] and targets."""
        grid = Grid.centered(self.model.head_shape, self.model.head_spacing)
        image, targets, _ = self.sampler.on(self.sampler.draw(g), grid)
        return image, targets

    def loss(self, step: int) -> tuple[torch.Tensor, dict[str, float]]:
        g = step_generator(self.seed + self.stream, step)
        images, truths, real = [], [], []
        for _ in range(self.batch):
            real.append(not self.synthetic(g))
            if real[-1]:
                image, truth = self.real_head(g)
            else:
                head = self.heads.head(g)
                image, truth = rescaled(head.image), head.channels()
            images.append(image)
            truths.append(truth)
        position, net = random_index(8, g), self.model.locator
        with bfloat16_where_quick(self.device):
            logits = net.logits_at(net.trunk(to_memory(torch.stack(images)[:, None])), position)
        truth, total, figures = subvoxel(torch.stack(truths), position), torch.zeros((), device=self.device), {}
        for kind, name in ((True, "scans"), (False, "synthetic")):
            chosen = [i for i, one in enumerate(real) if one == kind]
            if chosen:
                entropy, dice = self.losses(logits[chosen], truth[chosen], kind)
                total = total + len(chosen) / self.batch * (entropy + dice)
                figures[f"soft_dice_{name}"] = 1.0 - float(dice.detach())
        return total, figures

    def picture(self, step: int) -> dict[str, np.ndarray]:
        image, truth = self.real_head(step_generator(self.seed + self.stream, step))
        with bfloat16_where_quick(self.device):
            logits = self.model.locator(to_memory(image[None, None]))[0]
        return self.pictured(image, truth, logits)


@dataclass(eq=False, repr=False)
class ScanRefine(ScanHeads, Refine):
    """Stage 2: crops at 1 mm of scans, or of generated heads, that the locator has just seen."""

    stream = 37

    @torch.no_grad()
    def real_crops(self, g: torch.Generator) -> Crops:
        """Draw crops of one scan, as `crops` does of a generated head, with targets of the scan."""
        drawn, model = self.sampler.draw(g), self.model
        image, coarse, limits = self.sampler.on(drawn, Grid.centered(model.head_shape, model.head_spacing))
        seen = to_memory(image[None, None])
        with bfloat16_where_quick(self.device):
            posteriors = model.locate(seen)
        appearance = model.appearance(seen, posteriors).expand(self.batch, -1, -1)
        inside, half = ((coarse > 0) & (coarse != IGNORED)).nonzero(), self.crop // 4
        if not len(inside):
            inside = torch.tensor([[n // 2 for n in model.head_shape]])
        images, priors, targets = [], [], []
        for _ in range(self.batch):
            at = inside[random_index(len(inside), g)].tolist()
            low, part = crop_around(at, self.crop)
            fine, truth, _ = self.sampler.on(drawn, part, limits)
            images.append(fine)
            targets.append(truth)
            x, y, z = (slice(a, a + 2 * half) for a in low)
            priors.append(posteriors[0, :, x, y, z])
        image, prior = to_memory(torch.stack(images)[:, None]), to_memory(torch.stack(priors))
        return Crops(image, prior, appearance, torch.stack(targets))

    def loss(self, step: int) -> tuple[torch.Tensor, dict[str, float]]:
        g = step_generator(self.seed + self.stream, step)
        real = not self.synthetic(g)
        crops = self.real_crops(g) if real else self.crops(g, step)
        position = random_index(8, g)
        entropy, dice = self.losses(self.logits(crops, position), subvoxel(crops.targets, position), real)
        return entropy + dice, {f"soft_dice_{'scans' if real else 'synthetic'}": 1.0 - float(dice.detach())}

    def picture(self, step: int) -> dict[str, np.ndarray]:
        """Return a crop of a scan: every second voxel of the network's input."""
        crops = self.real_crops(step_generator(self.seed + self.stream, step))
        logits = self.logits(crops, 0)
        return self.pictured(subvoxel(crops.image[0, 0], 0), subvoxel(crops.targets[0], 0), logits)
