"""SynthSeg's 3D U-Net, weight for weight (section 3.2; where the paper is silent, as the reference does)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F


class Level(nn.Module):
    """Two 3x3x3 convolutions with ELU; the batch norm that follows them is applied by the caller, after the skip."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv0 = nn.Conv3d(inputs, outputs, 3, padding=1)
        self.conv1 = nn.Conv3d(outputs, outputs, 3, padding=1)
        self.norm = nn.BatchNorm3d(outputs, eps=1e-3, momentum=0.01)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.elu(self.conv1(F.elu(self.conv0(x), inplace=True)), inplace=True)


class UNet3d(nn.Module):
    """Five levels, 24 features doubling, batch norm after each level, softmax.

    Skip connections carry a level's second convolution after its ELU and before its batch norm; they are concatenated
    as (skip, upsampled). Upsampling is nearest neighbour.

    Args:
        n_labels: K, or the sorted label values.
        features: channels of the first level.
        levels: number of levels.
        in_channels: channels of the input.
    """

    def __init__(
        self, n_labels: int | Sequence[int] = 33, features: int = 24, levels: int = 5, in_channels: int = 1
    ) -> None:
        super().__init__()
        self.labels = tuple(range(n_labels)) if isinstance(n_labels, int) else tuple(n_labels)
        self.features, self.levels = features, levels
        width = [features * 2**i for i in range(levels)]
        self.down = nn.ModuleList(Level(in_channels if i == 0 else width[i - 1], w) for i, w in enumerate(width))
        self.up = nn.ModuleList(Level(width[i + 1] + width[i], width[i]) for i in reversed(range(levels - 1)))
        self.likelihood = nn.Conv3d(features, len(self.labels), 1)
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    @property
    def multiple(self) -> int:
        """Input sizes must be multiples of this."""
        return 2 ** (self.levels - 1)

    def logits(self, image: torch.Tensor) -> torch.Tensor:
        """(B, C, X, Y, Z) -> (B, K, X, Y, Z) before the softmax."""
        skips, x = [], image
        for i, level in enumerate(self.down):
            x = level(x)
            if i < self.levels - 1:
                skips.append(x)
            x = level.norm(x)  # type: ignore[operator]
            if i < self.levels - 1:
                x = F.max_pool3d(x, 2)
        for level in self.up:
            x = torch.cat([skips.pop(), F.interpolate(x, scale_factor=2, mode="nearest")], 1)
            x = level.norm(level(x))  # type: ignore[operator]
        return self.likelihood(x)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(B, C, X, Y, Z) image in [0, 1] -> (B, K, X, Y, Z) posteriors."""
        return self.logits(image).softmax(1)
