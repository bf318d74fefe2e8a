"""Textures and noise of SynthFM's library: Perlin, Gaussian, Poisson, speckle, Rician; blur, gradients, intensities.

Everything works on (rows, columns) float32 images on any device. Smooth fields are drawn on the CPU, white noise on the
image's device from a seed.
"""

from __future__ import annotations

import functools
import math

import torch
from torch.nn import functional as F

from napari_synthseg.generator.shapes.curves import enlarge


def perlin(shape: tuple[int, int], cells: float, seed: int, device: torch.device | str = "cpu") -> torch.Tensor:
    """Perlin's gradient noise, as two matrix products, since its weights are separable.

    Args:
        shape: (rows, columns).
        cells: lattice cells along the longer side.
        seed: of the lattice's gradients.
        device: of the result.

    Returns:
        (rows, columns) with mean 0 and standard deviation near 1.
    """
    g = torch.Generator().manual_seed(seed)
    longest = max(shape)
    n = tuple(max(1, math.ceil(cells * size / longest)) + 2 for size in shape)
    angle = 2 * math.pi * torch.rand(n, generator=g)
    (wr, dr), (wc, dc) = (_lattice(size, cells / longest, k, device) for size, k in zip(shape, n, strict=True))
    down, right = torch.sin(angle).to(device), torch.cos(angle).to(device)
    return (dr @ down @ wc.T + wr @ right @ dc.T) * 4.6


def _lattice(size: int, step: float, knots: int, device: torch.device | str) -> tuple[torch.Tensor, torch.Tensor]:
    """Perlin's fading weights of each pixel for the lattice lines, and the weights times the distances from them."""
    at = (torch.arange(size, device=device) + 0.5) * step
    low = at.floor()
    t = at - low
    fade = t**3 * (t * (6 * t - 15) + 10)
    weights, distances = torch.zeros(2, size, knots, device=device)
    for offset, weight, away in ((0, 1 - fade, t), (1, fade, t - 1)):
        where = (low.long() + offset).clamp(max=knots - 1)[:, None]
        weights.scatter_(1, where, weight[:, None])
        distances.scatter_(1, where, (weight * away)[:, None])
    return weights, distances


def fractal(
    shape: tuple[int, int], cells: float, seed: int, device: torch.device | str = "cpu", octaves: int = 3
) -> torch.Tensor:
    """Octaves of Perlin noise, each twice as fine and half as strong; standard deviation near 1."""
    total = torch.zeros(shape, device=device)
    power = 0.0
    for k in range(octaves):
        fineness = cells * 2**k
        if k and fineness > max(shape) / 3:
            break
        total.add_(perlin(shape, fineness, seed + k, device), alpha=0.5**k)
        power += 0.25**k
    return total / math.sqrt(power)


def smooth_field(shape: tuple[int, int], points: int, seed: int, device: torch.device | str = "cpu") -> torch.Tensor:
    """A smooth random field from normal control points; standard deviation below 1."""
    g = torch.Generator().manual_seed(seed)
    return enlarge(torch.randn(points, points, generator=g).to(device), shape)


def white(shape: tuple[int, ...], seed: int, device: torch.device | str = "cpu") -> torch.Tensor:
    """White Gaussian noise, drawn on the device."""
    out = torch.empty(shape, device=device)
    return out.normal_(generator=torch.Generator(device=device).manual_seed(seed))


def grainy(shape: tuple[int, int], grain: float, seed: int, device: torch.device | str = "cpu") -> torch.Tensor:
    """Gaussian noise with standard deviation 1 whose grain is `grain` pixels (standard deviation of its blur)."""
    noise = white(shape, seed, device)
    if grain < 0.3:
        return noise
    kernel = gauss_kernel(grain)
    return blur(noise, grain) / float((kernel**2).sum())


def gaussian(image: torch.Tensor, strength: float, seed: int, grain: float = 0.0) -> torch.Tensor:
    """Additive noise of one standard deviation everywhere."""
    return image + strength * grainy(tuple(image.shape), grain, seed, image.device)  # type: ignore[arg-type]


def poisson(image: torch.Tensor, strength: float, seed: int, grain: float = 0.0) -> torch.Tensor:
    """Counting noise, whose variance grows with the intensity (normal approximation, strength at intensity 1)."""
    noise = grainy(tuple(image.shape), grain, seed, image.device)  # type: ignore[arg-type]
    return image + strength * image.clamp(min=0).sqrt() * noise


