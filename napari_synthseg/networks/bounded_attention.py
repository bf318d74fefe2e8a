"""The attention of SAM's ViT encoders, a few rows of queries at a time.

At 1024 pixels one global block of ViT-H holds 16 maps of 4096 x 4096 three times over (3 GiB in float32); here at most
`MAPS` numbers of them exist at once. Same parameters, same results.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

from napari_synthseg.torchvision_compat import import_torchvision

import_torchvision()

from segment_anything.modeling.image_encoder import Attention, get_rel_pos  # noqa: E402

MAPS = 2**25
"""Numbers in the attention maps at hand: 128 MiB in float32."""


class BoundedAttention(Attention):
    """Multi-head attention with decomposed relative positions, in blocks of query rows.

    Args:
        width: C, channels.
        heads: number of heads.
        grid: H = W of what it reaches over, which sets the number of relative positions.
    """

    def __init__(self, width: int, heads: int, grid: int) -> None:
        super().__init__(width, heads, qkv_bias=True, use_rel_pos=True, input_size=(grid, grid))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        batch, height, width, _ = x.shape
        qkv = self.qkv(x).reshape(batch, height * width, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)  # each (B, heads, H * W, c)
        vertical = get_rel_pos(height, height, self.rel_pos_h)  # (H, H, c)
        horizontal = get_rel_pos(width, width, self.rel_pos_w)
        rows = max(1, MAPS // (batch * self.num_heads * width * height * width))
        parts = []
        for first in range(0, height, rows):
            last = min(first + rows, height)
            part = q[:, :, first * width : last * width]
            grid = part.unflatten(2, (last - first, width))
            bias = (
                torch.einsum("bnhwc,hkc->bnhwk", grid, vertical[first:last])[..., :, None]
                + torch.einsum("bnhwc,wkc->bnhwk", grid, horizontal)[..., None, :]
            )
            parts.append(F.scaled_dot_product_attention(part, k, v, bias.flatten(4).flatten(2, 3), scale=self.scale))
        joined = torch.cat(parts, dim=2)  # (B, heads, H * W, c)
        return self.proj(joined.transpose(1, 2).reshape(batch, height, width, -1))
