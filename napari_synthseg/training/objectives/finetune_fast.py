"""Objectives of fine-tuning the fast networks, robust or not: `train synthseg` with labelled scans among the heads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from napari_synthseg.devices import bfloat16_where_quick, to_memory
from napari_synthseg.generator.head import Grid
from napari_synthseg.generator.labelmap import LabelMap
from napari_synthseg.generator.model import GenerativeModel
from napari_synthseg.networks.hierarchy import RobustLocateRefine
from napari_synthseg.networks.locate_refine import LocateRefine
from napari_synthseg.networks.subvoxel import SubvoxelUNet, subvoxel
from napari_synthseg.training.data.scan_sampler import ScanSampler, group_weights
from napari_synthseg.training.data.synthetic import Heads, rescaled, step_generator
from napari_synthseg.training.data.targets import IGNORED, grouped, target_losses
from napari_synthseg.training.engine.loop import Validation
from napari_synthseg.training.objectives.finetune_crops import EarlyStopping
from napari_synthseg.training.objectives.locate_refine import Crops, Locate, Refine, crop_around


class _Mixed:
    """Both stages: now a labelled scan, now a generated head.

    Args:
        model: a trained fast network; of a robust one, the locator of S2 is trained, S1 and D stay.
        maps: label maps of generated heads; may be empty.
        priors: of the generative model.
        sampler: draws scans.
        generated: fraction of generated heads.
        options: of the objective of `train synthseg`.
    """

    power: float
    """Exponent of the cross-entropy's weights, as in `train synthseg`."""
    shared = False  # steps are drawn whole
    model: LocateRefine
    device: torch.device
    weights: torch.Tensor
    validation: Validation

    def __init__(
        self,
        model: LocateRefine,
        maps: Sequence[LabelMap],
        priors: GenerativeModel,
        *,
        sampler: ScanSampler,
        generated: float,
        **options: Any,
    ) -> None:
        heads = Heads(maps, priors, model.labels, device=options["device"])
        super().__init__(model, heads, weight_power=self.power, **options)  # type: ignore[call-arg]
        self.sampler, self.generated = sampler, generated if maps else 0.0
        self.scan_weights = group_weights(sampler.scans, sampler.targets.count, self.power).to(self.device)

    def synthetic(self, g: torch.Generator) -> bool:
        """Draw whether a sample is generated."""
        return torch.rand(1, generator=g).item() < self.generated

    def losses(self, logits: torch.Tensor, truth: torch.Tensor, real: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """Return cross-entropy and Dice loss of (B, K, ...) logits: of targets for scans, else of channels."""
        if real:
            return target_losses(logits, truth, self.sampler.targets.groups, self.scan_weights)
        return target_losses(logits, truth, range(logits.shape[1]), self.weights)

    def enough(self) -> bool:
        """Whether the scores have not risen for long enough."""
        return isinstance(self.validation, EarlyStopping) and self.validation.over()

    def pictured(self, image: torch.Tensor, truth: torch.Tensor, logits: torch.Tensor) -> dict[str, np.ndarray]:
        """Return a picture of a scan: (X, Y, Z) image, targets and (K, X, Y, Z) logits."""
        targets = self.sampler.targets
        return targets.picture(image, truth, grouped(logits[None].float(), targets.groups)[0].argmax(0))


class ScanLocate(_Mixed, Locate):
    """Stage 1: whole heads at 2 mm, scans among them."""

    power = 0.33

    def __init__(self, model: LocateRefine, *data: Any, **options: Any) -> None:
        net = model.locator.s2 if isinstance(model, RobustLocateRefine) else model.locator
        super().__init__(model, *data, net=net, **options)

    def real_head(self, g: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw a scan at 2 mm in the locator's field of view: image in [0, 1] and targets."""
        grid = Grid.centered(self.model.head_shape, self.model.head_spacing)
        image, targets, _ = self.sampler.on(self.sampler.draw(g), grid)
        return image, targets

    def loss(self, step: int) -> tuple[torch.Tensor, dict[str, float]]:
        g = step_generator(self.seed + 31, step)
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
        position = int(torch.randint(8, (1,), generator=g))
        net: SubvoxelUNet = self.model.locator
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
        """Return a scan of a step at 2 mm."""
        image, truth = self.real_head(step_generator(self.seed + 31, step))
        with bfloat16_where_quick(self.device):
            logits = self.model.locator(to_memory(image[None, None]))[0]
        return self.pictured(image, truth, logits)


class ScanRefine(_Mixed, Refine):
    """Stage 2: crops at 1 mm of scans, or of generated heads, that the locator has just seen."""

    power = 0.25

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
            at = inside[int(torch.randint(len(inside), (1,), generator=g))].tolist()
            low, part = crop_around(at, self.crop)
            fine, truth, _ = self.sampler.on(drawn, part, limits)
            images.append(fine)
            targets.append(truth)
            x, y, z = (slice(a, a + 2 * half) for a in low)
            priors.append(posteriors[0, :, x, y, z])
        return Crops(
            to_memory(torch.stack(images)[:, None]), to_memory(torch.stack(priors)), appearance, torch.stack(targets)
        )

    def loss(self, step: int) -> tuple[torch.Tensor, dict[str, float]]:
        g = step_generator(self.seed + 37, step)
        real = not self.synthetic(g)
        crops = self.real_crops(g) if real else self.crops(g, step)
        position = int(torch.randint(8, (1,), generator=g))
        entropy, dice = self.losses(self.logits(crops, [position])[0], subvoxel(crops.targets, position), real)
        return entropy + dice, {f"soft_dice_{'scans' if real else 'synthetic'}": 1.0 - float(dice.detach())}

    def picture(self, step: int) -> dict[str, np.ndarray]:
        """Return a crop of a scan: every second voxel of the network's input."""
        crops = self.real_crops(step_generator(self.seed + 37, step))
        logits = self.logits(crops, [0])[0]
        return self.pictured(subvoxel(crops.image[0, 0], 0), subvoxel(crops.targets[0], 0), logits[0])
