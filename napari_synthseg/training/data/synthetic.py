"""Synthetic training samples from label maps: whole heads at 2 mm, crops at 1 mm, heads that the locator has seen."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import KW_ONLY, astuple, dataclass, replace

import torch
from torch.nn import functional as F

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


def checked_crop(crop: int, multiple: int, least: int = 1) -> int:
    """Return the side of the crops to train a network on.

    Raises:
        InputError: it is no multiple that the network can take, or a smaller one than the `least`.
    """
    if crop % multiple or crop < least * multiple:
        limit = f", and at least {least * multiple}" if least > 1 else ""
        raise InputError(f"The crop of {crop} voxels must be a multiple of {multiple}{limit}.")
    return crop


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


class LocatedHeads:
    """The newest located heads of an endless row; they depend on the seed and the step alone.

    Args:
        model: whose locator is trained.
        heads: to draw from.
        seed: of the heads.
        size: number of heads held.
        steps: steps from one new head to the next.
        device: to compute on.
    """

    def __init__(
        self, model: LocateRefine, heads: Heads, *, seed: int, size: int, steps: int, device: torch.device
    ) -> None:
        self.model, self.heads, self.seed, self.steps, self.device = model, heads, seed, steps, device
        self._held: deque[LocatedHead] = deque(maxlen=size)
        self._next = -1

    def at(self, step: int) -> list[LocatedHead]:
        """Return the heads held at a step: the newest ones up to number `step // steps`.

        Asked for step after step this makes each head once; after a jump all of them are made again.
        """
        size = self._held.maxlen or 1
        end = step // self.steps + size  # all places are filled from the first step on
        if end - self._next not in (0, 1):
            self._held.clear()
            self._next = end - size
        while self._next < end:
            if len(self._held) < size:
                doing("locating heads", len(self._held) + 1, size)
            self._held.append(self._make(self._next))
            self._next += 1
        return list(self._held)

    def _make(self, number: int) -> LocatedHead:
        strength = self.heads.strength(max(0, number - (self._held.maxlen or 1)) * self.steps)
        located = locate(self.model, self.heads.head(step_generator(self.seed, number), strength), self.device)
        half = located.posteriors.to(torch.float16)  # 136 MB otherwise, for 33 labels
        return replace(located, posteriors=half)


@dataclass(frozen=True)
class PriorErrors:
    """Probabilities that the prior of a crop is made wrong, so that a refiner re-locates instead of correcting."""

    blur: float = 0.0
    """By a Gaussian of 0.5 to 2 voxels."""
    deform: float = 0.0
    """By a smooth displacement of up to about 3 voxels."""
    erode: float = 0.0
    """One label by a voxel."""
    swap: float = 0.0
    """Two labels."""
    drop: float = 0.0
    """One label."""

    def __bool__(self) -> bool:
        """Tell whether any of them can happen."""
        return any(astuple(self))

    def apply(self, prior: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Make (K, X, Y, Z) posteriors of a crop wrong; they still sum to 1, and draws do not depend on each other."""
        u = torch.rand(5, generator=generator).tolist()
        amount = float(torch.rand(1, generator=generator))
        field = torch.randn(3, 4, 4, 4, generator=generator)
        pick = torch.rand(2, generator=generator).tolist()
        present = (prior[1:].amax((1, 2, 3)) > 0.5).nonzero()[:, 0] + 1
        if u[1] < self.deform:
            prior = deformed(prior, field)
        if len(present):
            first = int(pick[0] * len(present))
            second = (first + 1 + int(pick[1] * (len(present) - 1))) % len(present)
            a, b = int(present[first]), int(present[second])
            if u[2] < self.erode:
                prior = with_label(prior, a, -F.max_pool3d(-prior[a][None], 3, 1, 1)[0])
            if u[3] < self.swap and a != b:
                order = torch.arange(len(prior), device=prior.device)
                order[a], order[b] = b, a
                prior = prior[order]
            if u[4] < self.drop:
                prior = with_label(prior, a, torch.zeros_like(prior[a]))
        if u[0] < self.blur:
            prior = blurred(prior, 0.5 + 1.5 * amount)
        return prior / prior.sum(0, keepdim=True).clamp(min=1e-6)


def with_label(prior: torch.Tensor, label: int, values: torch.Tensor) -> torch.Tensor:
    """Return posteriors with other (X, Y, Z) values of a label; the others gain its loss in proportion."""
    rest = (1.0 - values) / (1.0 - prior[label]).clamp(min=1e-3)
    changed = prior * rest
    changed[label] = values
    if not bool((changed.sum(0) > 0.5).all()):  # the background takes over from a label that was alone
        changed[0] = changed[0] + (1.0 - changed.sum(0)).clamp(min=0.0)
    return changed


def deformed(prior: torch.Tensor, field: torch.Tensor) -> torch.Tensor:
    """Return posteriors moved by a (3, 4, 4, 4) field of displacements, enlarged; 1 stands for 1.5 voxels."""
    shape = prior.shape[1:]
    moved = F.interpolate(field[None].to(prior.device), shape, mode="trilinear", align_corners=True)[0]
    scale = torch.tensor([3.0 / n for n in reversed(shape)], device=prior.device)
    base = F.affine_grid(torch.eye(3, 4, device=prior.device)[None], [1, 1, *shape], align_corners=False)
    grid = base + (moved.movedim(0, -1) * scale)[None]
    return F.grid_sample(prior[None], grid.to(prior.dtype), padding_mode="border", align_corners=False)[0]


def blurred(prior: torch.Tensor, sigma: float) -> torch.Tensor:
    """Return posteriors blurred by a Gaussian of some voxels, along each axis."""
    reach = max(1, round(2 * sigma))
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, device=prior.device) / sigma) ** 2)
    kernel = (kernel / kernel.sum()).to(prior.dtype)
    x = prior[:, None]
    for axis in range(3):
        shape, pad = [1, 1, 1, 1, 1], [0] * 6
        shape[2 + axis] = len(kernel)
        pad[2 * (2 - axis)] = pad[2 * (2 - axis) + 1] = reach
        x = F.conv3d(F.pad(x, pad, mode="replicate"), kernel.view(shape))
    return x[:, 0]
