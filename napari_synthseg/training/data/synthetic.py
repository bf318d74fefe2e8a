"""Synthetic training samples: whole heads at 2 mm, and crops, drawn from label maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass

import torch

from napari_synthseg import anatomy
from napari_synthseg.generator.head import Grid, HeadState, crop_grid
from napari_synthseg.generator.labelmap import LabelMap
from napari_synthseg.generator.model import GenerativeModel, Record
from napari_synthseg.generator.sample import apply, apply_batch
from napari_synthseg.networks.locate_refine import LocateRefine
from napari_synthseg.training.engine.distributed import process_group

Batch = tuple[torch.Tensor, torch.Tensor]
"""Images (B, 1, X, Y, Z) in [0, 1], and (B, X, Y, Z) channels of labels."""


def step_generator(seed: int, step: int) -> torch.Generator:
    """Return the randomness of one step: a function of the seed and the step, so that a resumed run repeats no step."""
    return torch.Generator().manual_seed((seed * 1_000_003 + step) % (2**62))


def random_index(count: int, generator: torch.Generator) -> int:
    return int(torch.randint(count, (1,), generator=generator))


def percentile_limits(image: torch.Tensor, low: float = 0.01, high: float = 0.99) -> tuple[float, float]:
    """Return percentiles of every 13th voxel of an image: prediction rescales by them too (section 3.3)."""
    some = image.reshape(-1)[::13].float()
    a, b = torch.quantile(some, torch.tensor([low, high], device=some.device)).tolist()
    return a, max(b, a + 1e-6)


def rescaled(image: torch.Tensor, limits: tuple[float, float] | None = None) -> torch.Tensor:
    """Rescale an image so that its limits (by default its percentiles) are at 0 and 1, and clip it."""
    low, high = limits or percentile_limits(image)
    return ((image - low) / (high - low)).clamp_(0, 1)


def class_weights(
    maps: Sequence[LabelMap], labels: Sequence[int], power: float, classes: Sequence[int] = (), count: int = 0
) -> torch.Tensor:
    """Return weights of the cross-entropy, frequency ** -power in a head's field of view, 1 for the background.

    Args:
        maps: where labels are counted.
        labels: the network's, sorted.
        power: see above.
        classes: (K,) class of each label, if classes are predicted.
        count: number of classes.

    Returns:
        (K,) float32, or (count,).
    """
    k = count or len(labels)
    channel = {v: classes[i] if classes else i for i, v in enumerate(labels)}
    voxels = torch.zeros(k, dtype=torch.float64)
    for m in maps:
        lut = torch.tensor([channel.get(t, 0) for t in m.targets])
        voxels += torch.bincount(lut[m.index.reshape(-1).long()], minlength=k)[:k]
    return weights_of(voxels, power)


def weights_of(voxels: torch.Tensor, power: float) -> torch.Tensor:
    """Return (K,) frequencies ** -power, of the numbers of voxels of classes, relative to the background."""
    weights = (voxels / voxels.sum()).clamp(min=1e-6) ** -power
    return (weights / weights[0]).float()


@dataclass(frozen=True)
class Head:
    """A synthetic head at 2 mm."""

    record: Record
    label_map: LabelMap
    labels: tuple[int, ...]
    """The sorted values of the network's channels."""
    sample: HeadState
    """Image and labels in the locator's field of view."""

    @property
    def image(self) -> torch.Tensor:
        """(X, Y, Z), as it was drawn."""
        return self.sample.image

    def channels(self, sample: HeadState | None = None) -> torch.Tensor:
        """Return the (X, Y, Z) channels of the network's labels, of this head or of a part of it."""
        return (self.sample if sample is None else sample).target(self.labels)

    def part(self, grid: Grid) -> HeadState:
        """Return the same head on another grid."""
        return apply(self.record, self.label_map, grid, self.sample.limits)


