"""Learn2Synth's augmenters A_theta: what is added to synthetic images, with parameters that real ones teach.

All are residual (an image plus something), for images (B, 1, X, Y) or (B, 1, X, Y, Z) with intensities around [0, 1],
and take what is random in them from a CPU generator: the same on every device. "Parametric" are the deviations of noise
and of a bias field, "nonparametric" a small U-Net followed by noise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn
from torch.nn import functional as F

SPREAD = 0.5
"""Where deviations vary from image to image, they start from this share below to this share above the middle."""
POINTS = 4
"""Control points of the bias field an axis."""
LINEAR = {2: "bilinear", 3: "trilinear"}
"""torch's name of linear interpolation, by dimensions."""


class Strength(nn.Module):
    """A learned standard deviation: one for all images, or one for each, uniform between two learned ends.

    Its sign means nothing, since what it multiplies is as often negative as positive; so it may cross zero. `start` is
    the deviation at the beginning, or the middle of the ends.
    """

    def __init__(self, start: float, varying: bool = False) -> None:
        super().__init__()
        self.ends = nn.Parameter(torch.tensor([start * (1 - SPREAD), start * (1 + SPREAD)] if varying else [start]))

    def forward(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Draw deviations for a batch: (B, 1, 1, ...) with as many axes as the images."""
        where = torch.rand(len(images), generator=generator, dtype=images.dtype).to(images.device)
        ends = self.ends.to(images.dtype)
        return (ends[0] + where * (ends[-1] - ends[0])).view(-1, *[1] * (images.dim() - 1))

    def figures(self, name: str) -> dict[str, float]:
        ends = self.ends.detach().abs().tolist()
        return {name: ends[0]} if len(ends) == 1 else {f"{name}_low": min(ends), f"{name}_high": max(ends)}


class Unchanged(nn.Module):
    """Adds nothing and learns nothing: SynthSeg as it is ("naive")."""

    def forward(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return images

    def figures(self) -> dict[str, float]:
        return {}


class Noise(nn.Module):
    """White Gaussian noise of learned deviation (`sigma` at first, intensities in [0, 1]): x + sigma e."""

    def __init__(self, sigma: float = 0.05, varying: bool = False) -> None:
        super().__init__()
        self.sigma = Strength(sigma, varying)

    def forward(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return images + self.sigma(images, generator) * drawn(images.shape, images, generator)

    def figures(self) -> dict[str, float]:
        return self.sigma.figures("sigma")


class NoiseAndBias(nn.Module):
    """A smooth bias field of learned deviation, then noise: x exp(b) + sigma e.

    `bias` is the deviation of the logarithm of the field's control points at the beginning.
    """

    def __init__(self, sigma: float = 0.05, bias: float = 0.1, varying: bool = False) -> None:
        super().__init__()
        self.noise, self.bias = Noise(sigma, varying), Strength(bias, varying)

    def forward(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        strength = self.bias(images, generator)
        dimensions = images.dim() - 2
        knots = drawn((len(images), 1, *[POINTS] * dimensions), images, generator)
        field = F.interpolate(knots, images.shape[2:], mode=LINEAR[dimensions], align_corners=True)
        return self.noise(images + images * torch.expm1(strength * field), generator)

    def figures(self) -> dict[str, float]:
        return {**self.noise.figures(), **self.bias.figures("bias")}


class UNetAndNoise(nn.Module):
    """The residual of a small U-Net for 2 or 3 dimensions, zero at the beginning, then noise: x + U(x) + sigma e."""

    def __init__(self, dimensions: int, sigma: float = 0.05, varying: bool = False) -> None:
        super().__init__()
        self.residual = SmallUNet(dimensions, 1, 1, (16, 16))
        nn.init.zeros_(self.residual.last.weight)
        nn.init.zeros_(self.residual.last.bias)  # type: ignore[arg-type]
        self.noise = Noise(sigma, varying)

    def forward(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return self.noise(images + self.residual(images), generator)

    def figures(self) -> dict[str, float]:
        """Return the deviation of the noise, and how strongly the U-Net's last layer speaks."""
        return {**self.noise.figures(), "residual": float(self.residual.last.weight.detach().norm())}


Augmenter = Unchanged | Noise | NoiseAndBias | UNetAndNoise


def drawn(shape: tuple[int, ...], like: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Draw standard normal numbers from a CPU generator, of an image's kind and on its device."""
    return torch.randn(shape, generator=generator, dtype=like.dtype).to(like.device)


def build_augmenter(name: str, dimensions: int, sigma: float = 0.05, varying: bool = False) -> Augmenter:
    """Build an augmenter for images of 2 or 3 dimensions: none, noise, bias (noise, bias field) or unet (U-Net, noise).

    `sigma` is the deviation of the noise at the beginning; with `varying`, deviations vary from image to image.

    Raises:
        KeyError: no such augmenter.
    """
    known: dict[str, Callable[[], Augmenter]] = {
        "none": Unchanged,
        "noise": lambda: Noise(sigma, varying),
        "bias": lambda: NoiseAndBias(sigma, varying=varying),
        "unet": lambda: UNetAndNoise(dimensions, sigma, varying=varying),
    }
    return known[name]()


CONVOLUTIONS = {2: nn.Conv2d, 3: nn.Conv3d}
NORMS = {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}


class SmallUNet(nn.Module):
    """Two convolutions of 3 voxels with ELU at each scale, half as many voxels a side from one to the next.

    Args:
        dimensions: of the images, 2 or 3.
        inputs: channels that come in.
        outputs: channels that go out, without a softmax.
        features: channels at each scale, the finest one first; one scale less than there are numbers is skipped to.
        norm: instance normalization after each scale's convolutions.
    """

    def __init__(
        self, dimensions: int, inputs: int, outputs: int, features: Sequence[int] = (16, 16), norm: bool = False
    ) -> None:
        super().__init__()
        self.dimensions = dimensions
        before = (inputs, *features)
        self.down = nn.ModuleList(self._scale(before[i], n, norm) for i, n in enumerate(features))
        pairs = list(zip(features, features[1:], strict=False))
        self.up = nn.ModuleList(self._scale(fine + coarse, fine, norm) for fine, coarse in reversed(pairs))
        self.last = CONVOLUTIONS[dimensions](features[0], outputs, 1)

    def _scale(self, inputs: int, outputs: int, norm: bool) -> nn.Sequential:
        convolution = CONVOLUTIONS[self.dimensions]
        first, second = convolution(inputs, outputs, 3, padding=1), convolution(outputs, outputs, 3, padding=1)
        last = [NORMS[self.dimensions](outputs, affine=True)] if norm else []
        return nn.Sequential(first, nn.ELU(), second, nn.ELU(), *last)

    @property
    def multiple(self) -> int:
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
