"""Draws labelled scans, changed at random, for a step of fine-tuning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from napari_synthseg.generator.head import Grid
from napari_synthseg.generator.model import Record
from napari_synthseg.training.data.synthetic import percentile_limits, rescaled
from napari_synthseg.training.finetune.changes import finished, mild, shown
from napari_synthseg.training.finetune.scans import LabelledScan
from napari_synthseg.training.finetune.targets import IGNORED, Targets

NEAR_LABELS = 0.75
"""Share of the crops of whole-scan networks that lie around a labelled voxel; the others lie anywhere."""
FIELD_MM = 192.0
"""Side of the paper's standardised scans (section IV-A), which crops never leave."""


@dataclass(frozen=True)
class Drawn:
    """A scan and what is done to it."""

    scan: LabelledScan
    change: Record


class ScanSampler:
    """Random changes of random scans.

    Args:
        scans: what is drawn from, on the device that is to do the work.
        targets: how their labels are understood.
        strength: of the changes; 0 for none.
    """

    def __init__(self, scans: Sequence[LabelledScan], targets: Targets, strength: float) -> None:
        self.scans, self.targets = list(scans), targets
        self.changes = mild(strength, targets.mirror and strength > 0)

    def draw(self, generator: torch.Generator) -> Drawn:
        """A scan and a change."""
        scan = self.scans[int(torch.randint(len(self.scans), (1,), generator=generator))]
        return Drawn(scan, self.changes.sample(seed=generator))

    def on(
        self, drawn: Drawn, grid: Grid, limits: tuple[float, float] | None = None
    ) -> tuple[torch.Tensor, torch.Tensor, tuple[float, float]]:
        """A drawn scan on a grid.

        Args:
            drawn: of `draw`.
            grid: mm from the scan's centre.
            limits: intensities that become 0 and 1; default the 1st and 99th percentile of what is seen.

        Returns:
            (X, Y, Z) image in [0, 1], (X, Y, Z) targets, and the limits.
        """
        raw, targets = shown(drawn.scan, drawn.change, grid, self.targets.partners)
        limits = limits or percentile_limits(raw)
        return finished(rescaled(raw, limits), drawn.change, grid), targets, limits

    def crop(
        self, side: int, generator: torch.Generator, spacing: float = 1.0, field_mm: float = FIELD_MM
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """A random crop for networks that look at the whole scan: image in [0, 1] and targets.

        Args:
            side: voxels along each side.
            generator: of the draw.
            spacing: of the voxels, mm.
            field_mm: side of the box around the scan's centre that the crop lies in.
        """
        drawn = self.draw(generator)
        middle = self.place(drawn, side * spacing, max(field_mm - side * spacing, 0.0) / 2, generator)
        image, targets, _ = self.on(drawn, Grid.centred((side,) * 3, spacing, middle), (0.0, 1.0))
        return image, targets

    def place(self, drawn: Drawn, side_mm: float, room: float, generator: torch.Generator) -> list[float]:
        """The middle of a crop, mm: around a labelled voxel or anywhere, never further out than there is room."""
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
    """(G,) weights of the cross-entropy of targets: frequency ** -power, 1 for the background (cf. `class_weights`)."""
    total = torch.zeros(count, dtype=torch.float64)
    for scan in scans:
        total += torch.bincount(scan.targets.reshape(-1).long().cpu(), minlength=256)[:count]
    share = (total / total.sum()).clamp(min=1e-6)
    weights = share**-power
    return (weights / weights[0]).float()
