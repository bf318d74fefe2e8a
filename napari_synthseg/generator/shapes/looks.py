"""Looks of a scene: the noises of SynthFM's library, and what modalities make of the intensities of regions.

Everything works on (rows, columns) float32 images on any device. Smooth fields are drawn on the CPU, white noise on the
image's device from a seed. The looks of modalities are ours, and use no real image: CT windows, ultrasound speckle,
shadows and fans, X-ray projections, light microscopy (MR needs no more than a bias field and Rician noise).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import torch
from torch.nn import functional as F

from napari_synthseg.generator.shapes.curves import curve, enlarge, fill
from napari_synthseg.generator.shapes.layout import Floats, Outline

WINDOW = (0.005, 0.995)
"""Quantiles that become 0 and 1."""


def perlin(shape: Sequence[int], cells: float, seed: int, device: torch.device | str = "cpu") -> torch.Tensor:
    """Draw Perlin's gradient noise (rows, columns), mean 0, deviation near 1, as two matrix products.

    `cells` of the lattice lie along the longer side.
    """
    g = torch.Generator().manual_seed(seed)
    longest = max(shape)
    n = tuple(max(1, math.ceil(cells * size / longest)) + 2 for size in shape)
    angle = 2 * math.pi * torch.rand(n, generator=g)
    (wr, dr), (wc, dc) = (_lattice(size, cells / longest, k, device) for size, k in zip(shape, n, strict=True))
    down, right = torch.sin(angle).to(device), torch.cos(angle).to(device)
    return (dr @ down @ wc.T + wr @ right @ dc.T) * 4.6


def _lattice(size: int, step: float, knots: int, device: torch.device | str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return Perlin's fading weights of each pixel for the lattice lines, and these times the distances from them."""
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
    shape: Sequence[int], cells: float, seed: int, device: torch.device | str = "cpu", octaves: int = 3
) -> torch.Tensor:
    """Add octaves of Perlin noise, each twice as fine and half as strong; standard deviation near 1."""
    total, power = torch.zeros(tuple(shape), device=device), 0.0
    for k in range(octaves):
        fineness = cells * 2**k
        if k and fineness > max(shape) / 3:
            break
        total.add_(perlin(shape, fineness, seed + k, device), alpha=0.5**k)
        power += 0.25**k
    return total / math.sqrt(power)


def smooth_field(shape: tuple[int, int], points: int, seed: int, device: torch.device | str = "cpu") -> torch.Tensor:
    """Draw a smooth random field from normal control points; standard deviation below 1."""
    g = torch.Generator().manual_seed(seed)
    return enlarge(torch.randn(points, points, generator=g).to(device), shape)


def white(shape: Sequence[int], seed: int, device: torch.device | str = "cpu") -> torch.Tensor:
    """Draw white Gaussian noise on the device."""
    return torch.empty(tuple(shape), device=device).normal_(generator=torch.Generator(device).manual_seed(seed))


def grainy(shape: Sequence[int], grain: float, seed: int, device: torch.device | str = "cpu") -> torch.Tensor:
    """Draw Gaussian noise of standard deviation 1, blurred by `grain` pixels (standard deviation)."""
    noise = white(shape, seed, device)
    return noise if grain < 0.3 else blur(noise, grain) / float((gauss_kernel(grain) ** 2).sum())


def gaussian(image: torch.Tensor, strength: float, seed: int, grain: float = 0.0) -> torch.Tensor:
    return image + strength * grainy(image.shape, grain, seed, image.device)


def poisson(image: torch.Tensor, strength: float, seed: int, grain: float = 0.0) -> torch.Tensor:
    """Add counting noise, whose variance grows with the intensity (normal approximation, strength at intensity 1)."""
    return image + strength * image.clamp(min=0).sqrt() * grainy(image.shape, grain, seed, image.device)


def speckle(image: torch.Tensor, strength: float, seed: int, grain: float = 0.0) -> torch.Tensor:
    return image * (1 + strength * grainy(image.shape, grain, seed, image.device))


def rician(image: torch.Tensor, strength: float, seed: int, grain: float = 0.0) -> torch.Tensor:
    """Return the magnitude of a signal with Gaussian noise in both channels, as of MR."""
    return torch.hypot(
        gaussian(image, strength, seed, grain), strength * grainy(image.shape, grain, seed + 1, image.device)
    )


def perlin_noise(image: torch.Tensor, strength: float, seed: int, grain: float = 0.0) -> torch.Tensor:
    """Add Perlin noise, coarse where the grain is coarse."""
    return image + strength * perlin(image.shape, max(image.shape) / (6 + 30 * grain), seed, image.device)


