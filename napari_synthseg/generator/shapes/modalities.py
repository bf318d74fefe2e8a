"""What a modality looks like, from intensities of regions alone: no real image is used.

CT windows, ultrasound speckle, shadows and fans, X-ray projections, light microscopy (MR needs no more than the bias
field and Rician noise of `textures`). The paper has none of these; each takes the region intensities (rows, columns)
and uniform numbers of the record.
"""

from __future__ import annotations

import math

import torch
from torch.nn import functional as F

from napari_synthseg.generator.shapes.curves import Outline, curve, fill
from napari_synthseg.generator.shapes.textures import blur, fractal, smooth_field, white

Values = tuple[float, ...]


def fan(rows: int, columns: int, values: Values) -> tuple[float, float, float, float, float] | None:
    """The geometry of a curved or phased probe, or None for a linear one.

    Returns:
        Row and column of the apex, nearest and farthest distance, half the opening angle; pixels and radians.
    """
    if values[0] < 0.5:
        return None
    half = math.radians(25 + 30 * values[1])
    nearest = rows * (0.02 + 0.45 * values[2] ** 2)
    apex_row = rows * 0.02 - nearest * math.cos(half)
    return apex_row, columns * (0.46 + 0.08 * values[3]), nearest, rows * 0.98 - apex_row, half


def polar(rows: int, columns: int, probe: tuple, device: torch.device | str) -> tuple[torch.Tensor, torch.Tensor]:
    """Depth (0 to 1) and angle (-1 to 1) of every pixel, both (rows, columns); the fan is where both lie inside."""
    apex_row, apex_column, nearest, farthest, half = probe
    down = torch.arange(rows, device=device)[:, None] + 0.5 - apex_row
    right = torch.arange(columns, device=device)[None] + 0.5 - apex_column
    depth = (torch.hypot(down, right) - nearest) / (farthest - nearest)
    return depth, torch.atan2(right, down) / half


def field_of_view(rows: int, columns: int, values: Values, device: torch.device | str) -> torch.Tensor | None:
    """(rows, columns) bool, True where a curved probe sees something; None for a linear one, which sees all."""
    probe = fan(rows, columns, values)
    if probe is None:
        return None
    depth, angle = polar(rows, columns, probe, device)
    return (depth >= 0) & (depth <= 1) & (angle.abs() <= 1)


def ultrasound(image: torch.Tensor, values: Values, seed: int) -> torch.Tensor:
    """Echoes: bright interfaces across the beam, attenuation and shadows below, speckle, logarithmic compression.

    Args:
        image: intensities of the regions, [0, 1]: how strongly each scatters.
        values: uniform numbers of the record.
        seed: of speckle and shadows.
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


def _shadows(angle: torch.Tensor, depth: torch.Tensor, values: Values, seed: int) -> torch.Tensor:
    """Decibels lost in up to three shadows, each from some depth on and with soft edges."""
    g = torch.Generator().manual_seed(seed + 1)
    lost = torch.zeros_like(angle)
    for at, wide, top, dark in torch.rand(round(3 * values[10] ** 2), 4, generator=g).tolist():
        profile = torch.sigmoid((0.03 + 0.12 * wide - (angle - (1.8 * at - 0.9)).abs()) * 40)
        lost += (8 + 22 * dark) * profile * torch.sigmoid((depth - 0.1 - 0.6 * top) * 25)
    return lost


def ct(image: torch.Tensor, values: Values, seed: int) -> torch.Tensor:
    """A window around soft tissue, with streaks now and then; what is outside the window becomes black or white."""
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


def xray(image: torch.Tensor, values: Values, seed: int) -> torch.Tensor:
    """A projection: other structures, ribs or bowel, are seen through what is in the image, with soft edges."""
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


def microscopy(image: torch.Tensor, values: Values, seed: int) -> torch.Tensor:
    """Light through cells (halos at their edges, uneven light), or cells that glow on black."""
    rows, columns = image.shape
    light = smooth_field((rows, columns), 3, seed, image.device)
    scale = max(0.8, 0.006 * max(rows, columns) * (0.4 + values[1]))
    if values[0] < 0.45:
        glow = (image - image.amin()) ** (1.0 + values[2])
        haze = blur(glow, 6 * scale)
        return 0.02 + (glow + (0.1 + 0.3 * values[3]) * haze) * (1 + 0.25 * values[4] * light)
    halo = image - blur(image, 2 * scale)
    return (image + (0.3 + 1.5 * values[2]) * halo) * (1 + 0.3 * values[3] * light)
