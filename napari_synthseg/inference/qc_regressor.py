"""The scores that SynthSeg's quality regressor gives a segmentation: expected Dice by group of structures (SynthSeg+).

It looks at the groups of structures in a cube of 224 voxels about the brain. Its top level, with nearly all of its
memory, is computed in overlapping slabs, exactly.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence

import numpy as np
import torch
from torch.nn import functional as F

from napari_synthseg import anatomy
from napari_synthseg.inference.streaming import in_float32
from napari_synthseg.jobs import Progress
from napari_synthseg.networks.qc_regressor import QualityRegressor, ResidualLevel

SIDE = 224
"""Voxels along each edge of what the regressor sees."""
SLAB = 28
"""Planes of a slab, an even number."""


def score_steps(
    model: QualityRegressor, winners: torch.Tensor, values: Sequence[int], device: torch.device, side: int = SIDE
) -> Generator[Progress, None, dict[str, float]]:
    """Score a segmentation: 0 to 1 by name of the group (`anatomy.QUALITY_GROUPS`), background left out.

    Args:
        model: the regressor.
        winners: (X, Y, Z) the channel with the largest posterior, before any clean-up, in the padded volume.
        values: FreeSurfer value of each channel.
        device: where to run.
        side: voxels along each edge of what is looked at.
    """
    model = model.to(device).eval()
    groups = cube_around_brain(grouped(winners.numpy(), values), np.isin(winners.numpy(), _ignored(values)), side)
    classes = torch.from_numpy(groups)
    count = len(anatomy.QUALITY_GROUPS)

    def planes(start: int, stop: int) -> torch.Tensor:
        part = F.one_hot(classes[start:stop].long(), count).movedim(-1, 0)[None]
        return part.to(device, torch.float32)

    parts = []
    first: ResidualLevel = model.down[0]  # type: ignore[assignment]
    bounds = [(a, min(a + SLAB, side)) for a in range(0, side, SLAB)]
    for number, (start, stop) in enumerate(bounds):
        yield Progress("Scoring", number, len(bounds) + 1)
        with torch.inference_mode(), in_float32():
            low, high = max(0, start - first.reach), min(side, stop + first.reach)
            part = first(planes(low, high))[:, :, start - low : stop - low]
            parts.append(F.max_pool3d(part, 2, ceil_mode=True))
    yield Progress("Scoring", len(bounds), len(bounds) + 1)
    with torch.inference_mode(), in_float32():
        scores = model.below(torch.cat(parts, 2))[0].clamp(0, 1).cpu()
    return dict(zip(list(anatomy.QUALITY_GROUPS)[1:], scores[1:].tolist(), strict=True))


def grouped(winners: np.ndarray, values: Sequence[int]) -> np.ndarray:
    """Map channel numbers to quality groups, uint8; channels in no group become background."""
    table = np.zeros(len(values), np.uint8)
    for number, members in enumerate(anatomy.QUALITY_GROUPS.values()):
        table[np.isin(values, members)] = number
    return table[winners]


def cube_around_brain(groups: np.ndarray, ignored: np.ndarray, side: int = SIDE) -> np.ndarray:
    """(side, side, side) of an array about the middle of what is not ignored, with zeros beyond its edges.

    With nothing to look at, the cube begins at the first voxel, as in the reference implementation.
    """
    out = np.zeros((side,) * 3, groups.dtype)
    here, there = [], []
    for axis, n in enumerate(groups.shape):
        inside = np.flatnonzero(~ignored.all(axis=tuple(other for other in range(3) if other != axis)))
        low, high = (int(inside[0]), int(inside[-1]) + 1) if len(inside) else (0, min(n, side))
        low -= -(-(side - (high - low)) // 2)  # the odd voxel goes to the beginning
        start, stop = max(low, 0), min(low + side, n)
        here.append(slice(start, stop))
        there.append(slice(start - low, stop - low))
    out[tuple(there)] = groups[tuple(here)]
    return out


def _ignored(values: Sequence[int]) -> list[int]:
    """Return the channels of the background and of CSF, which follows the spine."""
    return [channel for channel, value in enumerate(values) if value in (0, 24)]
