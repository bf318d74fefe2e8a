"""The fast network: locate the structures in the whole head at 2 mm, then refine at 1 mm knowing where they are.

SynthSeg+'s idea of feeding one network's posteriors to the next, used for speed: contrast being random, place and shape
are the only cues, and a whole head at low resolution shows them cheaply. Both stages are half-resolution U-Nets. The
second also knows what each structure looks like in this scan: see `appearance`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from napari_synthseg.networks.appearance import fit_appearance, sampled, with_evidence
from napari_synthseg.networks.subvoxel import SubvoxelUNet, subvoxel

PRIOR_FLOOR = 1e-4
"""Posteriors of the locator are mixed with this much of the uniform, so that the refiner can overrule them."""


class Refiner(SubvoxelUNet):
    """Corrects the locator: logits = network + log prior + evidence x log likelihood of the intensities.

    Args:
        n_labels: K.
        features: channels at each level of the trunk.
    """

    def __init__(self, n_labels: int, features: Sequence[int]) -> None:
        super().__init__(n_labels, features, prior_channels=2 * n_labels)
        self.evidence = nn.Parameter(torch.ones(()))

    def hints(self, image: torch.Tensor, prior: torch.Tensor, appearance: torch.Tensor) -> torch.Tensor:
        """(B, 2K, X/2, Y/2, Z/2): the prior, and what it becomes when the intensities are taken into account."""
        coarse = F.avg_pool3d(image.float(), 2)
        with torch.no_grad():
            updated = with_evidence(log_prior(prior), coarse, appearance, self.evidence).softmax(1)
        return torch.cat([prior, updated], 1)

    def term(self, image: torch.Tensor, start: torch.Tensor, appearance: torch.Tensor, position: int) -> torch.Tensor:
        """(B, K, X/2, Y/2, Z/2) added to the logits of one sub-voxel position; `start` is the prior's `log_prior`."""
        return with_evidence(start, subvoxel(image, position), appearance, self.evidence)


class LocateRefine(nn.Module):
    """Two half-resolution U-Nets, the second a correction of the first.

    Args:
        labels: the sorted FreeSurfer values predicted, background first.
        locator_features, refiner_features: channels of each trunk level.

    Attributes:
        head_shape: voxels of the locator's fixed field of view.
        head_spacing: its voxel size, mm.
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
        self.refiner = Refiner(k, refiner_features)

    @property
    def multiple(self) -> int:
        """Sizes given to `refine` must be multiples of this."""
        return self.refiner.multiple

    def locate(self, image: torch.Tensor) -> torch.Tensor:
        """(B, 1, 96, 112, 96) image at 2 mm in [0, 1] -> (B, K, 96, 112, 96) posteriors."""
        return self.locator(image).float().softmax(1)

    def appearance(self, image: torch.Tensor, posteriors: torch.Tensor) -> torch.Tensor:
        """What each label looks like in a scan.

        Args:
            image: (B, 1, 96, 112, 96) at 2 mm in [0, 1].
            posteriors: (B, K, 96, 112, 96) of `locate`.

        Returns:
            (B, K, 2) means and variances.
        """
        return fit_appearance(sampled(image), log_prior(sampled(posteriors)))

    def refine(self, image: torch.Tensor, prior: torch.Tensor, appearance: torch.Tensor) -> torch.Tensor:
        """Posteriors at 1 mm.

        Args:
            image: (B, 1, X, Y, Z) at 1 mm in [0, 1], rescaled as the image that was located.
            prior: (B, K, X/2, Y/2, Z/2) posteriors of `locate` on the same field of view.
            appearance: (B, K, 2) of the whole head.

        Returns:
            (B, K, X, Y, Z) posteriors.
        """
        net = self.refiner
        features, start = net.trunk(image, net.hints(image, prior, appearance)), log_prior(prior)
        out = features.new_empty(len(image), net.n_labels, *image.shape[2:], dtype=torch.float32)
        for p in range(8):
            logits = net.logits_at(features, p).float() + net.term(image, start, appearance, p)
            out[:, :, p >> 2 :: 2, (p >> 1) & 1 :: 2, p & 1 :: 2] = logits.softmax(1)
        return out


def log_prior(prior: torch.Tensor) -> torch.Tensor:
    """What the refiner starts from: the logarithm of the locator's posteriors, never below a floor."""
    k = prior.shape[1]
    return torch.log(prior.float() * (1.0 - PRIOR_FLOOR) + PRIOR_FLOOR / k)
