"""The fast recipe: train the locator on whole heads at 2 mm, then the refiner at 1 mm on the locator's mistakes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from napari_synthseg.devices import bfloat16_where_quick, to_memory
from napari_synthseg.generator.brains import Grid, Sample, apply, target
from napari_synthseg.generator.labelmap import LabelMap
from napari_synthseg.generator.priors import Priors, milder
from napari_synthseg.generator.record import Record, draw
from napari_synthseg.networks.locate_refine import LocateRefine, log_prior
from napari_synthseg.networks.subvoxel import SubvoxelUNet, subvoxel
from napari_synthseg.training.engine.distributed import team
from napari_synthseg.training.engine.loop import Objective, Validation
from napari_synthseg.training.engine.losses import dice_and_cross_entropy
from napari_synthseg.training.engine.pictures import labelled_picture

POSITION_HEADS = 48
"""Heads drawn to set the locator's positional term before training."""


def step_generator(seed: int, step: int) -> torch.Generator:
    """The randomness of one step: a function of the seed and the step, so that a resumed run repeats no step."""
    return torch.Generator().manual_seed((seed * 1_000_003 + step) % (2**62))


def percentile_limits(image: torch.Tensor, low: float = 0.01, high: float = 0.99) -> tuple[float, float]:
    """Percentiles of an image from every 13th voxel: what prediction rescales by (section 3.3)."""
    some = image.reshape(-1)[::13].float()
    a, b = torch.quantile(some, torch.tensor([low, high], device=some.device)).tolist()
    return a, max(b, a + 1e-6)


def rescaled(image: torch.Tensor, limits: tuple[float, float]) -> torch.Tensor:
    """The image with its limits at 0 and 1, clipped."""
    return ((image - limits[0]) / (limits[1] - limits[0])).clamp_(0, 1)


def class_weights(
    maps: Sequence[LabelMap], labels: Sequence[int], power: float, groups: Sequence[int] = (), classes: int = 0
) -> torch.Tensor:
    """Weights of the cross-entropy, frequency ** -power in a head's field of view, 1 for the background.

    Args:
        maps: where labels are counted.
        labels: the network's, sorted.
        power: see above.
        groups: (K,) class of each label, where classes are predicted.
        classes: how many there are then.

    Returns:
        (K,) float32, or (classes,).
    """
    k = classes or len(labels)
    channel = {v: groups[i] if groups else i for i, v in enumerate(labels)}
    count = torch.zeros(k, dtype=torch.float64)
    for m in maps:
        lut = torch.tensor([channel.get(t, 0) for t in m.targets])
        count += torch.bincount(lut[m.index.reshape(-1).long()], minlength=k)[:k]
    share = (count / count.sum()).clamp(min=1e-6)
    weights = share**-power
    return (weights / weights[0]).float()


class FastRecipe(Objective):
    """What both stages share: label maps, priors, network, validation."""

    shared = True

    def __init__(
        self,
        model: LocateRefine,
        maps: Sequence[LabelMap],
        priors: Priors,
        *,
        seed: int,
        batch: int,
        device: torch.device | str,
        validation: Validation,
        weight_power: float = 0.25,
        curriculum: tuple[float, int] = (1.0, 1),
    ) -> None:
        self.model = model.to(device).to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self.maps = [m.to(device) for m in maps]
        self.priors, self.seed, self.batch = priors, seed, batch
        self.device = torch.device(device)
        self.curriculum = curriculum
        self.validation = validation
        self.weights = class_weights(maps, model.labels, weight_power).to(device)

    def strength(self, step: int) -> float:
        """How much of the priors' ranges a step uses: the curriculum rises linearly to 1."""
        start, steps = self.curriculum
        return min(1.0, start + (1.0 - start) * step / steps)

    def drawn(self, generator: torch.Generator, strength: float = 1.0) -> tuple[Record, LabelMap]:
        """What makes a random head."""
        label_map = self.maps[int(torch.randint(len(self.maps), (1,), generator=generator))]
        return draw(milder(self.priors, strength), label_map, generator), label_map

    def made(self, record: Record, label_map: LabelMap) -> tuple[Record, LabelMap, Sample]:
        """A head at 2 mm on the locator's field of view."""
        grid = Grid.centred(self.model.head_shape, self.model.head_spacing)
        return record, label_map, apply(record, label_map, grid)

    def head(self, generator: torch.Generator, strength: float = 1.0) -> tuple[Record, LabelMap, Sample]:
        """A random head at 2 mm on the locator's field of view."""
        return self.made(*self.drawn(generator, strength))

    def channels(self, record: Record, label_map: LabelMap, sample: Sample) -> torch.Tensor:
        """(X, Y, Z) channels of the network's labels."""
        return target(record, label_map, sample.labels, self.model.labels)

    def autocast(self) -> torch.autocast:
        return bfloat16_where_quick(self.device)