def speckle(image: torch.Tensor, strength: float, seed: int, grain: float = 0.0) -> torch.Tensor:
    """Multiplicative noise."""
    noise = grainy(tuple(image.shape), grain, seed, image.device)  # type: ignore[arg-type]
    return image * (1 + strength * noise)


def rician(image: torch.Tensor, strength: float, seed: int, grain: float = 0.0) -> torch.Tensor:
    """Magnitude of a signal with Gaussian noise in both channels, as of MR."""
    shape: tuple[int, int] = tuple(image.shape)  # type: ignore[assignment]
    real = image + strength * grainy(shape, grain, seed, image.device)
    return torch.hypot(real, strength * grainy(shape, grain, seed + 1, image.device))


def perlin_noise(image: torch.Tensor, strength: float, seed: int, grain: float = 0.0) -> torch.Tensor:
    """Additive Perlin noise, coarse where the grain is coarse."""
    longest = max(image.shape)
    cells = longest / (6 + 30 * grain)
    return image + strength * perlin(tuple(image.shape), cells, seed, image.device)  # type: ignore[arg-type]


def add_noise(image: torch.Tensor, name: str, strength: float, seed: int, grain: float = 0.0) -> torch.Tensor:
    """Noise from the library.

    Args:
        image: (rows, columns), about [0, 1].
        name: one of `contrasts.NOISES`.
        strength: standard deviation at intensity 1.
        seed: of the noise.
        grain: correlation of the noise, pixels.
    """
    return _LIBRARY[name](image, strength, seed, grain)


_LIBRARY = {
    "gaussian": gaussian,
    "poisson": poisson,
    "perlin": perlin_noise,
    "speckle": speckle,
    "rician": rician,
}


@functools.lru_cache(maxsize=64)
def gauss_kernel(sigma: float) -> torch.Tensor:
    """A normalised Gaussian out to three standard deviations."""
    reach = max(1, math.ceil(3 * sigma))
    k = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
    return k / k.sum()


def blur(image: torch.Tensor, sigma: float | tuple[float, float]) -> torch.Tensor:
    """Gaussian blur of (..., rows, columns) by a standard deviation in pixels, or one for each axis.

    Wide blurs are computed on a coarser grid, where they are as good.
    """
    rows, columns = sigma if isinstance(sigma, tuple) else (sigma, sigma)
    if min(rows, columns) >= 6:
        h, w = image.shape[-2:]
        whole = F.pad(image.reshape(-1, 1, h, w), (0, -w % 4, 0, -h % 4), mode="replicate")
        coarse = blur(F.avg_pool2d(whole, 4), (rows / 4, columns / 4))
        return F.interpolate(coarse, scale_factor=4, mode="bilinear")[..., :h, :w].reshape(image.shape)
    out = image.reshape(-1, 1, *image.shape[-2:])
    for axis, s in ((0, rows), (1, columns)):
        if s < 0.2:
            continue
        k = gauss_kernel(round(s, 2)).to(image.device)
        reach = len(k) // 2
        pad = (0, 0, reach, reach) if axis == 0 else (reach, reach, 0, 0)
        out = F.conv2d(F.pad(out, pad, mode="replicate"), k.view(1, 1, *((-1, 1) if axis == 0 else (1, -1))))
    return out.reshape(image.shape)


def ramps(shape: tuple[int, int], device: torch.device | str = "cpu") -> tuple[torch.Tensor, torch.Tensor]:
    """Positions along rows (rows, 1) and columns (1, columns), -0.5 to 0.5 along the longer side, for gradients."""
    longest = max(shape)
    rows = (torch.arange(shape[0], device=device) + 0.5 - shape[0] / 2) / longest
    columns = (torch.arange(shape[1], device=device) + 0.5 - shape[1] / 2) / longest
    return rows[:, None], columns[None]


def windowed(image: torch.Tensor, low: float = 0.005, high: float = 0.995) -> torch.Tensor:
    """Rescale so that two quantiles, taken from a sparse sample, become 0 and 1; clip. Constant images become 0."""
    step = max(1, min(image.shape) // 128)
    a, b = torch.quantile(image[::step, ::step].flatten(), torch.tensor([low, high], device=image.device)).tolist()
    if b - a < 1e-6:
        return torch.zeros_like(image)
    return ((image - a) / (b - a)).clamp_(0, 1)
