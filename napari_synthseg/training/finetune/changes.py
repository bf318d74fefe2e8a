"""Random changes of labelled scans: turned, bent, mirrored, other brightness; drawn first, then applied to any grid.

The degradation model of SynthSeg+ (its section 2.3), far milder, and looked at through a grid as synthetic heads are:
the same scan can be shown whole at 2 mm and in part at 1 mm.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional as F

from napari_synthseg.generator.appearance import bias_field
from napari_synthseg.generator.brains import Grid, averaging
from napari_synthseg.generator.deformation import affine_matrix, displacement_field, interpolation_matrix, separable
from napari_synthseg.generator.degradation import DegradationRecord, draw_degradation
from napari_synthseg.generator.degradation_priors import DegradationPriors
from napari_synthseg.training.finetune.scans import LabelledScan

FIELD_MM = (256.0, 256.0, 256.0)
"""Over which a scan is bent and shaded, around its middle."""


@dataclass(frozen=True)
class Change:
    """What is done to a scan: a mild degradation, and whether it is mirrored."""

    record: DegradationRecord
    flip: bool


def mild(strength: float) -> DegradationPriors:
    """Ranges of changes that leave a scan what it is, at strength 1; none at 0."""
    s = strength
    return DegradationPriors(
        rotation_deg=(-10.0 * s, 10.0 * s),
        scaling=(1.0 - min(0.1 * s, 0.5), 1.0 + 0.1 * s),
        shearing=(-0.01 * s, 0.01 * s),
        translation_mm=(-8.0 * s, 8.0 * s),
        velocity_std=(0.0, 1.0 * s),
        bias_std=(0.0, 0.3 * s),
        gamma_exponent=(1.0 / (1.0 + 0.3 * s), 1.0 + 0.3 * s),
        slice_spacing_mm=(1.0, 1.0),
        slice_blur_mm=(0.0, 0.0),
        noise_std=(0.0, 6.0 * s),
    )


def draw_change(priors: DegradationPriors, mirror: bool, generator: torch.Generator) -> Change:
    """Draw one; as many random numbers are taken whatever is asked for."""
    record = draw_degradation(priors, generator)
    return Change(record, bool(torch.rand(1, generator=generator) < 0.5) and mirror)


def shown(
    scan: LabelledScan, change: Change, grid: Grid, partners: tuple[int, ...]
) -> tuple[torch.Tensor, torch.Tensor]:
    """A changed scan on a grid around its middle, before intensities are rescaled.

    Args:
        scan: at 1 mm.
        change: drawn.
        grid: of 1 mm, or of the scan's pooled voxels; mm from the scan's centre.
        partners: target of each target in a mirror.

    Returns:
        (X, Y, Z) float32 intensities, 0 outside the scan, and (X, Y, Z) uint8 targets.
    """
    at = _positions(scan, change, grid)  # (X, Y, Z, 3), voxels of the scan
    pool = scan.pool if grid.spacing > 1.0 else 1
    image = _sampled(scan.pooled if pool > 1 else scan.image, (at - (pool - 1) / 2) / pool, "bilinear")
    if change.record.bias_std > 0:
        n, device = change.record.bias_grid, image.device
        where = [(grid.axis(i) / FIELD_MM[i] + 0.5) * (n - 1) for i in range(3)]
        matrices = [interpolation_matrix(a, n).to(device) for a in where]
        image *= bias_field(change.record.bias_std, n, change.record.bias_seed, matrices)
    targets = _sampled(scan.targets.float(), at, "nearest").to(torch.uint8)
    if change.flip:
        table = torch.arange(256, dtype=torch.uint8, device=targets.device)
        table[: len(partners)] = torch.tensor(partners, dtype=torch.uint8, device=targets.device)
        targets = table[targets.long()]
    return image, targets


def finished(image: torch.Tensor, change: Change, grid: Grid) -> torch.Tensor:
    """Exponent and noise of an image in [0, 1], which stays in [0, 1]."""
    record = change.record
    image = image.clamp(0, 1).pow(record.gamma)
    if record.noise_std <= 0:
        return image
    g = torch.Generator(device=image.device).manual_seed(record.noise_seed)
    noise = torch.empty_like(image).normal_(generator=g)
    return image.add_(noise, alpha=record.noise_std / 255.0 * averaging(grid)).clamp_(0, 1)


def _positions(scan: LabelledScan, change: Change, grid: Grid) -> torch.Tensor:
    """(X, Y, Z, 3) voxels of the scan that the voxels of a grid show."""
    record, device = change.record, scan.image.device
    matrix = affine_matrix(record.rotation_deg, record.scaling, record.shearing)
    sign = torch.tensor([-1.0 if change.flip else 1.0, 1.0, 1.0], dtype=torch.float64)
    matrix = (sign[:, None] * matrix).float().to(device)
    shift = (sign * torch.tensor(record.translation_mm) + torch.tensor(scan.centre)).float().to(device)
    axes = [grid.axis(i) for i in range(3)]
    points = torch.stack(torch.meshgrid(*(a.float().to(device) for a in axes), indexing="ij"), -1)
    if record.velocity_std > 0:
        u = displacement_field(record.velocity_std, record.velocity_grid, record.velocity_seed, FIELD_MM, device)
        n = u.shape[-1]
        back = [
            interpolation_matrix((a / f + 0.5) * (n - 1), n).to(device) for a, f in zip(axes, FIELD_MM, strict=True)
        ]
        points = points + separable(u, back).permute(1, 2, 3, 0)
    return points @ matrix.T + shift


def _sampled(source: torch.Tensor, at: torch.Tensor, mode: str) -> torch.Tensor:
    """Values of (X, Y, Z) at positions in voxels; 0 outside."""
    size = torch.tensor([max(n - 1, 1) for n in source.shape], dtype=torch.float32, device=at.device)
    where = (at * (2.0 / size) - 1.0).flip(-1)[None]
    return F.grid_sample(source[None, None].float(), where, mode=mode, align_corners=True)[0, 0]
