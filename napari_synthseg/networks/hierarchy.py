"""SynthSeg+'s hierarchy S1 -> D -> S2: tissues from the scan, denoised tissues, all structures (section 2.2).

The published networks hand on hard segmentations (one-hot of the argmax), so the parts can be trained apart and no
gradient flows between them. The fast plan hands on soft maps, as the paper says: S1 and D at 2 mm tell the locator of a
locate-and-refine network where the tissues are, and its refiner starts from what that locator found.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import lcm

import torch
from torch import nn
from torch.nn import functional as F

from napari_synthseg.anatomy import DENOISED, S1, TISSUES
from napari_synthseg.networks.locate_refine import LocateRefine, located
from napari_synthseg.networks.registry import Card, build, register
from napari_synthseg.networks.subvoxel import SubvoxelUNet
from napari_synthseg.networks.unet import Denoiser


@register("robust", whole=True, reference="fast", tissues=True)
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

    @classmethod
    def from_card(cls, card: Card) -> Hierarchy:
        parts = card["parts"]
        return cls(build(parts["s1"]), build(parts["denoiser"]), build(parts["s2"]), card["labels"])

    @property
    def streamable(self) -> tuple[nn.Module, ...]:
        """The networks in a row that can be computed in slabs: all three, or none if one of them cannot."""
        parts = (self.s1, self.denoiser, self.s2)
        return parts if all(hasattr(part, "streamable") for part in parts) else ()

    @property
    def multiple(self) -> int:
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
    """Return S2's input: (B, 1, X, Y, Z) image first, then (B, T, X, Y, Z) tissue maps."""
    return torch.cat([image, tissues.to(image.dtype)], 1)


KERNEL = 3
"""Of the denoiser, voxels of 2 mm: about the millimetres that the published one's five voxels of 1 mm span."""


class GuidedLocator(nn.Module):
    """S1, D and the first stage of S2 in a row; offers what a `SubvoxelUNet` does.

    Features are the channels of each level, those of the denoiser the same for all; for `field` see `SubvoxelUNet`.
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
        """Set the training mode of all but the denoiser, which stays as prediction needs it."""
        super().train(mode)
        self.denoiser.eval()
        return self

    @property
    def head(self) -> nn.Conv3d:
        return self.s2.head

    @property
    def position(self) -> nn.Parameter | None:
        return self.s2.position

    def tissues(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, 1, X, Y, Z) image at 2 mm in [0, 1] -> (B, T, X, Y, Z) posteriors of S1, and of D."""
        s1 = self.s1(image).float().softmax(1)
        return s1, self.denoiser.logits(s1).float().softmax(1)

    def trunk(self, image: torch.Tensor, denoised: torch.Tensor | None = None) -> torch.Tensor:
        """(B, 1, 2X, 2Y, 2Z) image -> (B, F, X, Y, Z) features of S2, which knows the tissues.

        `denoised` are the (B, T, 2X, 2Y, 2Z) posteriors of D, if they are known already.
        """
        if denoised is None:
            with torch.no_grad():  # each network is trained by itself
                denoised = self.tissues(image)[1]
        return self.s2.trunk(with_tissues(image, denoised))

    def bias(self, shape: Sequence[int]) -> torch.Tensor | float:
        return self.s2.bias(shape)

    def logits_at(self, features: torch.Tensor, position: int) -> torch.Tensor:
        return self.s2.logits_at(features, position)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(B, 1, X, Y, Z) image at 2 mm in [0, 1] -> (B, K, X, Y, Z) logits."""
        with torch.no_grad():
            denoised = self.tissues(image)[1]
        return self.s2(with_tissues(image, denoised))


@register("robust/locate-refine", predictor="locate_refine", autocast=True, channels_last=True, tissues=True)
class RobustLocateRefine(LocateRefine):
    """S1 -> D -> S2, all of them fast. Features are the channels of each level."""

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

    @classmethod
    def from_card(cls, card: Card) -> RobustLocateRefine:
        s1, denoiser, s2 = (card["parts"][name] for name in ("s1", "denoiser", "s2"))
        sizes = (s2["locator_features"], s2["refiner_features"], s1["features"], denoiser["features"])
        return cls(card["labels"], *sizes)

    def locate_averaged(
        self, image: torch.Tensor, order: Sequence[int] | None
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Compute posteriors and the tissue maps of S1 and the denoiser (not those of the mirror image)."""
        s1, denoised = self.locator.tissues(image)
        classes = {name: one[0].argmax(0).to(torch.uint8).cpu() for name, one in ((S1, s1), (DENOISED, denoised))}
        return located(self, image, order, denoised), classes


def with_tissues(image: torch.Tensor, tissues: torch.Tensor) -> torch.Tensor:
    """Return `beside`, channels last."""
    return beside(image, tissues).contiguous(memory_format=torch.channels_last_3d)
