"""Objectives of SynthSeg+'s networks: tissue classes, the denoiser D, and tissue maps made wrong for S2 to see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field

import numpy as np
import torch
from torch import nn

from napari_synthseg import anatomy
from napari_synthseg.anatomy import TISSUES
from napari_synthseg.devices import bfloat16_where_quick, to_memory
from napari_synthseg.errors import InputError
from napari_synthseg.generator.degradation import TISSUE_ERRORS, tissue_errors
from napari_synthseg.networks.hierarchy import RobustLocateRefine, as_channels, beside, one_hot, with_tissues
from napari_synthseg.networks.locate_refine import LocateRefine
from napari_synthseg.training.data.cases import MIDDLE, dice_by_channel
from napari_synthseg.training.data.synthetic import Batch, Sampler, rescaled, step_generator
from napari_synthseg.training.engine.distributed import process_group
from napari_synthseg.training.engine.events import each
from napari_synthseg.training.engine.loop import labelled_picture
from napari_synthseg.training.engine.losses import dice_and_cross_entropy, figures_of
from napari_synthseg.training.objectives.crops import CropView
from napari_synthseg.training.objectives.locate_refine import HeadsObjective, Inputs

MOMENTUM = 0.1
"""Momentum of the denoiser's batch norms: short runs cannot wait for the reference's hundreds of steps."""


def tissue_classes(labels: Sequence[int]) -> torch.Tensor:
    """Return the (K,) uint8 tissue class (`anatomy.TISSUES`) of each label; an `InputError` if one has none."""
    for value in labels:
        if not anatomy.known(value):
            raise InputError(
                f"The label {value} has no tissue class: a robust network needs label maps of the brain with "
                "FreeSurfer's values."
            )
    return torch.tensor([TISSUES.index(anatomy.structure(v).tissue) for v in labels], dtype=torch.uint8)


def tissue_dice(found: torch.Tensor, true: torch.Tensor) -> float:
    """Return the mean Dice of the tissue classes that are there, background left out; class numbers of one shape."""
    scores = [score for c, score in dice_by_channel(found, true, len(TISSUES)).items() if c]
    return sum(scores) / len(scores) if scores else 0.0


@dataclass(eq=False, repr=False)
class Denoise(HeadsObjective):
    """D at 2 mm: from S1's answers to degraded images to the true tissue classes (section 2.3).

    The synthetic heads are already as bad as they are to be (`data.degraded.worse`).
    """

    model: RobustLocateRefine
    _: KW_ONLY
    scans: Sampler | None = None
    """Draws degraded labelled scans, in place of synthetic heads."""
    shared: bool = False
    classes: torch.Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.classes = tissue_classes(self.model.labels)
        super().__post_init__()
        for module in self.trained.modules():
            if isinstance(module, nn.BatchNorm3d):
                module.momentum = MOMENTUM

    def part(self) -> nn.Module:
        return self.model.locator.denoiser

    def degraded(self, generator: torch.Generator) -> Batch:
        """Draw bad images (B, 1, X, Y, Z) at 2 mm in [0, 1], and their (B, X, Y, Z) tissue classes."""
        if self.scans is not None:
            images, channels = self.scans(generator)
        else:
            heads = [self.heads.head(generator) for _ in range(self.batch)]
            images = torch.stack([head.image for head in heads])[:, None]
            channels = torch.stack([head.channels() for head in heads])
        return to_memory(torch.stack([rescaled(image) for image in images])), self.wanted(channels)

    def picture(self, step: int) -> dict[str, np.ndarray]:
        image, truth = self.degraded(step_generator(self.seed + 3, step))
        with bfloat16_where_quick(self.device):
            found = self.model.locator.tissues(image[:1])[1]
        return labelled_picture(image[0, 0], truth[0], found[0].argmax(0), self.shown)

    def loss(self, step: int) -> tuple[torch.Tensor, dict[str, float]]:
        image, truth = self.degraded(step_generator(self.seed + 3, step))
        net = self.model.locator
        net.denoiser.train()
        with bfloat16_where_quick(self.device):
            with torch.no_grad():
                before = net.s1(image).float().softmax(1)
            logits = net.denoiser.logits(to_memory(before))
        entropy, loss = dice_and_cross_entropy(logits, truth, self.weights)
        return entropy + loss, {**figures_of(entropy, loss), "s1_dice": tissue_dice(before.argmax(1), truth)}


def seen_with_tissues(model: RobustLocateRefine, device: torch.device | str, predicted: float) -> Inputs:
    """Return the input of S2's locator: the image and tissue maps, true ones made wrong.

    A fraction `predicted` of the steps sees the tissues that S1 and D find (ours; the paper: 0).
    """
    classes = tissue_classes(model.labels).to(device)

    def inputs(image: torch.Tensor, channels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        group = process_group()
        draws = group.shard([TISSUE_ERRORS.sample(seed=generator) for _ in range(len(channels) * group.size)])
        if torch.rand(1, generator=generator).item() < predicted:
            with torch.no_grad(), bfloat16_where_quick(torch.device(device)):
                return with_tissues(image, model.locator.tissues(to_memory(image))[1])
        true = classes[channels.long()]
        maps = [tissue_errors(one, e, model.head_spacing) for one, e in zip(true, draws, strict=True)]
        return with_tissues(image, torch.stack(maps))

    return inputs


def tissues_of(labels: Sequence[int], device: torch.device | str) -> CropView:
    """Return the view of the paper's S1: images, and tissue classes as targets."""
    classes = tissue_classes(labels).to(device)
    return lambda images, channels, generator: (images, classes[channels.long()])


