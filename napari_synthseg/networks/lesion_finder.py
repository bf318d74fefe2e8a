"""The lesion network: white matter lesions, given a scan relative to its white matter and a segmentation (ours).

A U-Net at half the resolution looks at the surroundings; a few features of it and the input itself, at full resolution,
say where a lesion ends. There is no normalisation inside: what it says of a voxel does not depend on the block.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from napari_synthseg.anatomy import LESION
from napari_synthseg.networks.lesion_inputs import CHANNELS
from napari_synthseg.networks.small_unet import SmallUNet

FINE = 8
"""Features of the trunk that reach full resolution."""
RARE = -4.0
"""Logit of a lesion before anything is learned."""


class LesionFinder(nn.Module):
    """Logits of lesions.

    Args:
        features: channels of the trunk at each level, the finest (2 mm) first.
    """

    labels = (0, LESION)

    def __init__(self, features: Sequence[int] = (16, 32, 64)) -> None:
        super().__init__()
        self.features = tuple(features)
        self.stem = nn.Conv3d(CHANNELS, features[0], 4, stride=2, padding=1)
        self.trunk = SmallUNet(3, features[0], 8 * FINE, features)
        self.fine = nn.Conv3d(FINE + CHANNELS, FINE, 3, padding=1)
        self.last = nn.Conv3d(FINE, 1, 1)
        nn.init.constant_(self.last.bias, RARE)  # type: ignore[arg-type]

    @property
    def multiple(self) -> int:
        """Input sizes must be multiples of this."""
        return 2 * self.trunk.multiple

    @property
    def reach(self) -> int:
        """Voxels around a block that its answers depend on, at most, rounded up to `multiple`."""
        levels = len(self.features)
        trunk = sum(2 * 2**i for i in range(levels)) + sum(2 * 2**i + 2**i for i in range(levels - 1))
        return -(-(2 * trunk + 4) // self.multiple) * self.multiple

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """(B, CHANNELS, X, Y, Z) of `lesion_inputs` -> (B, 1, X, Y, Z) logits."""
        coarse = self.trunk(F.elu(self.stem(inputs)))
        fine = _shuffled(coarse)
        return self.last(F.elu(self.fine(torch.cat([fine, inputs], 1))))


def _shuffled(x: torch.Tensor) -> torch.Tensor:
    """(B, 8F, X, Y, Z) -> (B, F, 2X, 2Y, 2Z), a feature of each of the eight sub-voxel positions."""
    b, c, i, j, k = x.shape
    x = x.reshape(b, c // 8, 2, 2, 2, i, j, k).permute(0, 1, 5, 2, 6, 3, 7, 4)
    return x.reshape(b, c // 8, 2 * i, 2 * j, 2 * k)
