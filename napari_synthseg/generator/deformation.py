"""Random spatial transforms: affine (eq. 1-5) and diffeomorphic by scaling and squaring (eq. 6-9)."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from napari_synthseg.jobs import checkpoint

INTEGRATION_GRID = 48
"""Points along each axis on which the velocity field is integrated; it is far smoother than that."""
SQUARINGS = 7
SLAB = 32
"""Planes sampled at once: coordinates take three times the memory of the image."""


def affine_matrix(rotation_deg: Sequence[float], scaling: Sequence[float], shearing: Sequence[float]) -> torch.Tensor:
    """Return the (3, 3) float64 affine: scaling, shearing, then the rotations about x, y and z (eq. 5)."""
    x, y, z = (math.radians(a) for a in rotation_deg)
    rx = torch.tensor([[1, 0, 0], [0, math.cos(x), -math.sin(x)], [0, math.sin(x), math.cos(x)]], dtype=torch.float64)
    ry = torch.tensor([[math.cos(y), 0, math.sin(y)], [0, 1, 0], [-math.sin(y), 0, math.cos(y)]], dtype=torch.float64)
    rz = torch.tensor([[math.cos(z), -math.sin(z), 0], [math.sin(z), math.cos(z), 0], [0, 0, 1]], dtype=torch.float64)
    a, b, c = shearing
    shear = torch.tensor([[1, a, b], [0, 1, c], [0, 0, 1]], dtype=torch.float64)
    return torch.diag(torch.tensor(list(scaling), dtype=torch.float64)) @ shear @ rx @ ry @ rz


def interpolation_matrix(positions: torch.Tensor, knots: int) -> torch.Tensor:
    """Return the (N, knots) weights of linear interpolation along one axis; rows sum to 1.

    `positions` (N,) are in units of knots, 0 to knots - 1; outside, the end knot holds.
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
    """Apply one matrix (X', X) along each of the last three axes of (..., X, Y, Z)."""
    mx, my, mz = matrices
    lead = field.shape[:-3]
    x, y, z = field.shape[-3:]
    out = torch.matmul(mx, field.reshape(*lead, x, y * z)).reshape(*lead, mx.shape[0], y, z)
    out = torch.matmul(my, out)
    return torch.matmul(out, mz.T)


def velocity_field(std: float, points: int, seed: int) -> torch.Tensor:
    """Draw the (3, points, points, points) velocities of eq. 7, mm, on the CPU, so that every device gets the same."""
    g = torch.Generator().manual_seed(seed)
    return std * torch.randn(3, points, points, points, generator=g)


def integrate(velocity: torch.Tensor, spacing_mm: Sequence[float]) -> torch.Tensor:
    """Integrate a stationary velocity field (3, X, Y, Z), mm, by scaling and squaring (eq. 9); displacements in mm."""
    shape, device = velocity.shape[1:], velocity.device
    # grid_sample wants (z, y, x) order, channels last, and coordinates in [-1, 1]; so the work is done in that order.
    axes = [torch.linspace(-1, 1, n, device=device) for n in shape]
    base = torch.stack(torch.meshgrid(*axes, indexing="ij")[::-1], -1)
    lengths = [max((n - 1) * s, 1e-6) for n, s in zip(shape, spacing_mm, strict=True)]
    scale = torch.tensor([2.0 / length for length in lengths], device=device).flip(0)
    u = (velocity / 2**SQUARINGS).flip(0)
    for _ in range(SQUARINGS):
        where = (u.permute(1, 2, 3, 0) * scale).add_(base)[None]
        u = u + F.grid_sample(u[None], where, mode="bilinear", padding_mode="border", align_corners=True)[0]
    return u.flip(0)


@functools.lru_cache(maxsize=4)
def displacement_field(
    std: float, points: int, seed: int, field_mm: tuple[float, float, float], device: torch.device | str = "cpu"
) -> torch.Tensor:
    """Draw, upsample and integrate a velocity field over a field of view (eq. 6-9): (3, n, n, n) displacements in mm.

    The end points of the grid lie on the ends of the field of view. The last few are cached, since one head is made on
    several grids: do not change the result in place.
    """
    n = max(INTEGRATION_GRID, points)
    small = velocity_field(std, points, seed).to(device)
    up = interpolation_matrix(torch.linspace(0, points - 1, n, device=device), points)
    return integrate(separable(small, (up, up, up)), [f / (n - 1) for f in field_mm])


