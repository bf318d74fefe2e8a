"""SynthSeg+'s quality regressor R: a segmentation in, its expected Dice by group of structures out (section 2.4).

Residual levels of two 5^3 convolutions with ReLU; what passes around them has the channels of what it joins, through a
convolution of its own. The published weights come without a description: the plan is read off their shapes.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from napari_synthseg.networks.registry import Card, register


class ResidualLevel(nn.Module):
    """Two convolutions beside one, added, ReLU, batch norm."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 5) -> None:
        super().__init__()
        self.conv0 = nn.Conv3d(inputs, outputs, kernel, padding=kernel // 2)
        self.conv1 = nn.Conv3d(outputs, outputs, kernel, padding=kernel // 2)
        self.expand = nn.Conv3d(inputs, outputs, kernel, padding=kernel // 2)
        self.norm = nn.BatchNorm3d(outputs, eps=1e-3, momentum=0.01)

    @property
    def reach(self) -> int:
        """Voxels around a voxel that its value depends on."""
        return self.conv0.kernel_size[0] // 2 + self.conv1.kernel_size[0] // 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        around = F.relu(self.expand(x), inplace=True)
        return self.norm(F.relu(self.conv1(F.relu(self.conv0(x), inplace=True)) + around, inplace=True))


@register("quality", role="helper", option="regressor")
class QualityRegressor(nn.Module):
    """Expected Dice of each group of structures from a segmentation.

    Args:
        groups: channels of the input and numbers that come out, background included.
        features: channels of the first level; they double.
        levels: number of levels.
        kernel: voxels along each edge of the kernels.
    """

    def __init__(self, groups: int = 9, features: int = 24, levels: int = 4, kernel: int = 5) -> None:
        super().__init__()
        self.groups, self.features, self.levels = groups, features, levels
        widths = [groups, *(features * 2**i for i in range(levels))]
        self.down = nn.ModuleList(
            ResidualLevel(before, after, kernel) for before, after in zip(widths, widths[1:], strict=False)
        )
        self.final0 = nn.Conv3d(widths[-1], groups, kernel, padding=kernel // 2)
        self.final1 = nn.Conv3d(groups, groups, kernel, padding=kernel // 2)

    @classmethod
    def from_card(cls, card: Card) -> QualityRegressor:
        return cls(len(card["labels"]), card.get("features", 24), card.get("levels", 4), card.get("kernel", 5))

    def forward(self, groups: torch.Tensor) -> torch.Tensor:
        """(B, G, X, Y, Z) one-hot groups -> (B, G), 0 or more; meant to be clipped at 1."""
        return self.below(F.max_pool3d(self.down[0](groups), 2, ceil_mode=True))

    def below(self, x: torch.Tensor) -> torch.Tensor:
        """Run the levels below the first, once that is done and halved: (B, F, X/2, Y/2, Z/2) -> (B, G)."""
        for level in list(self.down)[1:]:
            x = F.max_pool3d(level(x), 2, ceil_mode=True)
        return F.relu(self.final1(F.relu(self.final0(x)))).mean((2, 3, 4))
