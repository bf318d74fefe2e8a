"""Three heads on Swin UNETR's encoder for pre-training: inpainting, rotation, contrast (Tang et al. 2022, section 3.2).

Pre-train once, fine-tune many, section III-A, follows that paper.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from napari_synthseg.networks.transformers import SwinUnetr

TURNS = 4
"""Rotations by right angles about the axis from feet to head."""
EMBEDDING = 512
"""Length of the vectors that are contrasted."""


class SwinPretexts(nn.Module):
    """The encoder of a Swin UNETR with its heads.

    Args:
        swin: whose encoder is trained; its decoder takes no part.
    """

    def __init__(self, swin: SwinUnetr) -> None:
        super().__init__()
        self.encoder, self.edge = swin.encoder, swin.edge
        width = 16 * int(self.encoder.embed_dim)  # type: ignore[arg-type]
        self.rotation, self.contrast = nn.Linear(width, TURNS), nn.Linear(width, EMBEDDING)
        widths = [width // 2**i for i in range(5)]
        self.inpainting = nn.ModuleList(
            _convolution(a, b) for a, b in zip(widths, [*widths[1:], widths[-1]], strict=True)
        )
        self.last = nn.Conv3d(widths[-1], 1, 1)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Look at a view.

        Args:
            image: (B, 1, X, Y, Z) in [0, 1], turned and partly cut out; sizes are multiples of 32.

        Returns:
            Logits of the rotation (B, 4), the vector to contrast (B, 512), and the inpainted image (B, 1, X, Y, Z).
        """
        x = self.encoder(image)[-1]
        middle = x.mean((2, 3, 4))
        for level in self.inpainting:
            x = F.interpolate(level(x), scale_factor=2, mode="trilinear", align_corners=False)
        return self.rotation(middle), self.contrast(middle), self.last(x)


def _convolution(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv3d(inputs, outputs, 3, padding=1), nn.InstanceNorm3d(outputs), nn.LeakyReLU())


def contrastive_loss(first: torch.Tensor, second: torch.Tensor, temperature: float = 0.5) -> torch.Tensor:
    """SimCLR's loss (NT-Xent): of two views of each crop, which belong together.

    Args:
        first: (B, C) vectors of one view of each crop, B at least 2.
        second: (B, C) of the other.
        temperature: divides the cosines.
    """
    count = len(first)
    vectors = F.normalize(torch.cat([first, second]).float(), dim=1)
    likeness = vectors @ vectors.T / temperature
    likeness.fill_diagonal_(float("-inf"))
    partner = torch.arange(2 * count, device=first.device).roll(count)
    return F.cross_entropy(likeness, partner)
