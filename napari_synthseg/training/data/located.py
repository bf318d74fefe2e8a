"""Synthetic heads that the locator has seen: kept in hand over several steps, their posteriors made wrong at random."""

from __future__ import annotations

from collections import deque
from dataclasses import astuple, dataclass, replace

import torch
from torch.nn import functional as F

from napari_synthseg.devices import bfloat16_where_quick, to_memory
from napari_synthseg.networks.locate_refine import LocateRefine
from napari_synthseg.training.data.synthetic import Head, Heads, percentile_limits, rescaled, step_generator
from napari_synthseg.training.engine.events import doing


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
