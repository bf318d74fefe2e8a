"""Cutting a region into overlapping blocks of a size the network takes, and blending their predictions.

Blocks start on even voxels, so that every block is also a whole number of voxels on the locator's 2 mm grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch


@dataclass(frozen=True)
class Plan:
    """Blocks that cover a region.

    Attributes:
        size: voxels of every block.
        starts: along each axis, the first voxels of the blocks, relative to the region; they may lie outside it.
        shape: voxels of the region.
    """

    size: tuple[int, int, int]
    starts: tuple[tuple[int, ...], ...]
    shape: tuple[int, int, int]

    def __len__(self) -> int:
        return int(np.prod([len(one) for one in self.starts]))

    def __iter__(self):
        """(start, blending weights by axis) of each block."""
        weights = [self._weights(axis) for axis in range(3)]
        for index in product(*(range(len(one)) for one in self.starts)):
            start = tuple(self.starts[axis][i] for axis, i in enumerate(index))
            yield start, tuple(weights[axis][i] for axis, i in enumerate(index))

    def _weights(self, axis: int) -> list[np.ndarray]:
        """Ramps across the overlaps, one array a block, that add up to one everywhere in the region."""
        starts, size, n = self.starts[axis], self.size[axis], self.shape[axis]
        position = np.arange(n)
        ramps = []
        for i, start in enumerate(starts):
            left = position - start + 1.0 if i else np.full(n, float(size))
            right = start + size - position * 1.0 if i < len(starts) - 1 else np.full(n, float(size))
            ramps.append(np.clip(np.minimum(left, right), 0, None) * ((position >= start) & (position < start + size)))
        total = np.sum(ramps, 0)
        return [(ramp / total).astype(np.float32) for ramp in ramps]


def plan(shape: Sequence[int], *, max_voxels: int, overlap: int = 16, multiple: int = 16, minimum: int = 48) -> Plan:
    """The fewest blocks, of at most about `max_voxels` each, that cover a region.

    Args:
        shape: voxels of the region.
        max_voxels: voxels a block may have (never less than `minimum` along an axis is tried).
        overlap: voxels that neighbours share at least.
        multiple: block sizes are multiples of this.
        minimum: blocks are not made shorter than this.
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
    return Plan(tuple(sizes), starts, tuple(int(n) for n in shape))  # type: ignore[arg-type]


def _size(n: int, count: int, overlap: int, multiple: int) -> int:
    longest = -(-(n + (count - 1) * overlap) // count)
    return -(-longest // multiple) * multiple


def _starts(n: int, size: int, count: int) -> tuple[int, ...]:
    """Even first voxels, evenly spaced; a single block is centred on the region, the last one reaches its end."""
    if count == 1:
        return (-((size - n) // 4 * 2),)
    return tuple(-(-i * (n - size) // (2 * (count - 1))) * 2 for i in range(count))


def window(array: torch.Tensor, start: Sequence[int], size: Sequence[int]) -> torch.Tensor:
    """The box `start`, `size` of the last three axes; zero where it reaches beyond the array.

    Returns:
        A view where the box lies inside, else a copy.
    """
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