Coordinates = Callable[[slice], Iterator[torch.Tensor]]
"""For a part of the first axis: (X, Y, Z) coordinates along each of a source's axes, one after another."""


@dataclass(frozen=True)
class Transform:
    """A spatial transform as drawn: affine after non-linear deformation (eq. 10), after a mirror."""

    linear: torch.Tensor
    """(3, 3) float64, see `affine_matrix`."""
    translation_mm: Sequence[float]
    flip: bool
    """Whether left and right are exchanged."""
    velocity: tuple[float, int, int]
    """Standard deviation (mm), control points along each axis and seed of the velocity field."""

    def coordinates(
        self,
        axes: Sequence[torch.Tensor],
        spacing: Sequence[float],
        center: Sequence[float],
        field_mm: tuple[float, float, float],
        device: torch.device,
    ) -> Coordinates:
        """Return the places in a source, in its voxels, that the voxels of a grid show.

        `axes` are float64 positions of the grid's voxels, mm from the center; `spacing` (mm) and `center` (voxels,
        about which the transform acts) are the source's, `field_mm` the field of view of the velocity field.
        """
        sign = torch.tensor([-1.0 if self.flip else 1.0, 1.0, 1.0], dtype=torch.float64)
        scale = torch.tensor(spacing, dtype=torch.float64)
        matrix = sign[:, None] * self.linear / scale[:, None]
        shift = sign * torch.tensor(self.translation_mm, dtype=torch.float64) / scale
        shift = shift + torch.tensor(center, dtype=torch.float64)
        lines = [[(matrix[i, j] * axes[j]).float().to(device) for j in range(3)] for i in range(3)]
        bend = None
        if self.velocity[0] > 0:
            u = displacement_field(*self.velocity, field_mm, device)
            n = u.shape[-1]
            back = [interpolation_matrix((a / f + 0.5) * (n - 1), n) for a, f in zip(axes, field_mm, strict=True)]
            bend = torch.einsum("ij,jxyz->ixyz", matrix.float().to(device), u), [b.to(device) for b in back]

        def of(part: slice) -> Iterator[torch.Tensor]:
            moved = None
            if bend is not None:
                u, (x, y, z) = bend
                moved = separable(u, (x[part], y, z))
            for i, (x, y, z) in enumerate(lines):
                at = x[part][:, None, None] + float(shift[i]) + y[None, :, None] + z[None, None, :]
                if moved is not None:
                    at += moved[i]
                yield at

        return of


def nearest(index: torch.Tensor, coordinates: Coordinates, shape: Sequence[int]) -> torch.Tensor:
    """Look labels (X, Y, Z) up by nearest neighbor at coordinates in them; outside, the border holds."""
    flat = None
    for at, size in zip(coordinates(slice(None)), index.shape, strict=True):
        checkpoint()
        at = at.round_().clamp_(0, size - 1).int()
        flat = at if flat is None else flat.mul_(size).add_(at)
    assert flat is not None
    return index.reshape(-1).index_select(0, flat.reshape(-1)).reshape(*shape)


def sampled(source: torch.Tensor, coordinates: Coordinates, shape: Sequence[int], mode: str) -> torch.Tensor:
    """Sample an array at coordinates in it, "bilinear" or "nearest" (which keeps its type); 0 outside."""
    dtype = torch.float32 if mode == "bilinear" else source.dtype
    made = torch.empty(*shape, dtype=dtype, device=source.device)
    whole = source[None, None].float()
    for start in range(0, shape[0], SLAB):
        checkpoint()
        part = slice(start, start + SLAB)
        each = [at * (2.0 / max(n - 1, 1)) - 1.0 for at, n in zip(coordinates(part), source.shape, strict=True)]
        where = torch.stack(each[::-1], -1)[None]
        made[part] = F.grid_sample(whole, where, mode=mode, align_corners=True)[0, 0].to(made.dtype)
    return made
