"""Random changes of labelled scans: turned, bent, mirrored, other brightness; drawn first, then applied to any grid.

The degradation model of SynthSeg+ (its section 2.3), far milder, and looked at through a grid as synthetic heads are:
the same scan can be shown whole at 2 mm and in part at 1 mm.
"""

from __future__ import annotations

import torch

from napari_synthseg.generator.brains import run
from napari_synthseg.generator.head import Grid, Head, Source
from napari_synthseg.generator.model import GenerativeModel, Record
from napari_synthseg.generator.presets import degradation
from napari_synthseg.generator.step import Triple
from napari_synthseg.training.finetune.scans import LabelledScan

FIELD_MM = (256.0, 256.0, 256.0)
"""Over which a scan is bent and shaded, around its middle."""


def mild(strength: float, mirror: bool = False) -> GenerativeModel:
    """Return a degradation model that leaves a scan recognisable at strength 1, and unchanged at 0.

    Args:
        strength: factor on the ranges.
        mirror: exchange left and right in half of all draws.
    """
    s = strength
    return degradation().with_values(
        flip=0.5 if mirror else 0.0,
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


def shown(
    scan: LabelledScan, change: Record, grid: Grid, partners: tuple[int, ...]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a changed scan on a grid around its middle, before intensities are rescaled.

    Args:
        scan: at 1 mm.
        change: drawn by `mild`.
        grid: of 1 mm, or of the scan's pooled voxels; mm from the scan's centre.
        partners: target of each target in a mirror.

    Returns:
        (X, Y, Z) float32 intensities, 0 outside the scan, and (X, Y, Z) uint8 targets.
    """
    pool = float(scan.pool) if grid.spacing > 1.0 else 1.0
    centre: Triple = tuple((c - (pool - 1) / 2) / pool for c in scan.centre)  # type: ignore[assignment]
    head = _head(grid)
    head.scan = Source(scan.pooled if pool > 1 else scan.image, (pool,) * 3, centre)
    head.scan_labels = Source(scan.targets, (1.0,) * 3, scan.centre)
    head.partners = partners
    run(change, head, until="bias")
    return head.image, head.labels


def finished(image: torch.Tensor, change: Record, grid: Grid) -> torch.Tensor:
    """Apply exponent and noise to an image in [0, 1], which stays in [0, 1]."""
    head = _head(grid)
    head.image, head.limits = image, (0.0, 1.0)
    return run(change, head, after="bias").image


def _head(grid: Grid) -> Head:
    return Head(
        axes=(grid.axis(0), grid.axis(1), grid.axis(2)),
        spacing=(grid.spacing,) * 3,
        field_mm=FIELD_MM,
        noise_scale=grid.noise_scale,
    )
