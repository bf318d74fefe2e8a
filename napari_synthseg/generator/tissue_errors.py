"""Tissue maps as imperfect as a denoiser's, for training S2 of SynthSeg+ (section 2.2): bent, grown, shrunk, smooth.

The paper says that true maps are randomly dilated, eroded and deformed, and gives no ranges: those here are ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional as F

from napari_synthseg.generator.acquisition import blur_matrix
from napari_synthseg.generator.deformation import interpolation_matrix, separable, velocity_field
from napari_synthseg.generator.record import Plain

POINTS = 12
"""Control points of the deformation along each axis: one in about 15 mm of a brain."""
MARGIN = 12.0
"""Around the brain, mm: what may become brain by error."""


@dataclass(frozen=True)
class TissueErrorPriors:
    """Hyperparameters of the errors; lengths in mm."""

    displacement_std: tuple[float, float] = (0.0, 3.0)
    """Uniform range of the standard deviation of the displacements at the control points."""
    change: float = 0.5
    """Probability that a class is grown or shrunk."""
    reach: float = 4.0
    """Farthest that a class grows or shrinks."""
    blur: tuple[float, float] = (0.3, 2.5)
    """Uniform range of the standard deviation of the blur that makes maps soft."""


@dataclass(frozen=True)
class TissueErrors(Plain):
    """One draw of errors; lengths in mm."""

    displacement_std: float
    seed: int
    growth: tuple[tuple[int, float], ...]
    """Class and by how much its border moves (below 0: shrinks), in the order in which they are changed."""
    blur: float


def draw_errors(priors: TissueErrorPriors, classes: int, generator: torch.Generator) -> TissueErrors:
    """Draw one record; the number of random values taken does not depend on the priors.

    Args:
        priors: the hyperparameters.
        classes: how many there are, background included (which changes only as others do).
        generator: a CPU generator; its state moves on.
    """
    order = (torch.randperm(classes - 1, generator=generator) + 1).tolist()
    u = torch.rand(2, classes - 1, generator=generator, dtype=torch.float64)
    a, b = torch.rand(2, generator=generator, dtype=torch.float64).tolist()
    seed = int(torch.randint(0, 2**62, (1,), generator=generator))
    growth = [(c, priors.reach * (2 * u[1, i].item() - 1)) for i, c in enumerate(order) if u[0, i] < priors.change]
    (low, high), (soft, softer) = priors.displacement_std, priors.blur
    return TissueErrors(low + (high - low) * a, seed, tuple(growth), soft + (softer - soft) * b)


def with_errors(classes: torch.Tensor, errors: TissueErrors, count: int, spacing: float = 1.0) -> torch.Tensor:
    """Tissue probabilities that are as wrong as a record says.

    Args:
        classes: (X, Y, Z) true class numbers.
        errors: drawn by `draw_errors`.
        count: T, how many classes there are.
        spacing: voxel size, mm.

    Returns:
        (T, X, Y, Z) float32 that add up to 1.
    """
    maps = torch.zeros(count, *classes.shape, device=classes.device)
    maps[0] = 1.0
    box = _box(classes > 0, round(MARGIN / spacing))
    if box is None:
        return maps
    moved = _bent(classes[box], errors, spacing)
    for c, mm in errors.growth:
        steps = round(abs(mm) / spacing)
        if steps:
            moved = _grown(moved, c, steps) if mm > 0 else _shrunk(moved, c, steps, count)
    inner = torch.stack([moved == c for c in range(count)]).float()
    matrices = [blur_matrix(n, errors.blur / spacing, maps.device) for n in moved.shape]
    maps[(slice(None), *box)] = separable(inner, matrices)
    return maps


def _box(mask: torch.Tensor, margin: int) -> tuple[slice, slice, slice] | None:
    """The part of an array that holds a mask, and a margin around it."""
    sides = []
    for axis in range(3):
        where = mask.movedim(axis, 0).flatten(1).any(1).nonzero()
        if not len(where):
            return None
        sides.append(slice(max(0, int(where[0]) - margin), min(mask.shape[axis], int(where[-1]) + 1 + margin)))
    return sides[0], sides[1], sides[2]


def _bent(classes: torch.Tensor, errors: TissueErrors, spacing: float) -> torch.Tensor:
    """Classes moved by smooth random displacements, by nearest neighbour."""
    if errors.displacement_std <= 0:
        return classes
    device, shape = classes.device, classes.shape
    small = velocity_field(errors.displacement_std / spacing, POINTS, errors.seed).to(device)
    knots = [interpolation_matrix(torch.linspace(0, POINTS - 1, n), POINTS).to(device) for n in shape]
    index: torch.Tensor | None = None
    for i, u in enumerate(separable(small, knots)):
        steps = torch.arange(shape[i], device=device, dtype=torch.float32)
        at = (u + steps.reshape([-1 if j == i else 1 for j in range(3)])).round_().clamp_(0, shape[i] - 1).long()
        index = at if index is None else index * shape[i] + at
    assert index is not None
    return classes.reshape(-1)[index.reshape(-1)].reshape(shape)


def _grown(classes: torch.Tensor, one: int, steps: int) -> torch.Tensor:
    """One class takes over what lies within so many voxels of it."""
    return torch.where(_near(classes == one, steps), torch.full_like(classes, one), classes)


def _shrunk(classes: torch.Tensor, one: int, steps: int, count: int) -> torch.Tensor:
    """One class loses its rim to whatever is most frequent around."""
    own = classes == one
    lost = own & _near(~own, steps)
    around = torch.zeros(count, int(lost.sum()), device=classes.device)
    for c in range(count):
        if c != one:
            there = (classes == c)[None, None].float()
            around[c] = F.avg_pool3d(there, 2 * steps + 1, stride=1, padding=steps)[0, 0][lost]
    after = classes.clone()
    after[lost] = around.argmax(0).to(classes.dtype)
    return after


def _near(mask: torch.Tensor, steps: int) -> torch.Tensor:
    """Voxels within so many steps of a mask, each to one of the six neighbours or, every other time, of the 26."""
    near = mask[None, None].float()
    for i in range(steps):
        near = F.max_pool3d(near, 3, 1, 1) if i % 2 else _cross(near)
    return near[0, 0] > 0.5


def _cross(x: torch.Tensor) -> torch.Tensor:
    pools = [F.max_pool3d(x, size, 1, tuple(n // 2 for n in size)) for size in ((3, 1, 1), (1, 3, 1), (1, 1, 3))]
    return torch.maximum(torch.maximum(pools[0], pools[1]), pools[2])
