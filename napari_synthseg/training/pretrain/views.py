"""Two views of each crop for Swin UNETR's pre-training: turned by right angles, partly cut out (Tang et al. 2022)."""

from __future__ import annotations

import torch

from napari_synthseg.networks.pretraining import TURNS

LARGEST = 0.25
"""Longest side of a piece that is cut out, as a share of the crop's."""


def turned(images: torch.Tensor, turns: torch.Tensor) -> torch.Tensor:
    """(B, 1, X, Y, Z) cubes, each turned by so many right angles (B,) about the axis from feet to head."""
    return torch.stack([torch.rot90(one, int(k), (1, 2)) for one, k in zip(images, turns, strict=True)])


def random_turns(batch: int, g: torch.Generator) -> torch.Tensor:
    """(batch,) numbers of right angles, 0 to 3."""
    return torch.randint(TURNS, (batch,), generator=g)


def random_holes(shape: tuple[int, int, int], share: float, g: torch.Generator) -> torch.Tensor:
    """(X, Y, Z) true within boxes that together make up the share of the voxels, or a little more."""
    holes = torch.zeros(shape, dtype=torch.bool)
    while holes.float().mean() < share:
        box = []
        for n in shape:
            size = 1 + int(torch.randint(max(1, int(LARGEST * n)), (1,), generator=g))
            start = int(torch.randint(n - size + 1, (1,), generator=g))
            box.append(slice(start, start + size))
        holes[tuple(box)] = True
    return holes


def cut_out(images: torch.Tensor, share: float, g: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Images with holes, which hold noise: zeros would look like the background.

    Args:
        images: (B, 1, X, Y, Z) in [0, 1].
        share: of the voxels that are cut out.
        g: on the CPU.

    Returns:
        The images, and (B, 1, X, Y, Z) bool, true in the holes.
    """
    x, y, z = images.shape[2:]
    holes = torch.stack([random_holes((x, y, z), share, g) for _ in images])[:, None].to(images.device)
    noise = torch.rand(images.shape, generator=g).to(images.device)
    return torch.where(holes, noise, images), holes