def tissues_found(s1: nn.Module, labels: Sequence[int], device: torch.device | str) -> CropView:
    """Return the view of the paper's D: the hard classes that S1 finds, and the true ones as targets."""
    classes = tissue_classes(labels).to(device)
    s1.to(device).eval()

    def view(images: torch.Tensor, channels: torch.Tensor, generator: torch.Generator) -> Batch:
        with torch.no_grad():
            return one_hot(s1.eval()(images)), classes[channels.long()]

    return view


def beside_tissues(labels: Sequence[int], device: torch.device | str) -> CropView:
    """Return the view of the paper's S2: the image beside tissue classes made wrong, and labels as targets.

    The paper hands on soft maps; the published networks hard ones, and so does `networks.hierarchy`: the wrong maps
    are made hard by taking the most probable class.
    """
    classes = tissue_classes(labels).to(device)

    def view(images: torch.Tensor, channels: torch.Tensor, generator: torch.Generator) -> Batch:
        true = classes[channels.long()]
        maps = [tissue_errors(one, TISSUE_ERRORS.sample(seed=generator)).argmax(0) for one in true]
        return beside(images, as_channels(torch.stack(maps), len(TISSUES))), channels

    return view


@torch.no_grad()
def warm_start(model: RobustLocateRefine, source: LocateRefine) -> None:
    """Begin with the weights of a plain fast network of the same labels and sizes, as far as they fit.

    S2 is that network, blind to tissues at first. S1 has its trunk, if the sizes are the same, and for each class the
    mean of the weights of its labels. D is left as it is.
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
    head = torch.einsum("ck,pkf->pcf", mean, state["head.weight"].reshape(8, k, -1))
    grouped = {
        "head.weight": head.reshape(8 * count, -1, 1, 1, 1),
        "head.bias": torch.einsum("ck,pk->pc", mean, state["head.bias"].reshape(8, k)).reshape(-1),
        # A class without labels is unlikely, but not impossible.
        "position": torch.einsum("ck,bkxyz->bcxyz", member, state["position"].softmax(1)).clamp(min=1e-6).log(),
    }
    s1.load_state_dict({**state, **grouped})


@torch.no_grad()
def score_fast_tissues(
    model: RobustLocateRefine, cases: Sequence[tuple[torch.Tensor, torch.Tensor]], device: torch.device
) -> tuple[float, float]:
    """Return the mean Dice of S1's and of D's tissue classes at 2 mm on degraded images (`data.degraded`)."""
    classes, before, after = tissue_classes(model.labels).long(), [], []
    for image, channels in each("validating", cases):
        true = classes[channels.long()]
        with bfloat16_where_quick(device):
            s1, denoised = model.locator.tissues(to_memory(rescaled(image)[None].to(device)))
        before.append(tissue_dice(s1[0].argmax(0).cpu(), true))
        after.append(tissue_dice(denoised[0].argmax(0).cpu(), true))
    n = len(cases)
    return (sum(before) / n, sum(after) / n) if n else (float("nan"), float("nan"))


@torch.no_grad()
def score_tissues(
    s1: nn.Module,
    denoiser: nn.Module | None,
    labels: Sequence[int],
    cases: Sequence[tuple[torch.Tensor, torch.Tensor]],
    device: torch.device,
) -> float:
    """Return the mean Dice of tissue classes in the middle 160^3 voxels: S1's, or those that D makes of them."""
    classes, scores = tissue_classes(labels), []
    for image, channels in each("validating", cases):
        found = s1.eval()(image[(slice(None), *MIDDLE)][None].float().to(device))
        if denoiser is not None:
            found = denoiser.eval()(one_hot(found))
        scores.append(tissue_dice(found[0].argmax(0).cpu(), classes[channels[MIDDLE].long()]))
    return sum(scores) / len(scores) if scores else float("nan")
