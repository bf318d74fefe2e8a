"""What looks like white matter lesions and is none: perivascular spaces, and white matter that is not all alike (ours).

Both are put into a head that is drawn already, so that a network learns to leave them alone.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

from napari_synthseg.generator.labelmap import LabelMap

SPACES = 40
"""Perivascular spaces in a crop, at most."""
LENGTH_MM = (3.0, 20.0)
"""Of a space."""
RADIUS_MM = (0.4, 1.3)
"""Of a space; wide ones are rare."""
TEXTURE = 0.03
"""Largest standard deviation of the texture of white matter, of the image's range."""
SCALE_VOXELS = (4, 16)
"""Voxels between the control points of that texture."""
FLUID = (4, 43)
"""What fills the spaces looks like the lateral ventricles."""


def with_perivascular_spaces(
    labels: torch.Tensor, label_map: LabelMap, white: torch.Tensor, spacing: float, generator: torch.Generator
) -> torch.Tensor:
    """Deformed labels with thin straight tubes of fluid in white matter.

    Args:
        labels: (X, Y, Z) uint8 indices into the map's table.
        label_map: with that table.
        white: (X, Y, Z) bool, white matter without lesions; only there tubes are drawn.
        spacing: of voxels, mm.
        generator: a CPU generator; its state moves on.

    Returns:
        (X, Y, Z) uint8; the same tensor where there is no white matter or no fluid.
    """
    u = torch.rand(SPACES, 3, generator=generator)
    count = int(torch.randint(SPACES + 1, (1,), generator=generator))
    turns = torch.randn(SPACES, 3, generator=generator)
    fluid = [label_map.values.index(value) for value in FLUID if value in label_map.values]
    where = white.nonzero()
    if not len(where) or not fluid or not count:
        return labels
    out = labels.clone()
    shape = torch.tensor(labels.shape, device=labels.device)
    for (a, b, c), turn in zip(u[:count].tolist(), turns[:count], strict=True):
        start = where[int(a * len(where))].float()
        length = (LENGTH_MM[0] + (LENGTH_MM[1] - LENGTH_MM[0]) * b) / spacing
        radius = (RADIUS_MM[0] + (RADIUS_MM[1] - RADIUS_MM[0]) * c**2) / spacing
        line = torch.arange(0, length, 0.5)[:, None] * F.normalize(turn, dim=0)
        ball = _ball(radius)
        at = (start + line.to(start.device))[:, None] + ball.to(start.device)
        at = at.round().long().reshape(-1, 3)
        at = at[((at >= 0) & (at < shape)).all(1)]
        at = at[white[tuple(at.T)]]
        out[tuple(at.T)] = fluid[0]
    return out


def _ball(radius: float) -> torch.Tensor:
    """(N, 3) offsets within a radius, half a voxel apart; one of them is 0."""
    steps = torch.arange(-round(2 * radius), round(2 * radius) + 1) / 2
    grid = torch.stack(torch.meshgrid(steps, steps, steps, indexing="ij"), -1).reshape(-1, 3)
    return grid[grid.norm(dim=1) <= radius]


def with_texture(image: torch.Tensor, white: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """An image whose white matter has a smooth texture of its own.

    Args:
        image: (X, Y, Z) in [0, 1].
        white: (X, Y, Z) bool, white matter with its lesions.
        generator: a CPU generator; its state moves on.
    """
    strength, scale = torch.rand(2, generator=generator).tolist()
    step = SCALE_VOXELS[0] + (SCALE_VOXELS[1] - SCALE_VOXELS[0]) * scale
    points = [max(2, round(n / step) + 1) for n in image.shape]
    knots = torch.randn(1, 1, *points, generator=generator).to(image.device)
    field = F.interpolate(knots, size=image.shape, mode="trilinear", align_corners=True)[0, 0]
    soft = F.avg_pool3d(white[None, None].float(), 3, 1, 1)[0, 0]
    return image + TEXTURE * strength**2 * field * soft
