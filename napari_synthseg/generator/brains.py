"""SynthSeg's generative model of brains (section 3.1, Figure 3): a record and a label map become image and target."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from napari_synthseg.generator.head import Grid, HeadState
from napari_synthseg.generator.labelmap import LabelMap
from napari_synthseg.generator.model import Record, run


@dataclass(frozen=True)
class Sample:
    """One record and label map on one grid."""

    image: torch.Tensor
    """(X, Y, Z) float32 in [0, 1], the network's input."""
    labels: torch.Tensor
    """(X, Y, Z) uint8 indices into the table of `label_map` after deformation, before anything is reset."""
    limits: tuple[float, float]
    """The intensities that became 0 and 1 before gamma."""
    head: HeadState

    def target(self, values: Sequence[int]) -> torch.Tensor:
        """Return (X, Y, Z) uint8 channels of the network's sorted `values`."""
        return self.head.target(values)


def apply(record: Record, label_map: LabelMap, grid: Grid, limits: tuple[float, float] | None = None) -> Sample:
    """Make the sample that a record describes.

    Args:
        record: drawn with this map's table.
        label_map: on the device that is to do the work.
        grid: where the voxels of the sample lie.
        limits: intensities before gamma that become 0 and 1, by default the image's own extremes; pass a whole head's
            limits to make a crop of it.
    """
    head = run(record, HeadState.of_map(label_map, grid, limits))
    assert head.limits is not None
    return Sample(head.image, head.labels, head.limits, head)


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
