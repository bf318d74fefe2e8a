"""Objectives of the fast network: whole heads at 2 mm, then crops at 1 mm of heads that the locator has just seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass

import numpy as np
import torch
from torch import nn

from napari_synthseg.anatomy import TISSUES
from napari_synthseg.devices import bfloat16_where_quick, to_memory
from napari_synthseg.generator.head import Grid
from napari_synthseg.networks.appearance import with_evidence
from napari_synthseg.networks.locate_refine import LocateRefine, log_prior
from napari_synthseg.networks.subvoxel import SubvoxelUNet, subvoxel
from napari_synthseg.training.data.synthetic import (
    Heads,
    LocatedHead,
    class_weights,
    locate,
    located_heads,
    random_index,
    rescaled,
    step_generator,
)
from napari_synthseg.training.engine.distributed import process_group
from napari_synthseg.training.engine.loop import Objective, labelled_picture
from napari_synthseg.training.engine.losses import dice_and_cross_entropy, figures_of

POSITION_HEADS = 48
"""Heads drawn to set the locator's positional term before training."""

Inputs = Callable[[torch.Tensor, torch.Tensor, torch.Generator], torch.Tensor]
"""(B, 1, X, Y, Z) images, (B, X, Y, Z) channels of labels and randomness -> the network's input."""


@dataclass(eq=False, repr=False)
class HeadsObjective(Objective):
    """Base of objectives on synthetic heads: weighted cross-entropy and Dice."""

    model: LocateRefine
    heads: Heads
    _: KW_ONLY
    shared: bool = True
    classes: torch.Tensor | None = None
    """(K,) uint8 tissue class of each label, if these (`anatomy.TISSUES`) are the targets in place of labels."""
    weight_power: float = 0.25
    """Of the cross-entropy's weights, see `class_weights`."""
    channels_last = True

    def __post_init__(self) -> None:
        super().__post_init__()
        groups: list[int] = [] if self.classes is None else self.classes.tolist()
        count = len(TISSUES) if groups else 0
        self.shown: Sequence[int] = range(count) if count else self.model.labels
        weights = class_weights(self.heads.maps, self.model.labels, self.weight_power, groups, count)
        self.weights = weights.to(self.device)
        if self.classes is not None:
            self.classes = self.classes.to(self.device)

    def wanted(self, channels: torch.Tensor) -> torch.Tensor:
        """Return the network's targets, given the channels of labels."""
        return channels if self.classes is None else self.classes[channels.long()]


@dataclass(eq=False, repr=False)
class Locate(HeadsObjective):
    """Whole heads at 2 mm: labels, or classes of labels, at one random sub-voxel position a step."""

    _: KW_ONLY
    net: SubvoxelUNet | None = None
    """The part that is trained; by default the locator."""
    inputs: Inputs = lambda images, channels, generator: images
    """Returns the network's input; by default the images."""

    def part(self) -> nn.Module:
        return self.net or self.model.locator

    def picture(self, step: int) -> dict[str, np.ndarray]:
        g = step_generator(self.seed, step)
        head = self.heads.head(g, self.heads.strength(step))
        truth, image = head.channels(), rescaled(head.image)
        with bfloat16_where_quick(self.device):
            found = self.trained(to_memory(self.inputs(image[None, None], truth[None], g)))
        return labelled_picture(image, self.wanted(truth), found[0].argmax(0), self.shown)

    @torch.no_grad()
    def set_position(self) -> None:
        """Start the positional term from the mean positions of labels, in place of zero."""
        k, total, position = self.trained.n_labels, 0, self.trained.position
        x, y, z = position.shape[2:]
        count = torch.zeros(k, x, y, z, device=self.device)
        for i in range(POSITION_HEADS):
            channels = self.wanted(self.heads.head(step_generator(self.seed + 1, i)).channels())
            cells = channels.reshape(x, 8, y, 8, z, 8).permute(0, 2, 4, 1, 3, 5).reshape(x, y, z, 512).long()
            ones = torch.ones_like(cells, dtype=torch.float32)
            count += torch.zeros(x, y, z, k, device=self.device).scatter_add_(3, cells, ones).permute(3, 0, 1, 2)
            total += 512
        position.copy_(torch.log((count + 0.5) / (total + 0.5 * k))[None])

    def loss(self, step: int) -> tuple[torch.Tensor, dict[str, float]]:
        g = step_generator(self.seed, step)
        heads = self.heads.batch(g, self.batch, self.heads.strength(step))
        truth = torch.stack([head.channels() for head in heads])
        images = torch.stack([rescaled(head.image) for head in heads])[:, None]
        position = random_index(8, g)
        image = to_memory(self.inputs(images, truth, g))
        with bfloat16_where_quick(self.device):
            logits = self.trained.logits_at(self.trained.trunk(image), position)
        entropy, dice = dice_and_cross_entropy(logits, subvoxel(self.wanted(truth), position), self.weights)
        return entropy + dice, figures_of(entropy, dice)


