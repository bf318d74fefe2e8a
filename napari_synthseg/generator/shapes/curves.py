"""Shapes in the plane: closed Bezier curves, and label maps of touching regions with gaps (SynthFM's two modules).

Curves are computed on the CPU from a few numbers and filled on any device; label maps are SynthMorph's: one smooth
random field a label, warped by a random diffeomorphism, and the largest wins.
"""

from __future__ import annotations

import math

import torch
from torch.nn import functional as F

from napari_synthseg.generator.shapes.layout import Outline

SQUARINGS = 5
FIELD_GRID = 80
"""Points along the longer side on which label fields are warped; they are far smoother than that."""


def curve(outline: Outline, scale: float = 1.0, steps: int = 12) -> torch.Tensor:
    """Return the points of an outline, (anchors * steps, 2) float64 (row, column), on the CPU.

    With a scale below 1 they lie inside it, for walls and holes.
    """
    g = torch.Generator().manual_seed(outline.seed)
    n = outline.anchors
    u = torch.rand(4, n, generator=g, dtype=torch.float64)
    theta = 2 * math.pi * (torch.arange(n, dtype=torch.float64) + 0.5 * (u[0] - 0.5)) / n
    # Neighboring control points go together (lobes), with some independent roughness.
    wave = sum(
        (math.sqrt(2) / (k - 1)) * torch.cos(k * theta + 2 * math.pi * u[1, k % n]) * (u[2, k % n] - 0.3)
        for k in (2, 3, 4, 5)
    )
    distance = (1 + outline.roughness * (wave + 0.6 * (u[3] - 0.5))).clamp(0.35, 1.9)  # type: ignore[operator]
    anchor = torch.stack([distance * torch.sin(theta), distance * torch.cos(theta)], 1)
    tangent = anchor.roll(-1, 0) - anchor.roll(1, 0)
    reach = (0.14 + 0.06 * u[2])[:, None]
    before, after = anchor - reach * tangent, anchor + reach * tangent
    t = (torch.arange(steps, dtype=torch.float64) / steps)[:, None, None]
    points = (
        (1 - t) ** 3 * anchor
        + 3 * (1 - t) ** 2 * t * after
        + 3 * (1 - t) * t**2 * before.roll(-1, 0)
        + t**3 * anchor.roll(-1, 0)
    )
    across, along = points.transpose(0, 1).reshape(-1, 2).mul(scale * outline.radius).unbind(1)
    stretch = math.sqrt(outline.elongation)
    across, along = across / stretch, along * stretch
    if outline.bend > 0.01:  # onto a circle through the center
        radius = outline.radius * stretch / outline.bend
        turn = along / radius
        across, along = (radius + across) * torch.cos(turn) - radius, (radius + across) * torch.sin(turn)
    c, s = math.cos(outline.angle), math.sin(outline.angle)
    return torch.stack([outline.row + c * across + s * along, outline.column - s * across + c * along], 1)


def fill(
    points: torch.Tensor, shape: tuple[int, int], device: torch.device | str = "cpu"
) -> tuple[tuple[slice, slice], torch.Tensor] | None:
    """Find the pixels of an image (rows, columns) whose centers lie inside a closed polygon, by the even-odd rule.

    `points` (P, 2) are (row, column) in pixels on the CPU; the first pixel reaches from 0 to 1.

    Returns:
        The part of the image that holds the polygon, and a bool mask of that part; None if it lies outside.
    """
    low, high = points.amin(0).floor().long().tolist(), points.amax(0).ceil().long().tolist()
    r0, c0, r1, c1 = max(low[0], 0), max(low[1], 0), min(high[0], shape[0]), min(high[1], shape[1])
    if r1 <= r0 or c1 <= c0:
        return None
    at, end = points, points.roll(-1, 0)  # in double precision on the CPU, so that every device fills the same pixels
    rows = torch.arange(r0, r1, dtype=at.dtype)[:, None] + 0.5
    spans = (at[:, 0] <= rows) != (end[:, 0] <= rows)
    slope = (end[:, 1] - at[:, 1]) / torch.where(end[:, 0] == at[:, 0], 1.0, end[:, 0] - at[:, 0])
    crossing = at[:, 1] + (rows - at[:, 0]) * slope
    column = (crossing - 0.5 - c0).ceil().clamp(0, c1 - c0).long()
    flips = torch.zeros(r1 - r0, c1 - c0 + 1, dtype=torch.int16, device=device)
    flips.scatter_add_(1, column.to(device), spans.to(device, torch.int16))
    inside = flips[:, :-1].cumsum(1, dtype=torch.int16).bitwise_and_(1).bool()
    return (slice(r0, r1), slice(c0, c1)), inside


def spline_matrix(positions: torch.Tensor, knots: int) -> torch.Tensor:
    """Return the (N, knots) weights of a cubic B-spline along one axis; rows sum to 1.

    `positions` (N,) are in units of knots, 0 to knots - 1; end knots are repeated.
    """
    low = positions.floor()
    t = (positions - low).float()
    weights = ((1 - t) ** 3 / 6, (3 * t**3 - 6 * t**2 + 4) / 6, (-3 * t**3 + 3 * t**2 + 3 * t + 1) / 6, t**3 / 6)
    matrix = torch.zeros(len(positions), knots, device=positions.device)
    for offset, weight in zip((-1, 0, 1, 2), weights, strict=True):
        matrix.scatter_add_(1, (low.long() + offset).clamp(0, knots - 1)[:, None], weight[:, None])
    return matrix