LIBRARY = {"gaussian": gaussian, "poisson": poisson, "perlin": perlin_noise, "speckle": speckle, "rician": rician}
"""SynthFM's noises: image (rows, columns) of about [0, 1], strength (at intensity 1), seed, grain (correlation, px)."""


@functools.lru_cache(maxsize=64)
def gauss_kernel(sigma: float) -> torch.Tensor:
    """Return a normalized Gaussian out to three standard deviations."""
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


def ramps(shape: Sequence[int], device: torch.device | str = "cpu") -> tuple[torch.Tensor, torch.Tensor]:
    """Return positions along rows (rows, 1) and columns (1, columns), -0.5 to 0.5 along the longer side."""
    rows, columns = ((torch.arange(n, device=device) + 0.5 - n / 2) / max(shape) for n in shape)
    return rows[:, None], columns[None]


def windowed(image: torch.Tensor) -> torch.Tensor:
    """Rescale so that the `WINDOW` of a sparse sample's quantiles become 0 and 1; clip. Constant images become 0."""
    step = max(1, min(image.shape) // 128)
    a, b = torch.quantile(image[::step, ::step].flatten(), torch.tensor(WINDOW, device=image.device)).tolist()
    if b - a < 1e-6:
        return torch.zeros_like(image)
    return ((image - a) / (b - a)).clamp_(0, 1)


# Modalities


def fan(rows: int, columns: int, values: Floats) -> tuple[float, float, float, float, float] | None:
    """Return row and column of a probe's apex, nearest and farthest distance (pixels) and half its angle (radians).

    None for a linear one.
    """
    if values[0] < 0.5:
        return None
    half = math.radians(25 + 30 * values[1])
    nearest = rows * (0.02 + 0.45 * values[2] ** 2)
    apex_row = rows * 0.02 - nearest * math.cos(half)
    return apex_row, columns * (0.46 + 0.08 * values[3]), nearest, rows * 0.98 - apex_row, half


def polar(rows: int, columns: int, probe: tuple, device: torch.device | str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return depth (0 to 1 in the fan) and angle (-1 to 1) of every pixel, both (rows, columns)."""
    apex_row, apex_column, nearest, farthest, half = probe
    down = torch.arange(rows, device=device)[:, None] + 0.5 - apex_row
    right = torch.arange(columns, device=device)[None] + 0.5 - apex_column
    depth = (torch.hypot(down, right) - nearest) / (farthest - nearest)
    return depth, torch.atan2(right, down) / half


def field_of_view(rows: int, columns: int, values: Floats, device: torch.device | str) -> torch.Tensor | None:
    """Return (rows, columns) bool, True where a curved probe sees something; None for a linear one, which sees all."""
    probe = fan(rows, columns, values)
    if probe is None:
        return None
    depth, angle = polar(rows, columns, probe, device)
    return (depth >= 0) & (depth <= 1) & (angle.abs() <= 1)


def ultrasound(image: torch.Tensor, values: Floats, seed: int) -> torch.Tensor:
    """Make echoes: bright interfaces across the beam, attenuation and shadows below, speckle, logarithmic compression.

    `image` is how strongly each region scatters, [0, 1].
    """
    rows, columns = image.shape
    device = image.device
    probe = fan(rows, columns, values)
    if probe is None:
        depth = (torch.arange(rows, device=device)[:, None] + 0.5).expand(rows, columns) / rows
        angle = ((torch.arange(columns, device=device)[None] + 0.5) / columns * 2 - 1).expand(rows, columns)
        length, width = float(rows), float(columns)
    else:
        depth, angle = polar(rows, columns, probe, device)
        length, width = probe[3] - probe[2], 1.2 * probe[4] * probe[3]
    # Dark regions (fluid) let more through than bright ones: enhancement and shadows below them.
    through = torch.cumsum(image - 0.4, 0) / rows
    decibels = 60 * (image.clamp(0, 1) - 1) - (6 + 40 * values[4] ** 2) * through - 14 * (values[5] - 0.4) * depth
    interface = (image[1:] - image[:-1]).abs()
    decibels[1:] += 30 * values[6] * interface.clamp(max=0.5)
    fine = max(1.0, min(3.5, max(rows, columns) / 300)) * (0.8 + 1.4 * values[7])
    grid = (max(8, round(length / fine)), max(8, round(width / (fine * (1.2 + 2.2 * values[8])))))
    noise = blur(white((2, *grid), seed, device), 0.6)
    noise /= noise.std()
    where = torch.stack([angle, 2 * depth - 1], -1)[None]
    echo = F.grid_sample(noise[None], where, padding_mode="reflection", align_corners=False)[0]
    envelope = (echo.square().sum(0) / 1.2).clamp_(min=1e-4)
    decibels += (0.45 + 0.55 * values[9]) * 10 * torch.log10(envelope)
    decibels -= _shadows(angle, depth, values, seed)
    shown = 40 + 26 * values[11]  # the dynamic range, decibels: narrow ones leave fluid black
    return ((decibels + shown) / (shown + 6)).clamp_(0, 1)


def _shadows(angle: torch.Tensor, depth: torch.Tensor, values: Floats, seed: int) -> torch.Tensor:
    """Return the decibels lost in up to three shadows, each from some depth on and with soft edges."""
    g = torch.Generator().manual_seed(seed + 1)
    lost = torch.zeros_like(angle)
    for at, wide, top, dark in torch.rand(round(3 * values[10] ** 2), 4, generator=g).tolist():
        profile = torch.sigmoid((0.03 + 0.12 * wide - (angle - (1.8 * at - 0.9)).abs()) * 40)
        lost += (8 + 22 * dark) * profile * torch.sigmoid((depth - 0.1 - 0.6 * top) * 25)
    return lost


def ct(image: torch.Tensor, values: Floats, seed: int) -> torch.Tensor:
    """Apply a window around soft tissue, with streaks now and then; the rest becomes black or white."""
    width = 0.4 + 0.9 * values[0]
    sample = image[:: max(1, image.shape[0] // 64), :: max(1, image.shape[1] // 64)]
    level = float(sample[sample > 0.1].median()) if bool((sample > 0.1).any()) else 0.5
    level += 0.3 * (values[1] - 0.5) * width
    seen = (image - level) / width + 0.5
    if values[2] > 0.7:
        turn = math.pi * values[3]
        rows, columns = image.shape
        at = torch.arange(rows, device=image.device)[:, None] * math.sin(turn)
        at = at + torch.arange(columns, device=image.device)[None] * math.cos(turn)
        line = fractal((1, 256), 60, seed, image.device)[0]
        streak = line[((at - at.min()) / (at.max() - at.min()) * 255).long()]
        seen = seen + 0.025 * values[4] * streak
    return seen.clamp(0, 1)


def xray(image: torch.Tensor, values: Floats, seed: int) -> torch.Tensor:
    """Project other structures, ribs or bowel, through what is in the image, with soft edges."""
    g = torch.Generator().manual_seed(seed)
    rows, columns = image.shape
    longer = max(rows, columns)
    extra = torch.zeros_like(image)
    ribs = values[0] < 0.5
    turn = 0.5 * (values[1] - 0.5)
    for i, (u, v, size, amount, form) in enumerate(torch.rand(3 + round(6 * values[2]), 5, generator=g).tolist()):
        outline = Outline(
            row=(0.08 + 0.12 * i + 0.03 * u) if ribs else u * rows / longer,
            column=0.5 * columns / longer if ribs else v * columns / longer,
            radius=0.12 if ribs else 0.04 + 0.16 * size,
            elongation=20 + 15 * form if ribs else 1 + 2 * form,
            angle=turn if ribs else math.pi * form,
            bend=0.5 * values[3] if ribs else 0.5 * form,
            roughness=0.02 if ribs else 0.2,
            anchors=10,
            seed=seed + i,
        )
        found = fill(curve(outline) * longer, (rows, columns), image.device)
        if found is not None:
            extra[found[0]] += (0.3 + 0.7 * amount) * found[1]
    soft = blur(extra, max(0.8, 0.004 * longer))
    thick = smooth_field((rows, columns), 3, seed + 99, image.device)
    return image + (0.05 + 0.2 * values[4]) * soft + 0.12 * thick


def microscopy(image: torch.Tensor, values: Floats, seed: int) -> torch.Tensor:
    """Let light through cells (halos at their edges, uneven light), or let them glow on black."""
    rows, columns = image.shape
    light = smooth_field((rows, columns), 3, seed, image.device)
    scale = max(0.8, 0.006 * max(rows, columns) * (0.4 + values[1]))
    if values[0] < 0.45:
        glow = (image - image.amin()) ** (1.0 + values[2])
        haze = blur(glow, 6 * scale)
        return 0.02 + (glow + (0.1 + 0.3 * values[3]) * haze) * (1 + 0.25 * values[4] * light)
    halo = image - blur(image, 2 * scale)
    return (image + (0.3 + 1.5 * values[2]) * halo) * (1 + 0.3 * values[3] * light)


MODALITIES = {"ultrasound": ultrasound, "ct": ct, "xray": xray, "microscopy": microscopy}
"""What they make of an image, given uniform numbers of the record and a seed."""
