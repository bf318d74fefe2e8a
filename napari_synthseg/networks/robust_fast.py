"""SynthSeg+'s hierarchy on the fast network's plan: S1 and D at 2 mm tell the locator where the tissues are.

S2 is the locate-and-refine network: its locator sees the image and D's tissue probabilities, and its refiner starts
from what that locator found. Everything that runs the fast network runs this one too. Soft maps are handed on, as the
paper says; the published networks hand on hard ones (`robust`).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from napari_synthseg.anatomy import TISSUES
from napari_synthseg.networks.denoiser import Denoiser
from napari_synthseg.networks.locate_refine import LocateRefine
from napari_synthseg.networks.subvoxel import SubvoxelUNet

KERNEL = 3
"""Of the denoiser, voxels of 2 mm: about the millimetres that the published one's five voxels of 1 mm span."""


class GuidedLocator(nn.Module):
    """S1, D and the first stage of S2 in a row; offers what a `SubvoxelUNet` does.

    Args:
        n_labels: K.
        features: channels of S2's levels.
        s1_features: channels of S1's levels.
        denoiser_features: channels of all of D's levels.
        field: trunk voxels of the fixed field of view, see `SubvoxelUNet`.
    """

    def __init__(
        self,
        n_labels: int,
        features: Sequence[int],
        s1_features: Sequence[int],
        denoiser_features: int,
        field: tuple[int, int, int],
    ) -> None:
        super().__init__()
        count = len(TISSUES)
        self.s1 = SubvoxelUNet(count, s1_features, field=field)
        self.denoiser = Denoiser(count, denoiser_features, kernel=KERNEL)
        self.s2 = SubvoxelUNet(n_labels, features, field=field, in_channels=1 + count)
        self.n_labels = n_labels

    def train(self, mode: bool = True) -> GuidedLocator:
        """As of any module, but the denoiser stays as prediction needs it: whoever trains it says so."""
        super().train(mode)
        self.denoiser.eval()
        return self

    @property
    def head(self) -> nn.Conv3d:
        """S2's."""
        return self.s2.head

    @property
    def position(self) -> nn.Parameter | None:
        """S2's."""
        return self.s2.position

    def tissues(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, 1, X, Y, Z) image at 2 mm in [0, 1] -> (B, T, X, Y, Z) posteriors of S1, and of D."""
        s1 = self.s1(image).float().softmax(1)
        return s1, self.denoiser.logits(s1).float().softmax(1)

    def trunk(self, image: torch.Tensor, denoised: torch.Tensor | None = None) -> torch.Tensor:
        """(B, 1, 2X, 2Y, 2Z) image -> (B, F, X, Y, Z) features of S2, which knows the tissues.

        Args:
            image: at 2 mm in [0, 1].
            denoised: (B, T, 2X, 2Y, 2Z) posteriors of D, if they are known already.
        """
        if denoised is None:
            with torch.no_grad():  # each network is trained by itself
                denoised = self.tissues(image)[1]
        return self.s2.trunk(with_tissues(image, denoised))

    def bias(self, shape: Sequence[int]) -> torch.Tensor | float:
        """S2's positional term."""
        return self.s2.bias(shape)

    def logits_at(self, features: torch.Tensor, position: int) -> torch.Tensor:
        """S2's logits of one of the eight sub-voxel positions."""
        return self.s2.logits_at(features, position)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(B, 1, X, Y, Z) image at 2 mm in [0, 1] -> (B, K, X, Y, Z) logits."""
        with torch.no_grad():
            denoised = self.tissues(image)[1]
        return self.s2(with_tissues(image, denoised))


class RobustLocateRefine(LocateRefine):
    """S1 -> D -> S2, all of them fast; forward takes an image at 1 mm.

    Args:
        labels: the sorted FreeSurfer values predicted, background first.
        locator_features, refiner_features: channels of each trunk level of S2's stages.
        s1_features: channels of S1's levels.
        denoiser_features: channels of all of D's levels.
    """

    def __init__(
        self,
        labels: Sequence[int],
        locator_features: Sequence[int] = (32, 64, 128, 160),
        refiner_features: Sequence[int] = (32, 64, 128),
        s1_features: Sequence[int] = (32, 64, 128, 160),
        denoiser_features: int = 16,
    ) -> None:
        super().__init__(labels, locator_features, refiner_features)
        field = tuple(n // 2 for n in self.head_shape)
        sizes = (locator_features, s1_features, denoiser_features)
        self.locator: GuidedLocator = GuidedLocator(len(self.labels), *sizes, field)  # type: ignore[assignment, arg-type]

    def stages(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Posteriors of the three networks.

        Args:
            image: (B, 1, X, Y, Z) at 1 mm in [0, 1], of any size; the middle 192 x 224 x 192 voxels are looked at, and
                all beyond is background.

        Returns:
            Those of S1 and D (B, T, X, Y, Z), from 2 mm, and those of S2 (B, K, X, Y, Z).
        """
        shape = tuple(2 * n for n in self.head_shape)
        field = fitted(image, shape)
        small = F.avg_pool3d(field, 2)
        s1, denoised = self.locator.tissues(small)
        prior = self.locator.s2(with_tissues(small, denoised)).float().softmax(1)
        s2 = self.refine(field, prior, self.appearance(small, prior))
        whole = [F.interpolate(one, scale_factor=2, mode="nearest") for one in (s1, denoised)]
        first, second, third = (background_beyond(fitted(one, image.shape[2:])) for one in (*whole, s2))
        return first, second, third

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(B, 1, X, Y, Z) image at 1 mm in [0, 1] -> (B, K, X, Y, Z) posteriors."""
        return self.stages(image)[2]


def with_tissues(image: torch.Tensor, tissues: torch.Tensor) -> torch.Tensor:
    """S2's input: (B, 1, X, Y, Z) image first, then (B, T, X, Y, Z) tissue probabilities."""
    both = torch.cat([image, tissues.to(image.dtype)], 1)
    return both.contiguous(memory_format=torch.channels_last_3d)


def fitted(volume: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """The middle of (B, C, X, Y, Z), cut or padded with zeros to a shape; back and forth ends where it began."""
    pads: list[int] = []
    for n, m in zip(reversed(volume.shape[2:]), reversed(tuple(shape)), strict=True):
        low = m // 2 - n // 2
        pads += [low, m - n - low]
    return F.pad(volume, pads)


def background_beyond(posteriors: torch.Tensor) -> torch.Tensor:
    """Posteriors (B, C, X, Y, Z) with the first channel at 1 where all are 0; in place."""
    posteriors[:, 0][posteriors.sum(1) == 0] = 1.0
    return posteriors
