"""The paper's plan of `train robust`: two U-Nets and the denoiser at 1 mm, soft Dice (SynthSeg+, sections 2.2-2.4)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from napari_synthseg.anatomy import TISSUES
from napari_synthseg.generator.degradation_priors import DegradationPriors
from napari_synthseg.generator.tissue_errors import TissueErrorPriors, draw_errors, with_errors
from napari_synthseg.networks.hierarchy import Hierarchy, as_channels, beside, one_hot
from napari_synthseg.networks.unet import UNet3d
from napari_synthseg.training.data.validation import Case, Scores, dice, gathered
from napari_synthseg.training.engine.losses import soft_dice_loss
from napari_synthseg.training.objectives.locate_refine import step_generator
from napari_synthseg.training.objectives.unet_crops import PaperRecipe
from napari_synthseg.training.robust.parts import degraded_case, tissue_classes, tissue_dice

MIDDLE = (slice(None), slice(16, 176), slice(32, 192), slice(16, 176))
"""Of (C, 192, 224, 192), what is scored."""


class TissuePaperRecipe(PaperRecipe):
    """S1: a U-Net whose targets are tissue classes.

    Args:
        model: what is trained, or, for D, what is scored.
        labels: the sorted values that classes are made of.
        arguments, options: of `PaperRecipe`.
    """

    def __init__(self, model: nn.Module, *arguments, labels: Sequence[int], **options) -> None:
        super().__init__(model, *arguments, **options)  # type: ignore[arg-type]
        self.values = tuple(labels)
        self.classes = tissue_classes(labels).to(options["device"])

    @property
    def shown(self) -> Sequence[int]:
        return range(len(TISSUES))

    def seen(self, g: torch.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        images, channels = self.sample(g)
        return images, images, self.classes[channels.long()]


class DenoisePaperRecipe(TissuePaperRecipe):
    """D: from the hard classes that S1 finds in degraded images to the true ones.

    Args:
        model: the denoiser.
        arguments: of `PaperRecipe`; the priors are already as bad as they are to be (`parts.worse`).
        s1: a trained network of tissue classes.
        labelled: labelled images that are degraded in place of drawn ones.
        degradation: how.
        options: of `TissuePaperRecipe`.
    """

    def __init__(
        self,
        model: nn.Module,
        *arguments,
        s1: UNet3d,
        labelled: Sequence[Case] = (),
        degradation: DegradationPriors | None = None,
        **options,
    ) -> None:
        super().__init__(model, *arguments, **options)
        self.s1 = s1.to(options["device"]).eval()
        self.device = torch.device(options["device"])
        self.labelled, self.degradation = labelled, degradation or DegradationPriors()

    def degraded(self, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Bad images (B, 1, X, Y, Z) in [0, 1] and their (B, X, Y, Z) channels."""
        if not self.labelled:
            return self.sample(generator)
        made = []
        for _ in range(self.batch):
            case = self.labelled[int(torch.randint(len(self.labelled), (1,), generator=generator))]
            image, channels = degraded_case(case, self.degradation, generator, self.device, 1.0)
            made.append(self._cropped(image, channels, generator))
        return torch.stack([image for image, _ in made]), torch.stack([channels for _, channels in made])

    def _cropped(self, image: torch.Tensor, channels: torch.Tensor, generator: torch.Generator):
        where = []
        for n in channels.shape:
            low = int(torch.randint(n - self.crop + 1, (1,), generator=generator))
            where.append(slice(low, low + self.crop))
        return image[(slice(None), *where)], channels[tuple(where)]

    def seen(self, g: torch.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        images, channels = self.degraded(g)
        with torch.no_grad():
            return images, one_hot(self.s1(images)), self.classes[channels.long()]

    def loss(self, step: int) -> tuple[torch.Tensor, dict[str, float]]:
        _, before, truth = self.seen(step_generator(self.seed + 3, step))
        loss = soft_dice_loss(self.found(before), truth)
        return loss, {"soft_dice": 1.0 - float(loss.detach()), "s1_dice": tissue_dice(before.argmax(1), truth)}


class GuidedPaperRecipe(PaperRecipe):
    """S2: image and tissue classes made wrong -> all labels.

    The paper hands on soft maps; the published networks hard ones, and so does `networks.robust`: the wrong maps are
    made hard by taking the most probable class.

    Args:
        model: a U-Net with an input channel for the image and one for each class.
        arguments, options: of `PaperRecipe`.
        errors: of the true maps.
    """

    def __init__(self, model: UNet3d, *arguments, errors: TissueErrorPriors | None = None, **options) -> None:
        super().__init__(model, *arguments, **options)
        self.classes = tissue_classes(model.labels).to(options["device"])
        self.errors = errors or TissueErrorPriors()

    def seen(self, g: torch.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        images, channels = self.sample(g)
        count, true = len(TISSUES), self.classes[channels.long()]
        maps = [with_errors(one, draw_errors(self.errors, count, g), count).argmax(0) for one in true]
        return images, beside(images, as_channels(torch.stack(maps), count)), channels


@torch.no_grad()
def score_tissues(
    s1: nn.Module,
    denoiser: nn.Module | None,
    labels: Sequence[int],
    cases: Sequence[tuple[torch.Tensor, torch.Tensor]],
    device: torch.device,
) -> float:
    """Mean Dice of tissue classes in the middle 160^3 voxels: S1's, or those that D makes of them."""
    classes, scores = tissue_classes(labels), []
    for image, channels in cases:
        found = s1.eval()(image[MIDDLE][None].float().to(device))
        if denoiser is not None:
            found = denoiser.eval()(one_hot(found))
        scores.append(tissue_dice(found[0].argmax(0).cpu(), classes[channels[MIDDLE[1:]].long()]))
    return sum(scores) / len(scores) if scores else float("nan")


@torch.no_grad()
def score_hierarchy(model: Hierarchy, cases: Sequence[Case], device: torch.device) -> Scores:
    """Dice of all labels in the middle 160^3 voxels, without flips or post-processing."""
    scores = []
    for case in cases:
        found = model.eval()(case.image[MIDDLE[1:]].float()[None, None].to(device))[0].argmax(0).cpu()
        scores.append(dice(found, case.channels[MIDDLE[1:]], model.labels))
    return gathered(scores)
