"""A small head made of balls and a network that reads it: what the tests of the pipeline share."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from napari_synthseg.inference.patches import average
from napari_synthseg.volume import Volume

LABELS = (0, 2, 3, 4, 24, 41, 42, 43)
GREY = {0: 0.0, 2: 1.0, 3: 0.7, 4: 0.4, 24: 0.2}
"""Intensity of each structure, the same on both sides; the head around them is 0.85."""
SCALP = 0.85


def ball_labels(n: int = 56) -> np.ndarray:
    """(n, n, n) labels of concentric balls, two sides, one ventricle a side; -1 is the scalp. Axes R, A, S."""
    x, y, z = np.meshgrid(*(np.arange(n) - (n - 1) / 2,) * 3, indexing="ij")
    r = np.sqrt(x**2 + y**2 + z**2)
    out = np.zeros((n, n, n), np.int16)
    out[r < 0.46 * n] = -1
    out[r < 0.40 * n] = 24
    left = x < 0
    out[(r < 0.36 * n) & left], out[(r < 0.36 * n) & ~left] = 3, 42
    out[(r < 0.29 * n) & left], out[(r < 0.29 * n) & ~left] = 2, 41
    core = (np.abs(np.abs(x) - 5) < 3) & (np.abs(y) < 7) & (np.abs(z - 3) < 4)
    out[core & left], out[core & ~left] = 4, 43
    return out


def ball_scan(n: int = 56) -> tuple[Volume, np.ndarray]:
    """A scan of the balls at 1 mm in RAS, and the labels with the scalp as background."""
    labels = ball_labels(n)
    image = np.full(labels.shape, SCALP, np.float32)
    for value in np.unique(labels[labels >= 0]):
        image[labels == value] = GREY[int(value) - 39 if value > 40 else int(value)]
    affine = np.eye(4)
    affine[:3, 3] = (-n / 2, -n / 2 + 5, -n / 2 - 3)
    return Volume(image * 499.7, affine), np.where(labels < 0, 0, labels)


class FakeLocateRefine(nn.Module):
    """Reads structures off intensities: `locate` takes the side from the place, `refine` from the prior."""

    labels = LABELS
    head_shape = (40, 40, 40)
    multiple = 16

    def __init__(self, fail_above: int | None = None) -> None:
        super().__init__()
        self.card = {"network": "locate-refine", "name": "fake", "sha256": "0" * 64}
        self.fail_above = fail_above
        self.blocks: list[tuple[int, ...]] = []

    def _tissue(self, image: torch.Tensor) -> torch.Tensor:
        """(B, 6, X, Y, Z): background, white matter, cortex, ventricle, CSF, scalp."""
        levels = torch.tensor([0.0, 1.0, 0.7, 0.4, 0.2, SCALP]).view(1, -1, 1, 1, 1)
        return (-((image - levels) ** 2) * 2000).softmax(1)

    def _sided(self, tissue: torch.Tensor, left: torch.Tensor) -> torch.Tensor:
        white, cortex, ventricle = tissue[:, 1:2], tissue[:, 2:3], tissue[:, 3:4]
        right = 1 - left
        background = tissue[:, :1] + tissue[:, 5:]
        parts = [background, white * left, cortex * left, ventricle * left, tissue[:, 4:5]]
        return torch.cat([*parts, white * right, cortex * right, ventricle * right], 1)

    def glance(self, image: torch.Tensor) -> torch.Tensor:
        return self.locate(image)[0].half()

    def locate_averaged(self, image: torch.Tensor, order) -> tuple[torch.Tensor, dict]:
        direct = self.locate(image)[0]
        return direct.half() if order is None else average(direct, self.locate(image.flip(2))[0], order), {}

    def refine_averaged(self, image: torch.Tensor, prior: torch.Tensor, appearance: torch.Tensor, order):
        found = self.refine(image, prior, appearance)[0]
        if order is not None:
            rows = list(order)
            mirrored = self.refine(image.flip(2), prior[:, rows].flip(2), appearance[:, rows])[0]
            found = average(found, mirrored, order)
        return found.clamp(min=1e-6).log().half()

    def posteriors(self, logits: torch.Tensor, image: torch.Tensor, appearance: torch.Tensor) -> torch.Tensor:
        return logits.copy_(logits.float().softmax(0))

    def locate(self, image: torch.Tensor) -> torch.Tensor:
        n = image.shape[2]
        left = (torch.arange(n) < n // 2).float().view(1, 1, n, 1, 1)
        return self._sided(self._tissue(image), left)

    def appearance(self, image: torch.Tensor, posteriors: torch.Tensor) -> torch.Tensor:
        return torch.zeros(1, len(self.labels), 2)

    def refine(self, image: torch.Tensor, prior: torch.Tensor, appearance: torch.Tensor) -> torch.Tensor:
        self.blocks.append(tuple(image.shape[2:]))
        if self.fail_above is not None and image.numel() > self.fail_above:
            raise RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 1 bytes.")
        left, right = prior[:, 1:4].sum(1, keepdim=True), prior[:, 5:8].sum(1, keepdim=True)
        share = F.interpolate((left + 1e-4) / (left + right + 2e-4), scale_factor=2, mode="nearest")
        return self._sided(self._tissue(image), share)


class FakeUNet(nn.Module):
    """The same at once, the side taken from the middle of what is bright: for whole heads."""

    labels = LABELS

    def __init__(self) -> None:
        super().__init__()
        self.card = {"network": "unet", "name": "fake-unet"}
        self.inner = FakeLocateRefine()

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        weight = image.sum((0, 1, 3, 4))
        middle = (weight * torch.arange(len(weight))).sum() / weight.sum()
        left = (torch.arange(len(weight)) <= middle).float().view(1, 1, -1, 1, 1)
        return self.inner._sided(self.inner._tissue(image), left)


def later(volume: torch.Tensor, x: int = 1, y: int = 1, z: int = 1) -> torch.Tensor:
    """Return what lies so many voxels further along each axis; the last voxels twice."""
    return nn.functional.pad(volume, (0, z, 0, y, 0, x), mode="replicate")[..., x:, y:, z:]


def earlier(volume: torch.Tensor, x: int = 1, y: int = 1, z: int = 1) -> torch.Tensor:
    """Undo `later`, but for the first voxel along each axis, which is left out."""
    return volume[..., 1 - x : volume.shape[-3] - x, 1 - y : volume.shape[-2] - y, 1 - z : volume.shape[-1] - z]


def mean_of_four_views(
    network: Callable[[torch.Tensor], torch.Tensor], image: torch.Tensor, order: Sequence[int]
) -> torch.Tensor:
    """Return the mean of a network's (K, X, Y, Z) answers as the locator averages them, without the first voxels."""
    seen = [earlier(network(later(image, x, 0, z)), x, 0, z) for x, z in ((0, 0), (1, 1))]
    for shift in ((1, 1, 0), (0, 1, 1)):
        seen.append(earlier(network(later(image, *shift).flip(2)).flip(1)[order], *shift))
    return torch.stack(seen).mean(0)