@dataclass
class Heads:
    """Random heads at 2 mm in the locator's field of view."""

    maps: Sequence[LabelMap]
    priors: GenerativeModel
    labels: Sequence[int]
    """The sorted values of the network's channels."""
    _: KW_ONLY
    device: torch.device | str
    curriculum: tuple[float, int] = (1.0, 1)
    """Initial fraction of the priors' ranges, and the step from which on they are complete."""
    low_quality: tuple[float, GenerativeModel] | None = None
    """Probability of a head from other priors, and these priors."""

    shape, spacing = LocateRefine.head_shape, LocateRefine.head_spacing

    def __post_init__(self) -> None:
        """Move the maps to the device."""
        self.maps, self.labels = [m.to(self.device) for m in self.maps], tuple(self.labels)

    def strength(self, step: int) -> float:
        """Return the fraction of the priors' ranges that a step uses; it rises linearly to 1."""
        start, steps = self.curriculum
        return min(1.0, start + (1.0 - start) * step / steps)

    def draw(self, generator: torch.Generator, strength: float = 1.0) -> tuple[Record, LabelMap]:
        """Sample a label map and the parameters of one head."""
        label_map, priors = self.maps[random_index(len(self.maps), generator)], self.priors
        if self.low_quality and float(torch.rand(1, generator=generator)) < self.low_quality[0]:
            priors = self.low_quality[1]
        return priors.milder(strength).sample(label_map, generator), label_map

    def make(self, record: Record, label_map: LabelMap) -> Head:
        """Generate the head of a draw."""
        sample = apply(record, label_map, Grid.centered(self.shape, self.spacing))
        return Head(record, label_map, tuple(self.labels), sample)

    def head(self, generator: torch.Generator, strength: float = 1.0) -> Head:
        return self.make(*self.draw(generator, strength))

    def batch(self, generator: torch.Generator, count: int, strength: float) -> list[Head]:
        """Generate `count` random heads; if several processes train, those of this one."""
        group = process_group()
        drawn = [self.draw(generator, strength) for _ in range(count * group.size)]
        return [self.make(*one) for one in group.shard(drawn)]


@dataclass
class RandomCrops:
    """Random crops of random heads at 1 mm (section 3.2)."""

    maps: Sequence[LabelMap]
    priors: GenerativeModel
    labels: Sequence[int]
    """The sorted values of the channels."""
    _: KW_ONLY
    batch: int
    """Crops a step."""
    crop: int
    """Voxels along each side, a multiple of the network's."""
    device: torch.device | str

    def __post_init__(self) -> None:
        """Move the maps to the device."""
        self.maps = [m.to(self.device) for m in self.maps]

    def __call__(self, g: torch.Generator) -> Batch:
        """Generate the samples of a step; if several processes train, those of this one."""
        group = process_group()
        drawn = [self.maps[random_index(len(self.maps), g)] for _ in range(self.batch * group.size)]
        records = group.shard([self.priors.sample(m, g) for m in drawn])
        maps = group.shard(drawn)
        grids = [crop_grid(m, (self.crop,) * 3, r["crop"]["at"]) for m, r in zip(maps, records, strict=True)]
        return apply_batch(records, maps, grids, self.labels)


@dataclass
class TaskCrops:
    """Crops of generated heads for networks of single structures or of a task, see `anatomy.TASKS`."""

    maps: Sequence[LabelMap]
    priors: GenerativeModel
    labels: Sequence[int]
    """The network's."""
    task: str
    side: int
    """Voxels along each side."""
    spacing: float
    """Of the voxels, mm."""
    device: torch.device | str

    def __post_init__(self) -> None:
        """Move the maps to the device, and find the channel of each structure."""
        self.maps = [m.to(self.device) for m in self.maps]
        own = self.task == "all" or tuple(self.labels) != anatomy.task_values(self.task)
        self.values = tuple(self.labels) if own else anatomy.predicted_values(2)
        channel = {v: i for i, v in enumerate(self.labels)}
        counted = self.values if own else tuple(anatomy.in_task(v, self.task) for v in self.values)
        self.channels = torch.tensor([channel.get(v, 0) for v in counted], dtype=torch.uint8, device=self.device)

    def __call__(self, generator: torch.Generator) -> Batch:
        """Draw a (1, 1, X, Y, Z) image in [0, 1] and its (1, X, Y, Z) channels."""
        label_map = self.maps[random_index(len(self.maps), generator)]
        record = self.priors.sample(label_map, generator)
        grid = crop_grid(label_map, (self.side,) * 3, record["crop"]["at"], self.spacing)
        sample = apply(record, label_map, grid)
        image = rescaled(sample.image, percentile_limits(sample.image, 0.005, 0.995))
        truth = self.channels[sample.target(self.values).long()]
        return image[None, None], truth[None]
