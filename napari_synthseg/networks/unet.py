"""SynthSeg's U-Net and SynthSeg+'s denoiser: levels of convolutions on the way down and up again.

Levels, skips and order are the reference implementation's: a skip connection carries a level's last convolution after
its ELU and before its batch norm, concatenated as (skip, upsampled); upsampling is nearest neighbor.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import nn
from torch.nn import functional as F

from napari_synthseg.networks.layers import convolve_upsampled, folded
from napari_synthseg.networks.registry import Card, register


class Level(nn.Module):
    """One or two convolutions with ELU; the batch norm that follows is applied by the caller, after the skip."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, convolutions: int = 2) -> None:
        super().__init__()
        self.conv0 = nn.Conv3d(inputs, outputs, kernel, padding=kernel // 2)
        if convolutions == 2:
            self.conv1 = nn.Conv3d(outputs, outputs, kernel, padding=kernel // 2)
        self.norm = nn.BatchNorm3d(outputs, eps=1e-3, momentum=0.01)

    @property
    def convolutions(self) -> tuple[nn.Conv3d, ...]:
        """In the order in which they run."""
        return (self.conv0, self.conv1) if hasattr(self, "conv1") else (self.conv0,)

    @property
    def reach(self) -> int:
        """Voxels around a voxel that its value depends on."""
        return sum(conv.kernel_size[0] // 2 for conv in self.convolutions)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for conv in self.convolutions:
            x = F.elu(conv(x), inplace=True)
        return x

    def join(self, skip: torch.Tensor | None, x: torch.Tensor) -> torch.Tensor:
        """Run the level on (skip, x upsampled by two) without making the upsampled image, to save memory."""
        weight, bias, edge = self.conv0.weight, self.conv0.bias, self.conv0.kernel_size[0]
        own = weight.shape[1] - x.shape[1]
        out = convolve_upsampled(x, folded(weight[:, own:]))
        if skip is not None:
            out = F.conv3d(skip, weight[:, :own], bias, padding=edge // 2).add_(out)
        else:
            out = out + bias.view(1, -1, 1, 1, 1)  # type: ignore[union-attr]
        out = F.elu(out, inplace=True)
        for conv in self.convolutions[1:]:
            out = F.elu(conv(out), inplace=True)
        return out


class EncoderDecoder(nn.Module):
    """Levels down, levels up, a 1^3 convolution and a softmax.

    Args:
        labels: how many channels come out (K), or the sorted label values.
        widths: channels of each level, top one first; two levels or more.
        in_channels: channels of the input.
        kernel: voxels along each edge of the kernels.
        convolutions: of a level, 1 or 2.
        connected: levels (0 is the top one) with a skip connection; all by default.
    """

    def __init__(
        self,
        labels: int | Sequence[int],
        widths: Sequence[int],
        *,
        in_channels: int = 1,
        kernel: int = 3,
        convolutions: int = 2,
        connected: Collection[int] | None = None,
    ) -> None:
        super().__init__()
        self.labels = tuple(range(labels)) if isinstance(labels, int) else tuple(labels)
        self.widths, self.in_channels = tuple(widths), in_channels
        self.levels = len(self.widths)
        self.connected = frozenset(range(self.levels - 1) if connected is None else connected)
        before = (in_channels, *self.widths)
        self.down = nn.ModuleList(Level(before[i], w, kernel, convolutions) for i, w in enumerate(self.widths))
        self.up = nn.ModuleList(
            Level(self.widths[i + 1] + (i in self.connected) * self.widths[i], self.widths[i], kernel, convolutions)
            for i in reversed(range(self.levels - 1))
        )
        self.likelihood = nn.Conv3d(self.widths[0], len(self.labels), 1)
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    @property
    def multiple(self) -> int:
        """Input sizes must be multiples of this."""
        return 2 ** (self.levels - 1)

    @property
    def streamable(self) -> tuple[EncoderDecoder, ...]:
        """The networks in a row that can be computed in slabs: this one."""
        return (self,)

    # The top level apart from the others, so that it can be computed in slabs (it holds nearly all of the memory).

    def enter(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Run the top level on the way down: (B, C, X, Y, Z) -> its features (before the norm), and half-size ones."""
        skip = self.down[0](image)
        return skip, F.max_pool3d(self.down[0].norm(skip), 2)  # type: ignore[operator]

    def deep(self, x: torch.Tensor) -> torch.Tensor:
        """Run all levels below the top one, down and up: (B, F0, X/2, ...) -> (B, F1, X/2, ...)."""
        skips: list[torch.Tensor | None] = []
        for i in range(1, self.levels):
            x = self.down[i](x)
            last = i == self.levels - 1
            if not last:
                skips.append(x if i in self.connected else None)
            x = self.down[i].norm(x)  # type: ignore[operator]
            if not last:
                x = F.max_pool3d(x, 2)
        for level in list(self.up)[:-1]:
            x = self._climb(level, skips.pop(), x)
        return x

    def leave(self, skip: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Run the top level on the way up, from its features and the output of `deep` -> (B, K, X, Y, Z)."""
        return self.likelihood(self._climb(self.up[-1], skip if 0 in self.connected else None, x))

    @staticmethod
    def _climb(level: nn.Module, skip: torch.Tensor | None, x: torch.Tensor) -> torch.Tensor:
        if not torch.is_grad_enabled() and len(x) == 1:
            return level.norm(level.join(skip, x))  # type: ignore[operator]
        x = F.interpolate(x, scale_factor=2, mode="nearest")
        if skip is not None:
            x = torch.cat([skip, x], 1)
        return level.norm(level(x))  # type: ignore[operator]

    def logits(self, image: torch.Tensor) -> torch.Tensor:
        """(B, C, X, Y, Z) -> (B, K, X, Y, Z) before the softmax."""
        skip, half = self.enter(image)
        return self.leave(skip, self.deep(half))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(B, C, X, Y, Z) -> (B, K, X, Y, Z) posteriors, float32 also under autocast."""
        logits = self.logits(image)
        return (logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits).softmax(1)


@register("unet", reference="full")
@register("parcellation", role="helper", option="parcellation")
class UNet3d(EncoderDecoder):
    """Five levels of two 3^3 convolutions, 24 features doubling, batch norm after each level, softmax.

    Args:
        n_labels: K, or the sorted label values.
        features: channels of the first level.
        levels: number of levels.
        in_channels: channels of the input.
    """

    def __init__(
        self, n_labels: int | Sequence[int] = 33, features: int = 24, levels: int = 5, in_channels: int = 1
    ) -> None:
        super().__init__(n_labels, [features * 2**i for i in range(levels)], in_channels=in_channels)
        self.features = features

    @classmethod
    def from_card(cls, card: Card) -> UNet3d:
        return cls(card["labels"], card.get("features", 24), card.get("levels", 5), card.get("in_channels", 1))


@register("denoiser", role="part")
class Denoiser(EncoderDecoder):
    """Five levels of 5^3 convolutions; forward takes tissue maps (B, K, X, Y, Z) and gives posteriors of the same.

    Args:
        n_labels: K, or the sorted class numbers; tissue maps have as many channels.
        features: channels of the first level.
        levels: number of levels.
        growth: how many times more channels each level has than the one above; 1 in the paper, 2 in the code.
        convolutions: of a level; 1 in the paper, 2 in the code.
        kernel: voxels along each edge of the kernels.
        unconnected: levels at the top without skip connections.
    """

    def __init__(
        self,
        n_labels: int | Sequence[int] = 5,
        features: int = 16,
        levels: int = 5,
        *,
        growth: int = 1,
        convolutions: int = 1,
        kernel: int = 5,
        unconnected: int = 2,
    ) -> None:
        channels = n_labels if isinstance(n_labels, int) else len(n_labels)
        super().__init__(
            n_labels,
            [features * growth**i for i in range(levels)],
            in_channels=channels,
            kernel=kernel,
            convolutions=convolutions,
            connected=range(unconnected, levels - 1),
        )
        self.features, self.growth, self.unconnected = features, growth, unconnected

    @classmethod
    def from_card(cls, card: Card) -> Denoiser:
        sizes = {name: card[name] for name in ("growth", "convolutions", "kernel", "unconnected") if name in card}
        return cls(card["labels"], card.get("features", 16), card.get("levels", 5), **sizes)
