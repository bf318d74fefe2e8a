"""Objectives of the fast network: whole heads at 2 mm, then crops at 1 mm of heads that the locator has just seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from napari_synthseg.devices import bfloat16_where_quick, to_memory
from napari_synthseg.generator.head import Grid
from napari_synthseg.networks.locate_refine import LocateRefine, log_prior
from napari_synthseg.networks.subvoxel import SubvoxelUNet, subvoxel
from napari_synthseg.training.data.located import Located, LocatedHeads, PriorErrors, locate
from napari_synthseg.training.data.synthetic import Heads, class_weights, rescaled, step_generator
from napari_synthseg.training.engine.distributed import process_group
from napari_synthseg.training.engine.loop import Objective, Validation, labelled_picture, to_device
from napari_synthseg.training.engine.losses import dice_and_cross_entropy

POSITION_HEADS = 48
"""Heads drawn to set the locator's positional term before training."""

Inputs = Callable[[torch.Tensor, torch.Tensor, torch.Generator], torch.Tensor]
"""(B, 1, X, Y, Z) images, (B, X, Y, Z) channels of labels and randomness -> what the network sees."""


def figures_of(entropy: torch.Tensor, dice: torch.Tensor) -> dict[str, float]:
    """Return both losses for the log."""
    return {"cross_entropy": float(entropy.detach()), "soft_dice": 1.0 - float(dice.detach())}


class Locate(Objective):
    """Whole heads at 2 mm: labels, or classes of labels, at one random sub-voxel position a step.

    Args:
        model: the whole network.
        heads: that it learns from.
        seed: of everything random.
        batch: heads a step.
        device: to train on.
        validation: scores the model.
        net: the part that is trained; by default the locator.
        inputs: what the network sees; by default the images.
        classes: (K,) uint8 class of each label, if classes are to be found in place of labels.
        weight_power: of the cross-entropy's weights, see `class_weights`.
    """

    shared = True

    def __init__(
        self,
        model: LocateRefine,
        heads: Heads,
        *,
        seed: int,
        batch: int,
        device: torch.device | str,
        validation: Validation,
        net: SubvoxelUNet | None = None,
        inputs: Inputs = lambda images, channels, generator: images,
        classes: torch.Tensor | None = None,
        weight_power: float = 0.25,
    ) -> None:
        self.model = to_device(model, device)
        self.trained = self.net = net or model.locator
        self.heads, self.seed, self.batch, self.device = heads, seed, batch, torch.device(device)
        self.validation, self.inputs = validation, inputs
        self.classes = None if classes is None else classes.to(device)
        groups, count = ((), 0) if classes is None else (classes.tolist(), self.net.n_labels)
        self.shown: Sequence[int] = range(count) if count else model.labels
        self.weights = class_weights(heads.maps, model.labels, weight_power, groups, count).to(device)

    def wanted(self, channels: torch.Tensor) -> torch.Tensor:
        """Return what the network is to find, given the channels of labels."""
        return channels if self.classes is None else self.classes[channels.long()]

    def picture(self, step: int) -> dict[str, np.ndarray]:
        g = step_generator(self.seed, step)
        head = self.heads.head(g, self.heads.strength(step))
        truth, image = head.channels(), rescaled(head.image)
        with bfloat16_where_quick(self.device):
            found = self.net(to_memory(self.inputs(image[None, None], truth[None], g)))
        return labelled_picture(image, self.wanted(truth), found[0].argmax(0), self.shown)

    @torch.no_grad()
    def set_position(self) -> None:
        """Start the positional term from where labels lie on average, in place of zero."""
        k, total = self.net.n_labels, 0
        position = self.net.position
        assert position is not None
        count = torch.zeros(k, *position.shape[2:], device=self.device)
        for i in range(POSITION_HEADS):
            channels = self.wanted(self.heads.head(step_generator(self.seed + 1, i)).channels())
            x, y, z = position.shape[2:]
            cells = channels.reshape(x, 8, y, 8, z, 8).permute(0, 2, 4, 1, 3, 5).reshape(x, y, z, 512).long()
            count += (
                torch.zeros(x, y, z, k, device=self.device)
                .scatter_add_(3, cells, torch.ones_like(cells, dtype=torch.float32))
                .permute(3, 0, 1, 2)
            )
            total += 512
        position.copy_(torch.log((count + 0.5) / (total + 0.5 * k))[None])

    def loss(self, step: int) -> tuple[torch.Tensor, dict[str, float]]:
        g = step_generator(self.seed, step)
        heads = self.heads.batch(g, self.batch, self.heads.strength(step))
        truth = torch.stack([head.channels() for head in heads])
        images = torch.stack([rescaled(head.image) for head in heads])[:, None]
        position = int(torch.randint(8, (1,), generator=g))
        image = to_memory(self.inputs(images, truth, g))
        with bfloat16_where_quick(self.device):
            logits = self.net.logits_at(self.net.trunk(image), position)
        entropy, dice = dice_and_cross_entropy(logits, subvoxel(self.wanted(truth), position), self.weights)
        return entropy + dice, figures_of(entropy, dice)