class LocateRecipe(FastRecipe):
    """Stage 1: whole heads at 2 mm."""

    @property
    def net(self) -> SubvoxelUNet:
        """The network that is trained."""
        return self.model.locator

    @property
    def trained(self) -> nn.Module:  # type: ignore[override]
        return self.net

    def seen(self, image: torch.Tensor, channels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """What the network sees of (B, 1, X, Y, Z) images with (B, X, Y, Z) channels of labels: the images."""
        return image

    def wanted(self, channels: torch.Tensor) -> torch.Tensor:
        """What the network is to find, given the channels of labels: these."""
        return channels

    @property
    def shown(self) -> Sequence[int]:
        """The label that each class stands for."""
        return self.model.labels

    def picture(self, step: int) -> dict[str, np.ndarray]:
        g = step_generator(self.seed, step)
        record, label_map, sample = self.head(g, self.strength(step))
        truth = self.channels(record, label_map, sample)
        image = rescaled(sample.image, percentile_limits(sample.image))
        with self.autocast():
            found = self.net(to_memory(self.seen(image[None, None], truth[None], g)))
        return labelled_picture(image, self.wanted(truth), found[0].argmax(0), self.shown)

    @torch.no_grad()
    def set_position(self) -> None:
        """Start the positional term from where labels lie on average, in place of zero."""
        k, total = self.net.n_labels, 0
        position = self.net.position
        assert position is not None
        count = torch.zeros(k, *position.shape[2:], device=self.device)
        for i in range(POSITION_HEADS):
            record, label_map, sample = self.head(step_generator(self.seed + 1, i))
            channels = self.wanted(self.channels(record, label_map, sample))
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
        images, targets = [], []
        drawn = [self.drawn(g, self.strength(step)) for _ in range(self.batch * team().size)]
        for record, label_map, sample in (self.made(*one) for one in team().mine(drawn)):
            images.append(rescaled(sample.image, percentile_limits(sample.image)))
            targets.append(self.channels(record, label_map, sample))
        position = int(torch.randint(8, (1,), generator=g))
        truth = torch.stack(targets)
        image = to_memory(self.seen(torch.stack(images)[:, None], truth, g))
        with self.autocast():
            logits = self.net.logits_at(self.net.trunk(image), position)
        entropy, dice = dice_and_cross_entropy(logits, subvoxel(self.wanted(truth), position), self.weights)
        return entropy + dice, {"cross_entropy": float(entropy.detach()), "soft_dice": 1.0 - float(dice.detach())}


@dataclass(frozen=True)
class Crops:
    """Crops of one head at 1 mm.

    Attributes:
        image: (B, 1, 96, 96, 96) in [0, 1].
        prior: (B, K, 48, 48, 48), the locator's posteriors.
        appearance: (B, K, 2), the same for all.
        targets: (B, 96, 96, 96) channels.
    """

    image: torch.Tensor
    prior: torch.Tensor
    appearance: torch.Tensor
    targets: torch.Tensor


class RefineRecipe(FastRecipe):
    """Stage 2: crops at 1 mm of heads that the locator has just seen; the locator stays as it is."""

    crop = 96
    positions = 1

    @property
    def trained(self) -> nn.Module:  # type: ignore[override]
        return self.model.refiner

    @torch.no_grad()
    def crops(self, g: torch.Generator, strength: float = 1.0) -> Crops:
        """A batch of crops of one head."""
        record, label_map, head = self.head(g, strength)
        limits = percentile_limits(head.image)
        image = to_memory(rescaled(head.image, limits)[None, None])
        with self.autocast():
            posteriors = self.model.locate(image)
        appearance = self.model.appearance(image, posteriors).expand(self.batch, -1, -1)
        channels = self.channels(record, label_map, head)
        inside = channels.nonzero()
        shape, half = self.model.head_shape, self.crop // 4
        images, priors, targets = [], [], []
        if not len(inside):  # a head of background alone: any place will do
            inside = torch.tensor([[n // 2 for n in self.model.head_shape]])
        chosen = [int(torch.randint(len(inside), (1,), generator=g)) for _ in range(self.batch * team().size)]
        for at in (inside[one].tolist() for one in team().mine(chosen)):
            low = [min(max(c - half, 0), n - 2 * half) for c, n in zip(at, shape, strict=True)]
            # Voxel i of the 2 mm grid covers voxels 2i and 2i + 1 of the 1 mm grid.
            origin = tuple((a - 0.5 * (n - 1)) * 2.0 - 0.5 for a, n in zip(low, shape, strict=True))
            grid = Grid((self.crop,) * 3, 1.0, origin)  # type: ignore[arg-type]
            fine = apply(record, label_map, grid, head.limits)
            images.append(rescaled(fine.image, limits))
            targets.append(target(record, label_map, fine.labels, self.model.labels))
            priors.append(posteriors[(0, slice(None), *(slice(a, a + 2 * half) for a in low))])
        return Crops(
            to_memory(torch.stack(images)[:, None]), to_memory(torch.stack(priors)), appearance, torch.stack(targets)
        )

    def picture(self, step: int) -> dict[str, np.ndarray]:
        crops = self.crops(step_generator(self.seed + 7, step), self.strength(step))
        with self.autocast():
            found = self.model.refine(crops.image[:1], crops.prior[:1], crops.appearance[:1])
        return labelled_picture(crops.image[0, 0], crops.targets[0], found[0].argmax(0), self.model.labels)

    def loss(self, step: int) -> tuple[torch.Tensor, dict[str, float]]:
        g = step_generator(self.seed + 7, step)
        crops, net = self.crops(g, self.strength(step)), self.model.refiner
        with self.autocast():
            features = net.trunk(crops.image, net.hints(crops.image, crops.prior, crops.appearance))
        start = log_prior(crops.prior)
        entropy, dice = torch.zeros((), device=self.device), torch.zeros((), device=self.device)
        chosen = torch.randperm(8, generator=g)[: self.positions].tolist()
        for position in chosen:
            with self.autocast():
                logits = net.logits_at(features, position)
            logits = logits.float() + net.term(crops.image, start, crops.appearance, position)
            e, d = dice_and_cross_entropy(logits, subvoxel(crops.targets, position), self.weights)
            entropy, dice = entropy + e / self.positions, dice + d / self.positions
        figures = {"cross_entropy": float(entropy.detach()), "soft_dice": 1.0 - float(dice.detach())}
        return entropy + dice, {**figures, "evidence": float(net.evidence.detach())}
