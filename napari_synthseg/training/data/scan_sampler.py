"""Labelled scans with random augmentations: drawn first, then sampled on any grid.

The augmentation is the degradation model of SynthSeg+ (its section 2.3), far milder. Scans are sampled through a grid
as generated heads are: the same scan can be seen whole at 2 mm and in part at 1 mm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from napari_synthseg.generator.head import Grid, HeadState, ScanArray
from napari_synthseg.generator.model import GenerativeModel, Record, run
from napari_synthseg.generator.presets import degradation
from napari_synthseg.generator.step import Triple
from napari_synthseg.training.data.scans import LabelledScan
from napari_synthseg.training.data.synthetic import percentile_limits, rescaled
from napari_synthseg.training.data.targets import IGNORED, LabelTargets

BEND_FIELD_MM = (256.0, 256.0, 256.0)
"""Box around the middle of a scan over which it is bent and shaded."""


def mild(strength: float, mirror: bool = False) -> GenerativeModel:
    """Return a degradation model that leaves a scan recognizable at strength 1, and unchanged at 0.

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
    """Sample an augmented scan on a grid around its middle, before intensities are rescaled.

    Args:
        scan: at 1 mm.
        change: drawn by `mild`.
        grid: of 1 mm, or of the scan's pooled voxels; mm from the scan's centre.
        partners: contralateral target of each target.

    Returns:
        (X, Y, Z) float32 intensities, 0 outside the scan, and (X, Y, Z) uint8 targets.
    """
    pool = float(scan.pool) if grid.spacing > 1.0 else 1.0
    centre: Triple = tuple((c - (pool - 1) / 2) / pool for c in scan.centre)  # type: ignore[assignment]
    head = _head(grid)
    head.scan = ScanArray(scan.pooled if pool > 1 else scan.image, (pool,) * 3, centre)
    head.scan_labels = ScanArray(scan.targets, (1.0,) * 3, scan.centre)
    head.partners = partners
    run(change, head, until="bias")
    return head.image, head.labels


def finished(image: torch.Tensor, change: Record, grid: Grid) -> torch.Tensor:
    """Apply exponent and noise to an image in [0, 1], which stays in [0, 1]."""
    head = _head(grid)
    head.image, head.limits = image, (0.0, 1.0)
    return run(change, head, after="bias").image


def _head(grid: Grid) -> HeadState:
    return HeadState(
        axes=(grid.axis(0), grid.axis(1), grid.axis(2)),
        spacing=(grid.spacing,) * 3,
        field_mm=BEND_FIELD_MM,
        noise_scale=grid.noise_scale,
    )


# Sampler

NEAR_LABELS = 0.75
"""Fraction of the crops of whole-scan networks that lie around a labelled voxel; the others lie anywhere."""
FIELD_MM = 192.0
"""Side of the paper's standardized scans (section IV-A), which crops never leave."""


@dataclass(frozen=True)
class Drawn:
    """A scan and its augmentation."""

    scan: LabelledScan
    change: Record


class ScanSampler:
    """Draws scans with random augmentations.

    Args:
        scans: to draw from, on the device of the work.
        targets: of their labels.
        strength: of the augmentation; 0 for none.
    """

    def __init__(self, scans: Sequence[LabelledScan], targets: LabelTargets, strength: float) -> None:
        self.scans, self.targets = list(scans), targets
        self.augmentation = mild(strength, targets.mirror and strength > 0)

    def draw(self, generator: torch.Generator) -> Drawn:
        """Draw a scan and an augmentation."""
        scan = self.scans[int(torch.randint(len(self.scans), (1,), generator=generator))]
        return Drawn(scan, self.augmentation.sample(seed=generator))

    def on(
        self, drawn: Drawn, grid: Grid, limits: tuple[float, float] | None = None
    ) -> tuple[torch.Tensor, torch.Tensor, tuple[float, float]]:
        """Sample a drawn scan on a grid.

        Args:
            drawn: result of `draw`.
            grid: mm from the scan's centre.
            limits: intensities that become 0 and 1; default the 1st and 99th percentile on the grid.

        Returns:
            (X, Y, Z) image in [0, 1], (X, Y, Z) targets, and the limits.
        """
        raw, targets = shown(drawn.scan, drawn.change, grid, self.targets.partners)
        limits = limits or percentile_limits(raw)
        return finished(rescaled(raw, limits), drawn.change, grid), targets, limits

    def crop(
        self, side: int, generator: torch.Generator, spacing: float = 1.0, field_mm: float = FIELD_MM
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw a random crop for whole-scan networks: image in [0, 1] and targets.

        Args:
            side: voxels along each side.
            generator: random numbers.
            spacing: of the voxels, mm.
            field_mm: side of the box around the scan's centre that the crop lies in.
        """
        drawn = self.draw(generator)
        middle = self.place(drawn, side * spacing, max(field_mm - side * spacing, 0.0) / 2, generator)
        image, targets, _ = self.on(drawn, Grid.centered((side,) * 3, spacing, middle), (0.0, 1.0))
        return image, targets

    def place(self, drawn: Drawn, side_mm: float, room: float, generator: torch.Generator) -> list[float]:
        """Draw the middle of a crop, mm: around a labelled voxel or anywhere, at most `room` from the center."""
        u = torch.rand(5, generator=generator).tolist()
        if u[3] >= NEAR_LABELS:
            return [room * (2 * v - 1) for v in u[:3]]
        targets = drawn.scan.targets
        inside = ((targets > 0) & (targets != IGNORED)).reshape(-1).nonzero()[:, 0]
        at = torch.unravel_index(inside[int(u[4] * (len(inside) - 1))].cpu(), targets.shape)
        sign = (-1.0 if drawn.change["spatial"]["flip"] else 1.0, 1.0, 1.0)
        return [
            min(max(s * (float(a) - c) + side_mm * (v - 0.5) / 2, -room), room)
            for s, a, c, v in zip(sign, at, drawn.scan.centre, u, strict=False)
        ]


def group_weights(scans: Sequence[LabelledScan], count: int, power: float) -> torch.Tensor:
    """Return (G,) weights of the cross-entropy: frequency ** -power, 1 for the background (cf. `class_weights`)."""
    total = torch.zeros(count, dtype=torch.float64)
    for scan in scans:
        total += torch.bincount(scan.targets.reshape(-1).long().cpu(), minlength=256)[:count]
    frequency = (total / total.sum()).clamp(min=1e-6)
    weights = frequency**-power
    return (weights / weights[0]).float()