@dataclass(frozen=True)
class Crops:
    """Crops at 1 mm."""

    image: torch.Tensor
    """(B, 1, 96, 96, 96) in [0, 1]."""
    prior: torch.Tensor
    """(B, K, 48, 48, 48), the locator's posteriors."""
    appearance: torch.Tensor
    """(B, K, 2), that of each crop's head."""
    targets: torch.Tensor
    """(B, 96, 96, 96) channels."""


@dataclass(eq=False, repr=False)
class Refine(HeadsObjective):
    """Crops at 1 mm of heads that the locator has just seen; the locator stays as it is."""

    _: KW_ONLY
    held: int = 0
    """Located heads that are held, from which every crop of a step takes another; 0: all crops of a step are of one
    new head."""
    head_steps: int = 2
    """Steps from one new held head to the next."""
    crop = 96

    def __post_init__(self) -> None:
        super().__post_init__()
        self.pool = None
        if self.held:
            row = self.seed + 13, self.held, self.head_steps, self.device
            self.pool = located_heads(self.model, self.heads, *row)

    def part(self) -> nn.Module:
        return self.model.refiner

    def located(self, g: torch.Generator, step: int) -> list[LocatedHead]:
        """Return the heads that a step may take crops of."""
        if self.pool is not None:
            return self.pool.at(step)
        return [locate(self.model, self.heads.head(g, self.heads.strength(step)), self.device)]

    @torch.no_grad()
    def crops(self, g: torch.Generator, step: int) -> Crops:
        """Take a batch of crops of heads that the locator has seen."""
        located, group, half = self.located(g, step), process_group(), self.crop // 2
        chosen = []
        for _ in range(self.batch * group.size):
            one = located[random_index(len(located), g) if len(located) > 1 else 0]
            chosen.append((one, random_index(len(one.inside), g)))
        images, priors, targets, appearances = [], [], [], []
        for one, number in group.shard(chosen):
            low, grid = crop_around(one.inside[number].tolist(), self.crop)
            fine = one.head.part(grid)
            images.append(rescaled(fine.image, one.limits))
            targets.append(one.head.channels(fine))
            x, y, z = (slice(a, a + half) for a in low)
            priors.append(one.posteriors[0, :, x, y, z].float())
            appearances.append(one.appearance)
        image, prior = to_memory(torch.stack(images)[:, None]), to_memory(torch.stack(priors))
        return Crops(image, prior, torch.cat(appearances), torch.stack(targets))

    def logits(self, crops: Crops, position: int) -> torch.Tensor:
        """Return the (B, K, 48, 48, 48) logits of a sub-voxel position."""
        net, image = self.model.refiner, subvoxel(crops.image, position)
        with bfloat16_where_quick(self.device):
            features = net.trunk(crops.image, net.hints(crops.image, crops.prior, crops.appearance))
            logits = net.logits_at(features, position)
        return logits.float() + with_evidence(log_prior(crops.prior), image, crops.appearance, net.evidence)

    def picture(self, step: int) -> dict[str, np.ndarray]:
        crops = self.crops(step_generator(self.seed + 7, step), step)
        image, appearance = crops.image[:1], crops.appearance[:1]
        with torch.no_grad():
            with bfloat16_where_quick(self.device):
                logits = self.model.refine_averaged(image, crops.prior[:1], appearance, None)
            found = self.model.posteriors(logits, image, appearance)
        return labelled_picture(crops.image[0, 0], crops.targets[0], found.argmax(0), self.model.labels)

    def loss(self, step: int) -> tuple[torch.Tensor, dict[str, float]]:
        g = step_generator(self.seed + 7, step)
        crops = self.crops(g, step)
        position = random_index(8, g)
        logits, targets = self.logits(crops, position), subvoxel(crops.targets, position)
        entropy, dice = dice_and_cross_entropy(logits, targets, self.weights)
        evidence = float(self.model.refiner.evidence.detach())
        return entropy + dice, {**figures_of(entropy, dice), "evidence": evidence}


def crop_around(middle: Sequence[int], side: int) -> tuple[list[int], Grid]:
    """Place a crop of 1 mm around a voxel of the 2 mm grid, as far as the field of view allows.

    Returns:
        The crop's first voxel on the 2 mm grid, and its own grid.
    """
    half, shape = side // 4, LocateRefine.head_shape
    low = [min(max(c - half, 0), n - 2 * half) for c, n in zip(middle, shape, strict=True)]
    # Voxel i of the 2 mm grid covers voxels 2i and 2i + 1 of the 1 mm grid.
    origin = tuple((a - 0.5 * (n - 1)) * 2.0 - 0.5 for a, n in zip(low, shape, strict=True))
    return low, Grid((side,) * 3, 1.0, origin)  # type: ignore[arg-type]
