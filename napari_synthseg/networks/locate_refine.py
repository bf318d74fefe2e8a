"""The fast network: locate the structures in the whole head at 2 mm, then refine at 1 mm knowing where they are.

SynthSeg+'s idea of feeding one network's posteriors to the next, used for speed: contrast being random, place and shape
are the only cues, and a whole head at low resolution shows them cheaply. Both stages are half-resolution U-Nets.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from napari_synthseg.networks.subvoxel import SubvoxelUNet

PRIOR_FLOOR = 1e-4
"""Posteriors of the locator are mixed with this much of the uniform, so that the refiner can overrule them."""


class LocateRefine(nn.Module):
    """Two half-resolution U-Nets, the second a correction of the first.

    Args:
        labels: the sorted FreeSurfer values predicted, background first.
        locator_features, refiner_features: channels of each trunk level.

    Attributes:
        head_shape: voxels of the locator's fixed field of view, at 2 mm.
        multiple: sizes given to `refine` must be multiples of this.
    """

    head_shape = (96, 112, 96)
    head_spacing = 2.0

    def __init__(
        self,
        labels: Sequence[int],
        locator_features: Sequence[int] = (32, 64, 128, 160),
        refiner_features: Sequence[int] = (32, 64, 128),
    ) -> None:
        super().__init__()
        self.labels = tuple(labels)
        k = len(self.labels)
        field = tuple(n // 2 for n in self.head_shape)
        self.locator = SubvoxelUNet(k, locator_features, field=field)  # type: ignore[arg-type]
        self.refiner = SubvoxelUNet(k, refiner_features, prior_channels=k)

    @property
    def multiple(self) -> int:
        return self.refiner.multiple

    def locate(self, image: torch.Tensor) -> torch.Tensor:
        """(B, 1, 96, 112, 96) image at 2 mm in [0, 1] -> (B, K, 96, 112, 96) posteriors."""
        return self.locator(image).float().softmax(1)

    def refine(self, image: torch.Tensor, prior: torch.Tensor) -> torch.Tensor:
        """Posteriors at 1 mm.

        Args:
            image: (B, 1, X, Y, Z) at 1 mm in [0, 1].
            prior: (B, K, X/2, Y/2, Z/2) posteriors of `locate` on the same field of view.

        Returns:
            (B, K, X, Y, Z) posteriors.
        """
        return self.refiner(image, prior, log_prior(prior)).float().softmax(1)


def log_prior(prior: torch.Tensor) -> torch.Tensor:
    """What the refiner starts from: the logarithm of the locator's posteriors, never below a floor."""
    k = prior.shape[1]
    return torch.log(prior * (1.0 - PRIOR_FLOOR) + PRIOR_FLOOR / k)
