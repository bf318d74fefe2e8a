"""Labelled scans with random augmentations: drawn first, then sampled on any grid.

The augmentation is the degradation model of SynthSeg+ (its section 2.3), far milder. Scans are sampled through a grid
as generated heads are: the same scan can be seen whole at 2 mm and in part at 1 mm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from napari_synthseg.errors import InputError
from napari_synthseg.generator.head import Grid, HeadState, ScanArray
from napari_synthseg.generator.model import GenerativeModel, Record, run
from napari_synthseg.generator.presets import degradation
from napari_synthseg.generator.step import Triple
from napari_synthseg.inference.options import InferenceConfig
from napari_synthseg.inference.preprocess import brain_center, rescale
from napari_synthseg.training.data.labelled_scans import LabelTargets, RawScan
from napari_synthseg.training.data.synthetic import percentile_limits, rescaled, weights_of
from napari_synthseg.training.engine.losses import IGNORED

BEND_FIELD_MM = (256.0, 256.0, 256.0)
"""Box around the middle of a scan over which it is bent and shaded."""
NEAR_LABELS = 0.75
"""Fraction of the crops of whole-scan networks that lie around a labelled voxel; the others lie anywhere."""
FIELD_MM = 192.0
"""Side of the paper's standardized scans (section IV-A), which crops never leave."""


@dataclass(frozen=True)
class InputSpec:
    """How a network gets scans."""

    how: InferenceConfig
    """Preparation at prediction: crop to the head, voxels of 1 mm, percentiles that become 0 and 1."""
    whole: bool = True
    """Whether these are percentiles of the whole scan (a fast network has its own rule)."""
    pool: int = 1
    """Size of the voxels of the network, or its first stage, mm."""
    guess: bool = False
    """Whether its field is centered on the brain as estimated from the outline of the head, as at prediction."""


@dataclass(frozen=True)
class LabelledScan:
    """A scan with targets."""

    name: str
    image: torch.Tensor
    """(X, Y, Z) float16 at 1 mm, in [0, 1]: by the largest intensity, or by the percentiles of the whole scan."""
    targets: torch.Tensor
    """(X, Y, Z) uint8."""
    centre: tuple[float, float, float]
    """Voxel around which the scan is looked at."""
    pooled: torch.Tensor
    """(X/p, Y/p, Z/p), means over p^3 voxels."""
    pool: int
    """p."""

    def to(self, device: torch.device | str) -> LabelledScan:
        moved: dict[str, Any] = {k: getattr(self, k).to(device) for k in ("image", "targets", "pooled")}
        return replace(self, **moved)


def with_targets(scan: RawScan, targets: LabelTargets, places: dict[int, int], look: InputSpec) -> LabelledScan:
    """Prepare a scan for training; an `InputError` if it has no label of the task."""
    made = targets.of_values(scan.values, places)
    inside = np.argwhere((made > 0) & (made != IGNORED))
    if not len(inside):
        raise InputError(f"{scan.file} has no label that the network could learn for the task {targets.task!r}.")
    centre = brain_center(scan.image) if look.guess else (inside.min(0) + inside.max(0)) / 2
    image = torch.from_numpy(
        rescale(scan.image, *look.how.percentiles) if look.whole else scan.image / scan.image.max()
    )
    pooled = F.avg_pool3d(image[None, None], look.pool)[0, 0].half()
    return LabelledScan(scan.name, image.half(), torch.from_numpy(made), tuple(centre.tolist()), pooled, look.pool)


def mild(strength: float, mirror: bool = False) -> GenerativeModel:
    """Return a degradation model that leaves a scan recognizable at strength 1, and unchanged at 0.

    With `mirror`, left and right are exchanged in half of all draws.
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
    """Sample an augmented scan on a grid of 1 mm or of its pooled voxels, mm from its center.

    Returns:
        (X, Y, Z) float32 intensities, not rescaled, 0 outside the scan, and (X, Y, Z) uint8 targets.
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
        scan = self.scans[int(torch.randint(len(self.scans), (1,), generator=generator))]
        return Drawn(scan, self.augmentation.sample(seed=generator))

    def on(
        self, drawn: Drawn, grid: Grid, limits: tuple[float, float] | None = None
    ) -> tuple[torch.Tensor, torch.Tensor, tuple[float, float]]:
        """Sample a drawn scan on a grid.

        Args:
            drawn: result of `draw`.
            grid: mm from the scan's center.
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
        """Draw a random crop of `side` voxels for whole-scan networks: image in [0, 1] and targets.

        It lies in a box of `field_mm` around the scan's center.
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

    def group_weights(self, power: float) -> torch.Tensor:
        """Return (G,) weights of the cross-entropy: frequency ** -power of each target, 1 for the background."""
        total = torch.zeros(self.targets.count, dtype=torch.float64)
        for scan in self.scans:
            total += torch.bincount(scan.targets.reshape(-1).long().cpu(), minlength=256)[: self.targets.count]
        return weights_of(total, power)
