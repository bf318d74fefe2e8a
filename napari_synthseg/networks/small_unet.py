"""A plain U-Net for images of two or three dimensions: what augments images, and what segments slices."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

CONVOLUTIONS = {2: nn.Conv2d, 3: nn.Conv3d}
NORMS = {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}


class SmallUNet(nn.Module):
    """Two convolutions of 3 voxels with ELU at each scale, half as many voxels a side from one to the next.

    Args:
        dimensions: of the images, 2 or 3.
        inputs: channels that come in.
        outputs: channels that go out, without a softmax.
        features: channels at each scale, the finest one first; one scale less than there are numbers is skipped to.
        norm: instance normalisation after each scale's convolutions.

    Raises:
        ValueError: other dimensions.
    """

    def __init__(
        self, dimensions: int, inputs: int, outputs: int, features: Sequence[int] = (16, 16), norm: bool = False
    ) -> None:
        super().__init__()
        if dimensions not in CONVOLUTIONS:
            raise ValueError(f"Images have 2 or 3 dimensions here, not {dimensions}.")
        self.dimensions = dimensions
        before = (inputs, *features)
        self.down = nn.ModuleList(self._scale(before[i], n, norm) for i, n in enumerate(features))
        pairs = list(zip(features, features[1:], strict=False))
        self.up = nn.ModuleList(self._scale(fine + coarse, fine, norm) for fine, coarse in reversed(pairs))
        self.last = CONVOLUTIONS[dimensions](features[0], outputs, 1)

    def _scale(self, inputs: int, outputs: int, norm: bool) -> nn.Sequential:
        convolution = CONVOLUTIONS[self.dimensions]
        layers: list[nn.Module] = [
            convolution(inputs, outputs, 3, padding=1),
            nn.ELU(),
            convolution(outputs, outputs, 3, padding=1),
            nn.ELU(),
        ]
        if norm:
            layers.append(NORMS[self.dimensions](outputs, affine=True))
        return nn.Sequential(*layers)

    @property
    def multiple(self) -> int:
        """Input sizes must be multiples of this."""
        return 2 ** len(self.up)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """`(B, inputs, *sizes) -> (B, outputs, *sizes)`."""
        pool = F.max_pool2d if self.dimensions == 2 else F.max_pool3d
        skips, x = [], self.down[0](image)
        for level in list(self.down)[1:]:
            skips.append(x)
            x = level(pool(x, 2))
        for level in self.up:
            x = F.interpolate(x, scale_factor=2, mode="nearest")
            x = level(torch.cat([skips.pop(), x], 1))
        return self.last(x)