def enlarge(field: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
    """Interpolate a field (..., h, w) smoothly to (..., rows, columns); both cover the same extent."""
    up_rows, up_columns = (_enlarging(n, k, field.device) for n, k in zip(shape, field.shape[-2:], strict=True))
    return torch.matmul(torch.matmul(up_rows, field), up_columns.T)


def _enlarging(size: int, knots: int, device: torch.device) -> torch.Tensor:
    return spline_matrix((torch.arange(size, device=device) + 0.5) / size * (knots - 1), knots)


def diffeomorphism(std: float, points: int, seed: int, grid: tuple[int, int], side: float = 1.0) -> torch.Tensor:
    """Draw a displacement field (2, rows, columns) on the CPU: a stationary velocity field by scaling and squaring.

    The velocity has the standard deviation `std` (a fraction of the longer side, which is `side` in the units of the
    result) at `points` control points along the longer side.
    """
    g = torch.Generator().manual_seed(seed)
    knots = tuple(max(3, round(points * n / max(grid))) for n in grid)
    velocity = enlarge(std * torch.randn(2, *knots, generator=g), grid)
    base, to_unit = _sampling(grid)
    u = velocity / 2**SQUARINGS
    for _ in range(SQUARINGS):
        where = base + u.flip(0).permute(1, 2, 0) * to_unit
        u = u + F.grid_sample(u[None], where[None], padding_mode="border", align_corners=True)[0]
    return u * side


def _sampling(grid: tuple[int, int], device: torch.device | str = "cpu") -> tuple[torch.Tensor, torch.Tensor]:
    """Return `grid_sample`'s coordinates of a grid (h, w, 2), and the factors from the longer side to them."""
    axes = [torch.linspace(-1, 1, n, device=device) for n in grid]
    to_unit = torch.tensor([2.0 * max(grid) / grid[1], 2.0 * max(grid) / grid[0]], device=device)
    return torch.stack(torch.meshgrid(*axes, indexing="ij")[::-1], -1), to_unit


def moved(points: torch.Tensor, displacement: torch.Tensor, extent: tuple[float, float]) -> torch.Tensor:
    """Displace points (P, 2) (row, column) by a field (2, h, w) that covers the extent, in the units of the points."""
    where = torch.stack([points[:, 1] / extent[1], points[:, 0] / extent[0]], -1).float() * 2 - 1
    shift = F.grid_sample(displacement[None], where[None, None], padding_mode="border", align_corners=True)[0, :, 0]
    return points + shift.T.double()


def touching_regions(
    count: int, points: float, seed: int, displacement: torch.Tensor, shape: tuple[int, int], device: torch.device | str
) -> torch.Tensor:
    """Draw a label map (rows, columns) uint8 like SynthMorph's: the largest of `count` smooth random fields, warped.

    Fields have `points` control points along the longer side, and are warped on the grid of `displacement` (2, h, w),
    fractions of the longer side.
    """
    g = torch.Generator().manual_seed(seed)
    grid = (displacement.shape[1], displacement.shape[2])
    knots = tuple(max(2, math.ceil(points * n / max(grid))) + 2 for n in grid)
    fields = enlarge(torch.randn(count, *knots, generator=g).to(device), grid)
    base, to_unit = _sampling(grid, device)
    where = base + displacement.to(device).flip(0).permute(1, 2, 0) * to_unit
    fields = F.grid_sample(fields[None], where[None], padding_mode="reflection", align_corners=True)[0]
    up_rows, up_columns = (_enlarging(n, k, fields.device) for n, k in zip(shape, grid, strict=True))
    best = torch.full(shape, -torch.inf, device=device)
    labels = torch.zeros(shape, dtype=torch.uint8, device=device)
    for i, field in enumerate(fields):  # one at a time: 26 fields of 1024 x 1024 would not stay in any cache
        full = up_rows @ field @ up_columns.T
        labels.masked_fill_(full > best, i)
        best = torch.maximum(best, full)
    return labels


def gaps(labels: torch.Tensor, reach: torch.Tensor) -> torch.Tensor:
    """Return where regions are eroded, (rows, columns) bool: nearer to another region than their label's reach.

    `reach` (K,) is in whole pixels for each label, 0 for none, on the CPU.
    """
    gap = torch.zeros(labels.shape, dtype=torch.bool, device=labels.device)
    x = labels[None, None].float()
    for radius in sorted(set(reach.tolist()) - {0}):
        mixed = (widest(x, radius) != -widest(-x, radius))[0, 0]
        eroded = (reach == radius).to(labels.device)[labels.int()]
        gap |= mixed & eroded
    return gap


def widest(x: torch.Tensor, radius: int) -> torch.Tensor:
    """Dilate (B, C, rows, columns) by an octagon of about `radius` pixels."""
    square = max(1, round(0.6 * radius))
    out = F.max_pool2d(x, (2 * square + 1, 1), 1, (square, 0))
    out = F.max_pool2d(out, (1, 2 * square + 1), 1, (0, square))
    for _ in range(radius - square):  # diamonds: a cross each
        out = torch.maximum(F.max_pool2d(out, (3, 1), 1, (1, 0)), F.max_pool2d(out, (1, 3), 1, (0, 1)))
    return out
