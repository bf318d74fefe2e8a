"""What a network says of a prepared scan, how blocks of it are put together, and in which precision it runs."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from napari_synthseg.devices import bfloat16_where_quick, quick_in_bfloat16
from napari_synthseg.inference.blocks import Plan
from napari_synthseg.jobs import Progress, checkpoint
from napari_synthseg.networks import registry
from napari_synthseg.networks.registry import InferenceSpec


@dataclass(frozen=True)
class Scene:
    """What a network of the whole head saw, and its first word on it, before any clean-up.

    Attributes:
        image: (X, Y, Z) float32 in [0, 1], the rescaled and padded scan, on the CPU.
        winners: (X, Y, Z) the channel with the largest posterior.
        start: voxel of the prepared image where both begin; may lie outside of it.
    """

    image: torch.Tensor
    winners: torch.Tensor
    start: tuple[int, int, int]


@dataclass(frozen=True)
class Tissues:
    """What the inner networks of a hierarchy say of the scan, as it is: of its mirror image nothing is kept.

    Attributes:
        classes: (X, Y, Z) uint8 tissue classes (`anatomy.TISSUES`) of S1 and of D, by `TISSUE_MAPS`.
        start: voxel of the prepared image where both begin; may lie outside of it.
    """

    classes: Mapping[str, torch.Tensor]
    start: tuple[int, int, int]


@dataclass(frozen=True)
class Prediction:
    """Posteriors of the part of a prepared scan that holds the brain.

    Attributes:
        posteriors: (K, X, Y, Z) float16 or float32 on the CPU.
        values: FreeSurfer value of each channel, background first.
        start: voxel of the prepared image where they begin.
        coarse: (K, ...) the locator's posteriors at 2 mm, where the network has a locator.
        device: where the network ran.
        notes: sentences on what had to be done differently.
        scene: what a network of the whole head saw.
        tissues: what its inner networks said, where it is a hierarchy that ran in one piece.
        coarse_start: voxel of the prepared image where `coarse` begins; may lie outside of it.
    """

    posteriors: torch.Tensor
    values: tuple[int, ...]
    start: tuple[int, int, int]
    coarse: torch.Tensor | None
    device: str
    notes: tuple[str, ...] = ()
    scene: Scene | None = None
    tissues: Tissues | None = None
    coarse_start: tuple[int, int, int] | None = None

    def inside(self, shape: Sequence[int]) -> tuple[slice, slice, slice]:
        """The part that lies inside a prepared image of this shape (posteriors may reach into its padding)."""
        size = self.posteriors.shape[1:]
        x, y, z = (
            slice(max(0, -a), max(0, min(n, whole - a))) for a, n, whole in zip(self.start, size, shape, strict=True)
        )
        return x, y, z

    def within(self, shape: Sequence[int]) -> Prediction:
        """Without what lies outside a prepared image of this shape."""
        box = self.inside(shape)
        if all(side == slice(0, n) for side, n in zip(box, self.posteriors.shape[1:], strict=True)):
            return self
        start = tuple(a + side.start for a, side in zip(self.start, box, strict=True))
        return replace(self, posteriors=self.posteriors[(slice(None), *box)].contiguous(), start=start)  # type: ignore[arg-type]


def spec_of(model: nn.Module) -> InferenceSpec:
    """Return how a network is run, as its class or its card says."""
    return getattr(model, "spec", None) or registry.spec_of(getattr(model, "card", None) or {})  # type: ignore[return-value]


def half_precision(device: torch.device):
    """Return the autocast for networks that were trained in half precision: bfloat16 or float16 if that is faster."""
    if device.type == "mps":
        return nullcontext()
    if device.type == "cpu":
        return bfloat16_where_quick(device)
    return torch.autocast(device.type, torch.bfloat16 if quick_in_bfloat16(device) else torch.float16)


@contextmanager
def interruptible(model: nn.Module) -> Iterator[None]:
    """Inside, a request to stop ends the network before its next layer, and not only after the block."""
    leaves = [one for one in model.modules() if not any(True for _ in one.children())]
    hooks = [one.register_forward_pre_hook(lambda *_: checkpoint()) for one in leaves]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def values_of(model: nn.Module) -> tuple[int, ...]:
    return tuple(int(value) for value in model.labels)  # type: ignore[union-attr, arg-type]


def blend(
    stage: str, predict: Callable[[Sequence[int]], torch.Tensor], blocks: Plan, channels: int
) -> Generator[Progress, None, torch.Tensor]:
    """Run `predict(start)`, which gives `(K, *blocks.size)` float16, on every block; blend the results on the CPU."""
    out = torch.zeros((channels, *blocks.shape), dtype=torch.float16)
    yield Progress(stage, 0, len(blocks))
    for number, (start, weights) in enumerate(blocks, 1):
        part = predict(start).cpu()
        inner: list[Any] = []
        place: list[Any] = []
        for first, size, n in zip(start, blocks.size, blocks.shape, strict=True):
            low, high = max(0, first), min(n, first + size)
            inner.append(slice(low - first, high - first))
            place.append(slice(low, high))
        if len(blocks) == 1:
            out.copy_(part[(slice(None), *inner)])
        else:
            wx, wy, wz = (torch.from_numpy(w[side]) for w, side in zip(weights, place, strict=True))
            factor = (wx[:, None, None] * wy[:, None] * wz).half()
            for k in range(channels):
                out[(k, *place)] += part[(k, *inner)] * factor
        yield Progress(stage, number, len(blocks))
    return out


def average(direct: torch.Tensor, mirrored: torch.Tensor, order: Sequence[int]) -> torch.Tensor:
    """Mean of two posteriors (K, X, Y, Z), the second of the mirrored scan; float16, one channel after the other."""
    out = torch.empty(direct.shape, dtype=torch.float16, device=direct.device)
    for k, partner in enumerate(order):
        out[k] = (direct[k] + mirrored[partner].flip(0)).mul_(0.5)
    return out
