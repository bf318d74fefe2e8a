"""Patch grids: cut a region into overlapping patches of a size the network takes, and blend their predictions.

Patches start on even voxels, so that each of them is also a whole number of voxels on the locator's 2 mm grid.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch

from napari_synthseg.jobs import Progress

MIN_OVERLAP = 0.25
"""Part of a window's edge that neighbors share at least."""


@dataclass(frozen=True)
class PatchGrid:
    """Patches that cover a region."""

    size: tuple[int, int, int]
    """Voxels of every patch."""
    starts: tuple[tuple[int, ...], ...]
    """Along each axis, the first voxels of the patches, relative to the region; they may lie outside it."""
    shape: tuple[int, int, int]
    """Voxels of the region."""

    def __len__(self) -> int:
        return int(np.prod([len(one) for one in self.starts]))

    def __iter__(self):
        """(start, blending weights by axis) of each patch."""
        weights = [self._weights(axis) for axis in range(3)]
        for index in product(*(range(len(one)) for one in self.starts)):
            start = tuple(self.starts[axis][i] for axis, i in enumerate(index))
            yield start, tuple(weights[axis][i] for axis, i in enumerate(index))

    def _weights(self, axis: int) -> list[np.ndarray]:
        """Return ramps across the overlaps, one array a patch, that add up to one everywhere in the region."""
        starts, size, n = self.starts[axis], self.size[axis], self.shape[axis]
        position = np.arange(n)
        ramps = []
        for i, start in enumerate(starts):
            left = position - start + 1.0 if i else np.full(n, float(size))
            right = start + size - position * 1.0 if i < len(starts) - 1 else np.full(n, float(size))
            ramps.append(np.clip(np.minimum(left, right), 0, None) * ((position >= start) & (position < start + size)))
        total = np.sum(ramps, 0)
        return [(ramp / total).astype(np.float32) for ramp in ramps]


def patch_grid(
    shape: Sequence[int], *, max_voxels: int, overlap: int = 16, multiple: int = 16, minimum: int = 48
) -> PatchGrid:
    """Return the fewest patches, of at most about `max_voxels` each, that cover a region.

    Their sizes are multiples of `multiple`, not below `minimum`; neighbors share `overlap` voxels at least.
    """
    counts = [1, 1, 1]
    sizes = [_size(n, 1, overlap, multiple) for n in shape]
    while np.prod(sizes, dtype=np.int64) > max_voxels:
        options = []
        for axis in range(3):
            count = counts[axis] + 1
            while (size := _size(shape[axis], count, overlap, multiple)) >= sizes[axis] and count < counts[axis] + 8:
                count += 1
            if minimum <= size < sizes[axis]:
                work = size * count / (sizes[axis] * counts[axis])
                options.append((work, -sizes[axis], axis, count, size))
        if not options:
            break
        _, _, axis, counts[axis], sizes[axis] = min(options)
    starts = tuple(_starts(n, size, count) for n, size, count in zip(shape, sizes, counts, strict=True))
    return PatchGrid(tuple(sizes), starts, tuple(int(n) for n in shape))  # type: ignore[arg-type]


def _size(n: int, count: int, overlap: int, multiple: int) -> int:
    longest = -(-(n + (count - 1) * overlap) // count)
    return -(-longest // multiple) * multiple


def _starts(n: int, size: int, count: int) -> tuple[int, ...]:
    """Return even first voxels, evenly spaced; a single patch is centered, the last one reaches the end."""
    if count == 1:
        return (-((size - n) // 4 * 2),)
    return tuple(-(-i * (n - size) // (2 * (count - 1))) * 2 for i in range(count))


def crop_with_padding(array: torch.Tensor, start: Sequence[int], size: Sequence[int]) -> torch.Tensor:
    """Return the box of the last three axes, padded with zeros beyond the array; a view if it lies inside."""
    shape = array.shape[-3:]
    low = [max(0, s) for s in start]
    high = [min(n, s + m) for n, s, m in zip(shape, start, size, strict=True)]
    inner: tuple = tuple(slice(a, max(a, b)) for a, b in zip(low, high, strict=True))
    if all(a == s and b == s + m for a, b, s, m in zip(low, high, start, size, strict=True)):
        return array[(..., *inner)]
    out = array.new_zeros((*array.shape[:-3], *size))
    place: tuple = tuple(slice(a - s, max(a, b) - s) for a, b, s in zip(low, high, start, strict=True))
    if all(b > a for a, b in zip(low, high, strict=True)):
        out[(..., *place)] = array[(..., *inner)]
    return out


def sliding_windows(field: int, edge: int) -> PatchGrid:
    """Return the fewest windows of one edge that cover a cube of `field` voxels a side, sharing `MIN_OVERLAP` of it."""
    room = field - edge
    count = 1 if not room else 1 + -(-room // max(1, round(edge * (1 - MIN_OVERLAP))))
    starts = tuple(round(i * room / max(count - 1, 1)) for i in range(count))
    return PatchGrid((edge,) * 3, (starts,) * 3, (field,) * 3)


def blend_steps(
    stage: str, predict: Callable[[Sequence[int]], torch.Tensor], grid: PatchGrid, channels: int
) -> Generator[Progress, None, torch.Tensor]:
    """Run `predict(start)`, which gives (K, X, Y, Z) float16, on every patch of the grid; overlap-add the results."""
    out = torch.zeros((channels, *grid.shape), dtype=torch.float16)
    yield Progress(stage, 0, len(grid))
    for number, (start, weights) in enumerate(grid, 1):
        part = predict(start).cpu()
        inner: list[Any] = []
        place: list[Any] = []
        for first, size, n in zip(start, grid.size, grid.shape, strict=True):
            low, high = max(0, first), min(n, first + size)
            inner.append(slice(low - first, high - first))
            place.append(slice(low, high))
        if len(grid) == 1:
            out.copy_(part[(slice(None), *inner)])
        else:
            wx, wy, wz = (torch.from_numpy(w[side]) for w, side in zip(weights, place, strict=True))
            factor = (wx[:, None, None] * wy[:, None] * wz).half()
            for k in range(channels):
                out[(k, *place)] += part[(k, *inner)] * factor
        yield Progress(stage, number, len(grid))
    return out


def average(direct: torch.Tensor, mirrored: torch.Tensor, order: Sequence[int]) -> torch.Tensor:
    """Return the mean of two posteriors (K, X, Y, Z), the second of the mirrored scan; float16, channel by channel."""
    out = torch.empty(direct.shape, dtype=torch.float16, device=direct.device)
    for k, partner in enumerate(order):
        out[k] = (direct[k] + mirrored[partner].flip(0)).mul_(0.5)
    return out
