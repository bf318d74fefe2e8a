"""A U-Net whose trunk works at half the resolution of its input and output: the building block of the fast network.

A strided stem halves the grid, an encoder-decoder works there, and a 1x1x1 convolution predicts all eight sub-voxel
positions at once, which a 3D pixel shuffle puts in place.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from napari_synthseg.networks.layers import InstanceNorm


class ConvNorm(nn.Sequential):
    """3x3x3 convolution, instance norm, ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(
            nn.Conv3d(inputs, outputs, 3, padding=1, bias=False), InstanceNorm(outputs), nn.ReLU(inplace=True)
        )


class SubvoxelUNet(nn.Module):
    """Half-resolution encoder-decoder with a sub-voxel head.

    Args:
        n_labels: K, output channels.
        features: channels at each level of the trunk, finest first.
        prior_channels: channels of an optional prior on the trunk's grid; 0 for none.
        field: trunk voxels of a fixed field of view, which then gets a learned positional term; None for any size.
        in_channels: of the input; the image comes first.
    """

    def __init__(
        self,
        n_labels: int,
        features: Sequence[int] = (32, 64, 128, 160),
        prior_channels: int = 0,
        field: tuple[int, int, int] | None = None,
        in_channels: int = 1,
    ) -> None:
        super().__init__()
        self.n_labels = n_labels
        self.features = tuple(features)
        self.stem = nn.Conv3d(in_channels, features[0], 4, stride=2, padding=1)
        self.prior = nn.Conv3d(prior_channels, features[0], 1, bias=False) if prior_channels else None
        self.encoders = nn.ModuleList()
        self.decoders = nn.ModuleList()
        self.ups = nn.ModuleList()
        for i, f in enumerate(features):
            self.encoders.append(
                ConvNorm(f, f) if i == 0 else nn.Sequential(ConvNorm(features[i - 1], f), ConvNorm(f, f))
            )
        for i in range(len(features) - 1):
            self.ups.append(nn.Conv3d(features[i + 1], features[i], 1, bias=False))
            self.decoders.append(nn.Sequential(ConvNorm(features[i], features[i]), ConvNorm(features[i], features[i])))
        self.head = nn.Conv3d(features[0], 8 * n_labels, 1)
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]
        self.place: nn.Parameter | None = None
        self.position: nn.Parameter | None = None
        if field is not None:
            scale = 2 ** (len(features) - 1)
            self.place = nn.Parameter(torch.zeros(1, features[-1], *(n // scale for n in field)))
            self.position = nn.Parameter(torch.zeros(1, n_labels, *(n // 4 for n in field)))

    @torch.no_grad()
    def additional_levels(self, levels: int) -> dict[str, torch.Tensor]:
        """Return initial weights of the levels beyond the first `levels` that add nothing to what those compute."""
        for level in range(levels - 1, len(self.ups)):
            nn.init.zeros_(self.ups[level].weight)  # type: ignore[arg-type]
            for block in self.decoders[level]:  # type: ignore[union-attr, attr-defined]
                nn.init.dirac_(block[0].weight)
        first = {"encoders": levels, "ups": levels - 1, "decoders": levels - 1}
        parts = {name: name.split(".") for name in self.state_dict()}
        new = {name for name, (part, *rest) in parts.items() if part in first and int(rest[0]) >= first[part]}
        return {name: tensor for name, tensor in self.state_dict().items() if name in new}

    @property
    def multiple(self) -> int:
        return 2 ** len(self.features)

    def trunk(self, image: torch.Tensor, prior: torch.Tensor | None = None) -> torch.Tensor:
        """(B, C, 2X, 2Y, 2Z) image and (B, P, X, Y, Z) prior -> (B, F, X, Y, Z) features."""
        x = self.stem(image)
        return self.body(x if self.prior is None else x + self.prior(prior))

    def body(self, x: torch.Tensor) -> torch.Tensor:
        """Run the trunk behind its stem: (B, F, X, Y, Z), the sum of stem and prior -> the same shape."""
        x = F.relu(x)
        skips = []
        for i, encoder in enumerate(self.encoders):
            if i:
                skips.append(x)
                x = F.max_pool3d(x, 2)
            x = encoder(x)
        if self.place is not None:
            x = x + self.place
        for i in reversed(range(len(self.ups))):
            x = skips[i] + F.interpolate(self.ups[i](x), scale_factor=2, mode="nearest")
            x = self.decoders[i](x)
        return x

    def bias(self, shape: Sequence[int]) -> torch.Tensor | float:
        """Return the positional term of the logits on the trunk's grid, (1, K, X, Y, Z), or 0."""
        if self.position is None:
            return 0.0
        return F.interpolate(self.position, size=tuple(shape), mode="trilinear", align_corners=False)

    def logits_at(self, features: torch.Tensor, position: int) -> torch.Tensor:
        """Return the logits of one of the eight sub-voxel positions, (B, K, X, Y, Z); `position` = 4 dx + 2 dy + dz."""
        k = self.n_labels
        w = self.head.weight[position * k : (position + 1) * k]
        b = self.head.bias[position * k : (position + 1) * k] if self.head.bias is not None else None
        return F.conv3d(features, w, b) + self.bias(features.shape[2:])

    def forward(self, image: torch.Tensor, prior: torch.Tensor | None = None) -> torch.Tensor:
        """Compute logits (B, K, X, Y, Z) at the input's resolution.

        Args:
            image: (B, C, X, Y, Z) in [0, 1]; sizes are multiples of `multiple`.
            prior: (B, P, X/2, Y/2, Z/2) if the network takes one.
        """
        features = self.trunk(image, prior)
        b, _, x, y, z = features.shape
        out = features.new_empty(b, self.n_labels, 2 * x, 2 * y, 2 * z)
        for p in range(8):
            out[:, :, p >> 2 :: 2, (p >> 1) & 1 :: 2, p & 1 :: 2] = self.logits_at(features, p)
        return out


def subvoxel(volume: torch.Tensor, position: int) -> torch.Tensor:
    """Return every second voxel of the last three axes, starting at sub-voxel position 4 dx + 2 dy + dz."""
    return volume[..., position >> 2 :: 2, (position >> 1) & 1 :: 2, position & 1 :: 2]
