"""SynthSeg+'s hierarchy S1 -> D -> S2: tissues from the scan, denoised tissues, all structures (section 2.2).

The parts may be any modules: the paper's, or faster ones. What is handed on is a hard segmentation (one-hot of the
argmax), as the published networks were trained; so the parts can be trained apart, and no gradient flows between them.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import lcm

import torch
from torch import nn
from torch.nn import functional as F


class Hierarchy(nn.Module):
    """Three networks in a row.

    Args:
        s1: (B, 1, X, Y, Z) image -> (B, T, X, Y, Z) posteriors of tissue classes, background first.
        denoiser: (B, T, X, Y, Z) one-hot tissue map -> (B, T, X, Y, Z) posteriors.
        s2: (B, 1 + T, X, Y, Z) image and one-hot tissue map -> (B, K, X, Y, Z) posteriors.
        labels: the sorted values of S2's channels; S2's own `labels` by default.
    """

    def __init__(self, s1: nn.Module, denoiser: nn.Module, s2: nn.Module, labels: Sequence[int] | None = None) -> None:
        super().__init__()
        self.s1, self.denoiser, self.s2 = s1, denoiser, s2
        self.labels = tuple(s2.labels if labels is None else labels)  # type: ignore[union-attr, arg-type]

    @property
    def multiple(self) -> int:
        """Input sizes must be multiples of this."""
        return lcm(*(int(getattr(part, "multiple", 1)) for part in (self.s1, self.denoiser, self.s2)))

    def stages(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(B, 1, X, Y, Z) image in [0, 1] -> posteriors of S1 and D (B, T, ...) and of S2 (B, K, ...)."""
        tissues = self.s1(image)
        denoised = self.denoiser(one_hot(tissues))
        return tissues, denoised, self.s2(beside(image, one_hot(denoised)))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(B, 1, X, Y, Z) image in [0, 1] -> (B, K, X, Y, Z) posteriors."""
        return self.stages(image)[2]


def one_hot(posteriors: torch.Tensor) -> torch.Tensor:
    """(B, T, X, Y, Z) posteriors -> ones where a class is the most probable, zeros elsewhere; the same dtype."""
    return as_channels(posteriors.argmax(1), posteriors.shape[1], posteriors.dtype)


def as_channels(classes: torch.Tensor, count: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """(B, X, Y, Z) class numbers -> (B, count, X, Y, Z), one where a voxel has the class."""
    return F.one_hot(classes.long(), count).movedim(-1, 1).to(dtype).contiguous()


def beside(image: torch.Tensor, tissues: torch.Tensor) -> torch.Tensor:
    """S2's input: (B, 1, X, Y, Z) image first, then (B, T, X, Y, Z) tissue maps."""
    return torch.cat([image, tissues.to(image.dtype)], 1)