@dataclass(frozen=True)
class Crops:
    """Crops at 1 mm.

    Attributes:
        image: (B, 1, 96, 96, 96) in [0, 1].
        prior: (B, K, 48, 48, 48), the locator's posteriors.
        appearance: (B, K, 2), that of each crop's head.
        targets: (B, 96, 96, 96) channels.
    """

    image: torch.Tensor
    prior: torch.Tensor
    appearance: torch.Tensor
    targets: torch.Tensor


class Refine(Objective):
    """Crops at 1 mm of heads that the locator has just seen; the locator stays as it is.

    Args:
        model: the whole network.
        heads: that it learns from.
        seed: of everything random.
        batch: crops a step.
        device: to train on.
        validation: scores the model.
        weight_power: of the cross-entropy's weights, see `class_weights`.
        positions: sub-voxel positions, of eight, that a step looks at.
        held: located heads kept in hand, from which every crop of a step takes another; 0: all crops of a step are of
            one new head.
        head_steps: steps from one new head in hand to the next.
        errors: of the locator's posteriors.
    """

    shared = True
    crop = 96

    def __init__(
        self,
        model: LocateRefine,
        heads: Heads,
        *,
        seed: int,
        batch: int,
        device: torch.device | str,
        validation: Validation,
        weight_power: float = 0.25,
        positions: int = 1,
        held: int = 0,
        head_steps: int = 2,
        errors: PriorErrors | None = None,
    ) -> None:
        self.model = to_device(model, device)
        self.trained = model.refiner
        self.heads, self.seed, self.batch, self.device = heads, seed, batch, torch.device(device)
        self.errors, self.held = errors or PriorErrors(), None
        if held:
            self.held = LocatedHeads(model, heads, seed=seed + 13, size=held, steps=head_steps, device=self.device)
        self.validation, self.positions = validation, positions
        self.weights = class_weights(heads.maps, model.labels, weight_power).to(device)

    def located(self, g: torch.Generator, step: int) -> list[Located]:
        """Return the heads that a step may take crops of."""
        if self.held is not None:
            return self.held.at(step)
        return [locate(self.model, self.heads.head(g, self.heads.strength(step)), self.device)]

    @torch.no_grad()
    def crops(self, g: torch.Generator, step: int) -> Crops:
        """Take a batch of crops of heads that the locator has seen."""
        located, group, half = self.located(g, step), process_group(), self.crop // 2
        chosen = []
        for _ in range(self.batch * group.size):
            one = located[int(torch.randint(len(located), (1,), generator=g)) if len(located) > 1 else 0]
            number = int(torch.randint(len(one.inside), (1,), generator=g))
            chosen.append((one, number, int(torch.randint(2**31, (1,), generator=g)) if self.errors else 0))
        images, priors, targets, appearances = [], [], [], []
        for one, number, seed in group.shard(chosen):
            low, grid = crop_around(one.inside[number].tolist(), self.crop)
            fine = one.head.part(grid)
            images.append(rescaled(fine.image, one.limits))
            targets.append(one.head.channels(fine))
            x, y, z = (slice(a, a + half) for a in low)
            prior = one.posteriors[0, :, x, y, z].float()
            priors.append(self.errors.apply(prior, torch.Generator().manual_seed(seed)) if self.errors else prior)
            appearances.append(one.appearance)
        return Crops(
            to_memory(torch.stack(images)[:, None]),
            to_memory(torch.stack(priors)),
            torch.cat(appearances),
            torch.stack(targets),
        )

    def logits(self, crops: Crops, positions: Sequence[int]) -> list[torch.Tensor]:
        """Return the (B, K, 48, 48, 48) logits of sub-voxel positions."""
        net, found = self.model.refiner, []
        start = log_prior(crops.prior)
        with bfloat16_where_quick(self.device):
            features = net.trunk(crops.image, net.hints(crops.image, crops.prior, crops.appearance))
        for position in positions:
            with bfloat16_where_quick(self.device):
                logits = net.logits_at(features, position)
            found.append(logits.float() + net.term(crops.image, start, crops.appearance, position))
        return found

    def picture(self, step: int) -> dict[str, np.ndarray]:
        crops = self.crops(step_generator(self.seed + 7, step), step)
        with bfloat16_where_quick(self.device):
            found = self.model.refine(crops.image[:1], crops.prior[:1], crops.appearance[:1])
        return labelled_picture(crops.image[0, 0], crops.targets[0], found[0].argmax(0), self.model.labels)

    def loss(self, step: int) -> tuple[torch.Tensor, dict[str, float]]:
        g = step_generator(self.seed + 7, step)
        crops = self.crops(g, step)
        entropy, dice = torch.zeros((), device=self.device), torch.zeros((), device=self.device)
        positions = torch.randperm(8, generator=g)[: self.positions].tolist()
        for position, logits in zip(positions, self.logits(crops, positions), strict=True):
            e, d = dice_and_cross_entropy(logits, subvoxel(crops.targets, position), self.weights)
            entropy, dice = entropy + e / self.positions, dice + d / self.positions
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
