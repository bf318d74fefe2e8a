"""Tissue maps as imperfect as a denoiser's, for training S2 of SynthSeg+ (section 2.2): bent, grown, shrunk, smooth."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional as F

from napari_synthseg.generator.acquisition import blur_matrix
from napari_synthseg.generator.deformation import interpolation_matrix, separable, velocity_field
from napari_synthseg.volume import bounding_box

POINTS = 12
"""Control points of the deformation along each axis: one in about 15 mm of a brain."""
MARGIN = 12.0
"""Around the brain, mm: voxels that may become brain by error."""


def with_errors(
    classes: torch.Tensor,
    displacement_std: float,
    seed: int,
    growth: Sequence[tuple[int, float]],
    blur: float,
    count: int,
    spacing: float = 1.0,
) -> torch.Tensor:
    """Return (T, X, Y, Z) tissue probabilities, float32, with the errors that the step of that name drew.

    Args:
        classes: (X, Y, Z) true class numbers.
        displacement_std: standard deviation of the displacements at the control points, mm.
        seed: of the displacements.
        growth: class and movement of its border (mm, below 0: shrinks), in the order in which they are changed.
        blur: standard deviation of the blur, mm.
        count: T, number of classes.
        spacing: voxel size, mm.
    """
    maps = torch.zeros(count, *classes.shape, device=classes.device)
    maps[0] = 1.0
    box = bounding_box((classes > 0).cpu().numpy(), round(MARGIN / spacing))
    if box is None:
        return maps
    moved = _bent(classes[box], displacement_std, seed, spacing)
    for c, mm in growth:
        steps = round(abs(mm) / spacing)
        if steps:
            moved = _grown(moved, c, steps) if mm > 0 else _shrunk(moved, c, steps, count)
    inner = torch.stack([moved == c for c in range(count)]).float()
    matrices = [blur_matrix(n, blur / spacing, maps.device) for n in moved.shape]
    maps[(slice(None), *box)] = separable(inner, matrices)
    return maps


def _bent(classes: torch.Tensor, std: float, seed: int, spacing: float) -> torch.Tensor:
    """Move classes by smooth random displacements, by nearest neighbor."""
    if std <= 0:
        return classes
    device, shape = classes.device, classes.shape
    small = velocity_field(std / spacing, POINTS, seed).to(device)
    knots = [interpolation_matrix(torch.linspace(0, POINTS - 1, n), POINTS).to(device) for n in shape]
    index: torch.Tensor | None = None
    for i, u in enumerate(separable(small, knots)):
        steps = torch.arange(shape[i], device=device, dtype=torch.float32)
        at = (u + steps.reshape([-1 if j == i else 1 for j in range(3)])).round_().clamp_(0, shape[i] - 1).long()
        index = at if index is None else index * shape[i] + at
    assert index is not None
    return classes.reshape(-1)[index.reshape(-1)].reshape(shape)


def _grown(classes: torch.Tensor, one: int, steps: int) -> torch.Tensor:
    """Grow one class by some voxels over its neighbors."""
    return torch.where(_near(classes == one, steps), torch.full_like(classes, one), classes)


def _shrunk(classes: torch.Tensor, one: int, steps: int, count: int) -> torch.Tensor:
    """Replace the rim of one class by the most frequent class around."""
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
    """Dilate a mask by some steps, alternately over the six and the 26 neighbors."""
    near = mask[None, None].float()
    for i in range(steps):
        near = F.max_pool3d(near, 3, 1, 1) if i % 2 else _cross(near)
    return near[0, 0] > 0.5


def _cross(x: torch.Tensor) -> torch.Tensor:
    pools = [F.max_pool3d(x, size, 1, tuple(n // 2 for n in size)) for size in ((3, 1, 1), (1, 3, 1), (1, 1, 3))]
    return torch.maximum(torch.maximum(pools[0], pools[1]), pools[2])
