"""Random spatial transforms: affine (eq. 1-5) and diffeomorphic by scaling and squaring (eq. 6-9)."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import torch
from torch.nn import functional as F

INTEGRATION_GRID = 48
"""Points along each axis on which the velocity field is integrated; it is far smoother than that."""
SQUARINGS = 7


def affine_matrix(rotation_deg: Sequence[float], scaling: Sequence[float], shearing: Sequence[float]) -> torch.Tensor:
    """Linear part of the affine transform: scaling, shearing, then the rotations about x, y and z (eq. 5).

    Returns:
        (3, 3) float64 matrix.
    """
    x, y, z = (math.radians(a) for a in rotation_deg)
    rx = torch.tensor([[1, 0, 0], [0, math.cos(x), -math.sin(x)], [0, math.sin(x), math.cos(x)]], dtype=torch.float64)
    ry = torch.tensor([[math.cos(y), 0, math.sin(y)], [0, 1, 0], [-math.sin(y), 0, math.cos(y)]], dtype=torch.float64)
    rz = torch.tensor([[math.cos(z), -math.sin(z), 0], [math.sin(z), math.cos(z), 0], [0, 0, 1]], dtype=torch.float64)
    a, b, c = shearing
    shear = torch.tensor([[1, a, b], [0, 1, c], [0, 0, 1]], dtype=torch.float64)
    return torch.diag(torch.tensor(list(scaling), dtype=torch.float64)) @ shear @ rx @ ry @ rz


def interpolation_matrix(positions: torch.Tensor, knots: int) -> torch.Tensor:
    """Weights of linear interpolation along one axis.

    Args:
        positions: (N,) positions in units of knots, 0 to knots - 1; outside, the end knot holds.
        knots: how many knots there are.

    Returns:
        (N, knots) matrix whose rows sum to 1.
    """
    positions = positions.clamp(0, knots - 1)
    low = positions.floor().clamp(max=max(knots - 2, 0)).long()
    weight = (positions - low).to(torch.float32)
    matrix = torch.zeros(len(positions), knots, device=positions.device)
    rows = torch.arange(len(positions), device=positions.device)
    matrix[rows, low] = 1.0 - weight
    if knots > 1:
        matrix[rows, low + 1] += weight
    return matrix


def separable(field: torch.Tensor, matrices: Sequence[torch.Tensor]) -> torch.Tensor:
    """Apply one matrix along each of the last three axes.

    Args:
        field: (..., X, Y, Z).
        matrices: three matrices (X', X), (Y', Y), (Z', Z).

    Returns:
        (..., X', Y', Z').
    """
    mx, my, mz = matrices
    lead = field.shape[:-3]
    x, y, z = field.shape[-3:]
    out = torch.matmul(mx, field.reshape(*lead, x, y * z)).reshape(*lead, mx.shape[0], y, z)
    out = torch.matmul(my, out)
    return torch.matmul(out, mz.T)


def velocity_field(std: float, points: int, seed: int) -> torch.Tensor:
    """The small random field of eq. 7.

    Returns:
        (3, points, points, points) velocities in mm, drawn on the CPU so that every device gets the same.
    """
    g = torch.Generator().manual_seed(seed)
    return std * torch.randn(3, points, points, points, generator=g)


def integrate(velocity: torch.Tensor, spacing_mm: Sequence[float], squarings: int = SQUARINGS) -> torch.Tensor:
    """Scaling and squaring of a stationary velocity field (eq. 9).

    Args:
        velocity: (3, X, Y, Z) in mm.
        spacing_mm: distance between points along each axis.
        squarings: how many times the transform is composed with itself.

    Returns:
        (3, X, Y, Z) displacements in mm.
    """
    shape = velocity.shape[1:]
    device = velocity.device
    # grid_sample wants (z, y, x) order, channels last, and coordinates in [-1, 1]; so the work is done in that order.
    axes = [torch.linspace(-1, 1, n, device=device) for n in shape]
    base = torch.stack(torch.meshgrid(*axes, indexing="ij")[::-1], -1)
    scale = torch.tensor([2.0 / max((n - 1) * s, 1e-6) for n, s in zip(shape, spacing_mm, strict=True)], device=device)
    scale = scale.flip(0)
    u = (velocity / 2**squarings).flip(0)
    for _ in range(squarings):
        where = (u.permute(1, 2, 3, 0) * scale).add_(base)[None]
        u = u + F.grid_sample(u[None], where, mode="bilinear", padding_mode="border", align_corners=True)[0]
    return u.flip(0)


@functools.lru_cache(maxsize=4)
def displacement_field(
    std: float, points: int, seed: int, field_mm: tuple[float, float, float], device: torch.device | str = "cpu"
) -> torch.Tensor:
    """Draw, upsample and integrate a velocity field over a field of view (eq. 6-9).

    The last few are kept, since one head is often looked at on several grids: do not change the result in place.

    Returns:
        (3, n, n, n) displacements in mm on a grid whose end points lie on the ends of the field of view.
    """
    n = max(INTEGRATION_GRID, points)
    small = velocity_field(std, points, seed).to(device)
    up = interpolation_matrix(torch.linspace(0, points - 1, n, device=device), points)
    return integrate(separable(small, (up, up, up)), [f / (n - 1) for f in field_mm])
