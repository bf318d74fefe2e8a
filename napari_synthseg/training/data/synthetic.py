"""Synthetic training samples from label maps: whole heads at 2 mm, crops at 1 mm, heads that the locator has seen."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from itertools import count
from typing import Generic, TypeVar

import torch

from napari_synthseg import anatomy
from napari_synthseg.devices import bfloat16_where_quick, to_memory
from napari_synthseg.errors import InputError
from napari_synthseg.generator.head import Grid, HeadState, crop_grid
from napari_synthseg.generator.labelmap import LabelMap
from napari_synthseg.generator.model import GenerativeModel, Record
from napari_synthseg.generator.sample import apply, apply_batch
from napari_synthseg.networks.locate_refine import LocateRefine
from napari_synthseg.training.engine.distributed import process_group
from napari_synthseg.training.engine.events import doing

Batch = tuple[torch.Tensor, torch.Tensor]
"""Images (B, 1, X, Y, Z) in [0, 1], and (B, X, Y, Z) channels of labels."""
Item = TypeVar("Item")


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
    maps: Sequence[LabelMap], labels: Sequence[int], power: float, classes: Sequence[int] = (), number: int = 0
) -> torch.Tensor:
    """Return (K,) weights of the cross-entropy, frequency ** -power in the maps, 1 for the background.

    If classes are predicted, `classes` gives that of each label, and `number` how many there are.
    """
    k = number or len(labels)
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

    def batch(self, generator: torch.Generator, number: int, strength: float) -> list[Head]:
        """Generate random heads; if several processes train, those of this one."""
        group = process_group()
        drawn = [self.draw(generator, strength) for _ in range(number * group.size)]
        return [self.make(*one) for one in group.shard(drawn)]


def checked_crop(crop: int, multiple: int, least: int = 1) -> int:
    """Return a crop's side if a network can take it: a multiple, and of at least `least` of them; else `InputError`."""
    if crop % multiple or crop < least * multiple:
        limit = f", and at least {least * multiple}" if least > 1 else ""
        raise InputError(f"The crop of {crop} voxels must be a multiple of {multiple}{limit}.")
    return crop


Sampler = Callable[[torch.Generator], Batch]
"""Draws the samples of a step."""


def random_crops(
    maps: Sequence[LabelMap],
    priors: GenerativeModel,
    labels: Sequence[int],
    *,
    batch: int,
    crop: int,
    device: torch.device | str,
) -> Sampler:
    """Return a sampler of random crops of random heads at 1 mm (section 3.2), of `crop` voxels along each side.

    If several processes train, it generates the samples of this one.
    """
    maps = [m.to(device) for m in maps]

    def sample(g: torch.Generator) -> Batch:
        group = process_group()
        drawn = [maps[random_index(len(maps), g)] for _ in range(batch * group.size)]
        records = group.shard([priors.sample(m, g) for m in drawn])
        own = group.shard(drawn)
        grids = [crop_grid(m, (crop,) * 3, r["crop"]["at"]) for m, r in zip(own, records, strict=True)]
        return apply_batch(records, own, grids, labels)

    return sample


def task_crops(
    maps: Sequence[LabelMap],
    priors: GenerativeModel,
    labels: Sequence[int],
    task: str,
    side: int,
    spacing: float,
    device: torch.device | str,
) -> Sampler:
    """Return a sampler of a crop of a generated head, for networks of single structures or of a task.

    Args:
        maps, priors: to generate from.
        labels: the network's.
        task: one of `anatomy.TASKS`.
        side: voxels along each side.
        spacing: of the voxels, mm.
        device: to compute on.
    """
    maps = [m.to(device) for m in maps]
    own = task == "all" or tuple(labels) != anatomy.task_values(task)
    values = tuple(labels) if own else anatomy.predicted_values(2)
    channel = {v: i for i, v in enumerate(labels)}
    counted = values if own else tuple(anatomy.in_task(v, task) for v in values)
    channels = torch.tensor([channel.get(v, 0) for v in counted], dtype=torch.uint8, device=device)

    def sample(g: torch.Generator) -> Batch:
        label_map = maps[random_index(len(maps), g)]
        record = priors.sample(label_map, g)
        head = apply(record, label_map, crop_grid(label_map, (side,) * 3, record["crop"]["at"], spacing))
        image = rescaled(head.image, percentile_limits(head.image, 0.005, 0.995))
        return image[None, None], channels[head.target(values).long()][None]

    return sample


@dataclass(frozen=True)
class LocatedHead:
    """A head with the locator's posteriors."""

    head: Head
    limits: tuple[float, float]
    """Percentiles that its image is rescaled by."""
    posteriors: torch.Tensor
    """(1, K, X, Y, Z) at 2 mm."""
    appearance: torch.Tensor
    """(1, K, 2)."""
    inside: torch.Tensor
    """(N, 3) voxels of the foreground, from which crops are taken."""


@torch.no_grad()
def locate(model: LocateRefine, head: Head, device: torch.device) -> LocatedHead:
    """Show a head to the locator."""
    limits = percentile_limits(head.image)
    image = to_memory(rescaled(head.image, limits)[None, None])
    with bfloat16_where_quick(device):
        posteriors = model.locate(image)
    inside = head.channels().nonzero()
    if not len(inside):  # a head of background alone: any place will do
        inside = torch.tensor([[n // 2 for n in Heads.shape]])
    return LocatedHead(head, limits, posteriors, model.appearance(image, posteriors), inside)


def located_heads(model: LocateRefine, heads: Heads, seed: int, size: int, steps: int, device: torch.device) -> Newest:
    """Return the row of located heads of which `size` are held, with a new one every few steps."""

    def make(number: int) -> LocatedHead:
        strength = heads.strength(max(0, number - size) * steps)
        located = locate(model, heads.head(step_generator(seed, number), strength), device)
        return replace(located, posteriors=located.posteriors.to(torch.float16))  # 136 MB otherwise, for 33 labels

    return Newest("locating heads", lambda first: map(make, count(first)), size, steps, ahead=size)


class Newest(Generic[Item]):
    """The newest items of an endless row; which they are depends on the step alone.

    Args:
        text: what making items is called.
        made_from: makes the items from a number on.
        size: number of items held.
        steps: steps from one new item to the next.
        ahead: items that are there at the first step.
    """

    def __init__(
        self, text: str, made_from: Callable[[int], Iterator[Item]], size: int, steps: int = 1, ahead: int = 1
    ) -> None:
        self.text, self.made_from, self.size, self.steps, self.ahead = text, made_from, size, steps, ahead
        self._held: deque[Item] = deque(maxlen=size)
        self._next = -1
        self._source: Iterator[Item] = iter(())

    def at(self, step: int) -> list[Item]:
        """Return the items held at a step: each is made once, and all of them again after a jump."""
        end = step // self.steps + self.ahead
        if end - self._next not in (0, 1):
            self._held.clear()
            self._next = max(0, end - self.size)
            self._source = self.made_from(self._next)
        while self._next < end:
            if len(self._held) < self.size:
                doing(self.text, len(self._held) + 1, self.size)
            self._held.append(next(self._source))
            self._next += 1
        return list(self._held)
