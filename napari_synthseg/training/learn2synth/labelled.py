"""Crops of labelled scans: what the real pass sees."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from napari_synthseg.training.data.validation import Case
from napari_synthseg.training.learn2synth.hypergradient import Batch


class LabelledCrops:
    """Random crops around random labelled voxels of random scans, as they are: nothing is made worse or bent.

    Args:
        cases: the scans.
        crop: voxels along each side, at most 192.
        batch: crops a step.
        device: where they are wanted.
    """

    def __init__(self, cases: Sequence[Case], crop: int, batch: int, device: torch.device | str) -> None:
        self.cases, self.crop, self.batch, self.device = cases, crop, batch, device

    def __call__(self, generator: torch.Generator) -> Batch:
        """Images (B, 1, X, Y, Z) in [0, 1] and (B, X, Y, Z) channels."""
        images, targets = [], []
        for _ in range(self.batch):
            case = self.cases[int(torch.randint(len(self.cases), (1,), generator=generator))]
            where = self._place(case.channels, generator)
            images.append(case.image[where].float())
            targets.append(case.channels[where])
        return torch.stack(images)[:, None].to(self.device), torch.stack(targets).to(self.device)

    def _place(self, channels: torch.Tensor, generator: torch.Generator) -> tuple[slice, ...]:
        """Where a crop lies: as near as the scan's edges allow to centred on a voxel of the foreground."""
        inside = channels.reshape(-1).nonzero()[:, 0]
        flat = int(inside[int(torch.randint(len(inside), (1,), generator=generator))]) if len(inside) else 0
        middle = torch.unravel_index(torch.tensor(flat), channels.shape)
        lows = [
            min(max(int(c) - self.crop // 2, 0), n - self.crop) for c, n in zip(middle, channels.shape, strict=True)
        ]
        return tuple(slice(low, low + self.crop) for low in lows)
