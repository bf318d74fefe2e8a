"""The fast plan of `train robust`: S1, D and S2's locator on whole heads at 2 mm; S2's refiner as in `fast`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from napari_synthseg.anatomy import TISSUES
from napari_synthseg.devices import bfloat16_where_quick, to_memory
from napari_synthseg.generator.degradation_priors import DegradationPriors
from napari_synthseg.generator.tissue_errors import TissueErrorPriors, draw_errors, with_errors
from napari_synthseg.networks.hierarchy import RobustLocateRefine, with_tissues
from napari_synthseg.networks.locate_refine import LocateRefine
from napari_synthseg.networks.subvoxel import SubvoxelUNet
from napari_synthseg.training.data.validation import Case
from napari_synthseg.training.engine.distributed import team
from napari_synthseg.training.engine.losses import dice_and_cross_entropy
from napari_synthseg.training.engine.pictures import labelled_picture
from napari_synthseg.training.objectives.locate_refine import (
    LocateRecipe,
    class_weights,
    percentile_limits,
    rescaled,
    step_generator,
)
from napari_synthseg.training.robust.parts import NEAR, degraded_case, tissue_classes, tissue_dice

MOMENTUM = 0.1
"""Of the denoiser's batch norms: short runs cannot wait for the reference's hundreds of steps."""


class TissueRecipe(LocateRecipe):
    """S1: tissue classes of whole heads at 2 mm."""

    model: RobustLocateRefine

    def __init__(self, model: RobustLocateRefine, maps, priors, **options) -> None:
        super().__init__(model, maps, priors, **options)
        self.classes = tissue_classes(model.labels).to(self.device)
        power, groups = options.get("weight_power", 0.25), tissue_classes(model.labels).tolist()
        self.weights = class_weights(maps, model.labels, power, groups, len(TISSUES)).to(self.device)

    @property
    def net(self) -> SubvoxelUNet:
        return self.model.locator.s1

    @property
    def shown(self) -> Sequence[int]:
        return range(len(TISSUES))

    def wanted(self, channels: torch.Tensor) -> torch.Tensor:
        return self.classes[channels.long()]


class DenoiseRecipe(TissueRecipe):
    """D: from what S1 makes of degraded images to the true tissue classes (section 2.3).

    Args:
        model: whose S1 is trained.
        maps: label maps to draw images from.
        priors: those of such images, already as bad as they are to be (`parts.worse`).
        labelled: labelled images that are degraded in place of drawn ones.
        degradation: how.
        options: of `FastRecipe`.
    """

    def __init__(
        self,
        model: RobustLocateRefine,
        maps,
        priors,
        *,
        labelled: Sequence[Case] = (),
        degradation: DegradationPriors = NEAR,
        **options,
    ) -> None:
        super().__init__(model, maps, priors, **options)
        self.labelled, self.degradation = labelled, degradation
        for module in model.locator.denoiser.modules():
            if isinstance(module, nn.BatchNorm3d):
                module.momentum = MOMENTUM

    shared = False  # its batch norms want all samples in one process

    @property
    def trained(self) -> nn.Module:  # type: ignore[override]
        return self.model.locator.denoiser

    def degraded(self, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """A bad image (1, X, Y, Z) at 2 mm in [0, 1] and its (X, Y, Z) channels."""
        if not self.labelled:
            record, label_map, sample = self.head(generator)
            return sample.image[None], self.channels(record, label_map, sample)
        case = self.labelled[int(torch.randint(len(self.labelled), (1,), generator=generator))]
        return degraded_case(case, self.degradation, generator, self.device, self.model.head_spacing)

    def picture(self, step: int) -> dict[str, np.ndarray]:
        image, channels = self.degraded(step_generator(self.seed + 3, step))
        with self.autocast():
            found = self.model.locator.tissues(to_memory(rescaled(image, percentile_limits(image))[None]))[1]
        return labelled_picture(image[0], self.wanted(channels), found[0].argmax(0), self.shown)

    def loss(self, step: int) -> tuple[torch.Tensor, dict[str, float]]:
        g = step_generator(self.seed + 3, step)
        made = [self.degraded(g) for _ in range(self.batch)]
        image = to_memory(torch.stack([rescaled(one, percentile_limits(one)) for one, _ in made]))
        truth = self.wanted(torch.stack([channels for _, channels in made]))
        net = self.model.locator
        net.denoiser.train()
        with self.autocast():
            with torch.no_grad():
                before = net.s1(image).float().softmax(1)
            logits = net.denoiser.logits(to_memory(before))
        entropy, dice = dice_and_cross_entropy(logits, truth, self.weights)
        figures = {"cross_entropy": float(entropy.detach()), "soft_dice": 1.0 - float(dice.detach())}
        return entropy + dice, {**figures, "s1_dice": tissue_dice(before.argmax(1), truth)}


class GuidedLocateRecipe(LocateRecipe):
    """S2's locator, which also sees tissue maps: true ones made wrong, or now and then those that D gives.

    Args:
        model: whose locator is trained.
        maps: label maps.
        priors: of the generative model.
        errors: of the true maps.
        predicted: share of the steps that see what S1 and D make of the image (ours; the paper: 0).
        options: of `FastRecipe`.
    """

    model: RobustLocateRefine

    def __init__(
        self, model, maps, priors, *, errors: TissueErrorPriors | None = None, predicted: float = 0.0, **options
    ) -> None:
        super().__init__(model, maps, priors, **options)
        self.classes = tissue_classes(model.labels).to(self.device)
        self.errors, self.predicted = errors or TissueErrorPriors(), predicted

    @property
    def net(self) -> SubvoxelUNet:
        return self.model.locator.s2

    def seen(self, image: torch.Tensor, channels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        count = len(TISSUES)
        draws = team().mine([draw_errors(self.errors, count, generator) for _ in range(len(channels) * team().size)])
        if torch.rand(1, generator=generator).item() < self.predicted:
            with torch.no_grad(), self.autocast():
                return with_tissues(image, self.model.locator.tissues(to_memory(image))[1])
        true = self.classes[channels.long()]
        maps = [with_errors(one, e, count, self.model.head_spacing) for one, e in zip(true, draws, strict=True)]
        return with_tissues(image, torch.stack(maps))


@torch.no_grad()
def warm_start(model: RobustLocateRefine, source: LocateRefine) -> None:
    """Begin with the weights of a plain fast network, as far as they fit.

    S2 is that network, blind to tissues at first. S1 has its trunk, if the sizes are the same, and for each class the
    mean of the weights of its labels. D is left as it is.

    Args:
        model: gets the weights; has the labels and sizes of `source`.
        source: a trained network.
    """
    s2, s1, old = model.locator.s2, model.locator.s1, source.locator
    state = old.state_dict()
    stem = torch.zeros_like(s2.stem.weight)
    stem[:, :1] = state["stem.weight"]
    s2.load_state_dict({**state, "stem.weight": stem})
    model.refiner.load_state_dict(source.refiner.state_dict())
    if s1.features != old.features:
        return
    classes, k, count = tissue_classes(source.labels).long(), old.n_labels, s1.n_labels
    member = torch.nn.functional.one_hot(classes, count).T.float().to(old.head.weight.device)
    mean = member / member.sum(1, keepdim=True).clamp(min=1.0)
    grouped = {
        "head.weight": torch.einsum("ck,pkf->pcf", mean, state["head.weight"].reshape(8, k, -1)).reshape(
            8 * count, -1, 1, 1, 1
        ),
        "head.bias": torch.einsum("ck,pk->pc", mean, state["head.bias"].reshape(8, k)).reshape(-1),
        # A class without labels is unlikely, but not impossible.
        "position": torch.einsum("ck,bkxyz->bcxyz", member, state["position"].softmax(1)).clamp(min=1e-6).log(),
    }
    s1.load_state_dict({**state, **grouped})


@torch.no_grad()
def score_tissues(
    model: RobustLocateRefine, cases: Sequence[tuple[torch.Tensor, torch.Tensor]], device: torch.device
) -> tuple[float, float]:
    """Mean Dice of S1's and of D's tissue classes at 2 mm on degraded images (`parts.worse_cases`)."""
    classes, before, after = tissue_classes(model.labels).long(), [], []
    for image, channels in cases:
        true = classes[channels.long()]
        seen = rescaled(image, percentile_limits(image))[None].to(device)
        with bfloat16_where_quick(device):
            s1, denoised = model.locator.tissues(to_memory(seen))
        before.append(tissue_dice(s1[0].argmax(0).cpu(), true))
        after.append(tissue_dice(denoised[0].argmax(0).cpu(), true))
    n = len(cases)
    return (sum(before) / n, sum(after) / n) if n else (float("nan"), float("nan"))
