"""SynthSeg's generative model of brains (section 3.1, Figure 3): a record and a label map become image and target."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from napari_synthseg.generator.head import Grid, HeadState
from napari_synthseg.generator.labelmap import LabelMap
from napari_synthseg.generator.model import Record, run


def apply(record: Record, label_map: LabelMap, grid: Grid, limits: tuple[float, float] | None = None) -> HeadState:
    """Make the finished head that a record describes: its image, the network's input, and its labels.

    Args:
        record: drawn with this map's table.
        label_map: on the device that is to do the work.
        grid: where the voxels of the sample lie.
        limits: intensities before gamma that become 0 and 1, by default the image's own extremes; pass a whole head's
            limits to make a crop of it.
    """
    return run(record, HeadState.of_map(label_map, grid, limits))


def deformed(record: Record, label_map: LabelMap, grid: Grid) -> HeadState:
    """Return the head with its deformed labels and their tables, before it has an image (eq. 10)."""
    return run(record, HeadState.of_map(label_map, grid), until="labels")


def steady_limits(record: Record, head: HeadState, grid: Grid) -> tuple[float, float] | None:
    """Return limits that make voxels larger than 1 mm as bright as those of 1 mm; None if they are not larger.

    Averaged voxels are less noisy and have milder extremes, so their own would stretch the contrast.

    Args:
        record: of the head.
        head: with deformed labels; it is not changed but for its image.
        grid: of the head.
    """
    if grid.spacing <= 1.0:
        return None
    n = max(head.labels.numel(), 2)
    # How far out the extremes of as many normals as there are voxels of 1 mm lie.
    head.noise_scale = (math.log(n * grid.spacing**3) / math.log(n)) ** 0.5
    image = run(record, head, after="labels", until="clip").image
    head.noise_scale = grid.noise_scale
    return image.min().item(), image.max().item()


def apply_batch(
    records: Sequence[Record], label_maps: Sequence[LabelMap], grids: Sequence[Grid], values: Sequence[int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Make several samples of one shape.

    Returns:
        images (B, 1, X, Y, Z) float32 and targets (B, X, Y, Z) uint8 channels of `values`.
    """
    made = [apply(*each) for each in zip(records, label_maps, grids, strict=True)]
    return torch.stack([s.image for s in made])[:, None], torch.stack([s.target(values) for s in made])
