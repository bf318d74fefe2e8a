"""Layers that torch lacks: a fast instance normalization, and a convolution of an upsampled image without upsampling.

Within an image upsampled by nearest neighbor, neighbors are often copies of one voxel, so the taps of the kernel that
fall on them can be added beforehand: each of the eight positions within a voxel has a small kernel of its own on the
coarse grid. A 3^3 kernel becomes eight of 2^3 (27 multiplications become 8), a 5^3 kernel eight of 3^3; the result is
the same but for rounding, and the upsampled image is never made.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F


class _InstanceNorm(torch.autograd.Function):
    """Group norm's forward with one channel a group, and a backward of four passes over the data."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float) -> torch.Tensor:
        b, c = x.shape[:2]
        n = x[0, 0].numel()
        y, mean, rstd = torch.native_group_norm(x, weight.to(x.dtype), bias.to(x.dtype), b, c, n, c, eps)
        ctx.save_for_backward(x, mean, rstd, weight)
        ctx.eps = eps
        return y

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor):
        x, mean, rstd, weight = ctx.saved_tensors
        if torch.is_grad_enabled():  # it will be differentiated again, which the passes below cannot be
            return *_twice(x, weight, ctx.eps, grads[0]), None
        b, c = x.shape[:2]
        n = x[0, 0].numel()
        flat = x.permute(0, 2, 3, 4, 1).reshape(b, n, c)
        dy = grads[0].permute(0, 2, 3, 4, 1).reshape(b, n, c)
        mean, rstd = mean.reshape(b, c).float(), rstd.reshape(b, c).float()
        d_bias = dy.sum(1, dtype=torch.float32)
        d_weight = (torch.mul(dy, flat).sum(1, dtype=torch.float32) - mean * d_bias) * rstd
        scale = rstd * weight.float()
        slope = -scale * rstd * d_weight / n
        offset = -scale * d_bias / n - slope * mean
        dx = torch.addcmul(offset.to(x.dtype)[:, None], dy, scale.to(x.dtype)[:, None])
        dx.addcmul_(flat, slope.to(x.dtype)[:, None])
        dx = dx.reshape(b, *x.shape[2:], c).permute(0, 4, 1, 2, 3)
        return dx, d_weight.sum(0).to(weight.dtype), d_bias.sum(0).to(weight.dtype), None


def _twice(x: torch.Tensor, weight: torch.Tensor, eps: float, dy: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Return the gradients of the norm for image, scale and shift, differentiable in their turn."""
    axes = tuple(range(2, x.dim()))
    centered = x - x.mean(axes, keepdim=True)
    rstd = (centered.square().mean(axes, keepdim=True) + eps).rsqrt()
    normed = centered * rstd
    scaled = dy * weight.to(x.dtype).view(1, -1, *[1] * len(axes))
    slope = (scaled * normed).mean(axes, keepdim=True)
    dx = rstd * (scaled - scaled.mean(axes, keepdim=True) - normed * slope)
    over = (0, *axes)
    return dx, (dy * normed).sum(over).to(weight.dtype), dy.sum(over).to(weight.dtype)


class InstanceNorm(nn.Module):
    """Instance normalization with a learned scale and shift per channel, for (B, C, X, Y, Z)."""

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.device.type == "cpu":
            return _InstanceNorm.apply(x, self.weight, self.bias, self.eps)  # type: ignore[no-any-return]
        return nn.functional.instance_norm(x, weight=self.weight.to(x.dtype), bias=self.bias.to(x.dtype), eps=self.eps)


FOLDS = {
    3: [[[1, 1, 0], [0, 0, 1]], [[1, 0, 0], [0, 1, 1]]],
    5: [[[1, 1, 0, 0, 0], [0, 0, 1, 1, 0], [0, 0, 0, 0, 1]], [[1, 0, 0, 0, 0], [0, 1, 1, 0, 0], [0, 0, 0, 1, 1]]],
}
"""By the edge of the kernel: for both positions, which fine taps fall on which coarse tap.

With two coarse taps (voxels i - 1 and i) the positions are 2i - 1 and 2i; with three (around i), 2i and 2i + 1.
"""


def folded(weight: torch.Tensor) -> torch.Tensor:
    """Return the kernels of the eight positions, (8 F, C, t, t, t), t 2 or 3, of weights (F, C, k, k, k), k 3 or 5.

    Position (x, y, z) is number 4x + 2y + z.
    """
    fold = torch.tensor(FOLDS[weight.shape[-1]], dtype=weight.dtype, device=weight.device)
    out = torch.einsum("fcijk,xai,ybj,zdk->xyzfcabd", weight, fold, fold, fold)
    return out.flatten(0, 3).contiguous(memory_format=torch.channels_last_3d)


def convolve_upsampled(x: torch.Tensor, kernels: torch.Tensor, *, padded: bool = False) -> torch.Tensor:
    """Convolve x (1, C, X, Y, Z) upsampled by two ('same', zeros beyond the edges): (1, F, 2 X, 2 Y, 2 Z).

    Args:
        x: the image.
        kernels: as `folded` gives them.
        padded: x brings its neighbors along the first axis itself, so that what comes out is shorter there: of X + 1
            voxels of two taps, the 2 X positions between their middles; of X + 2 of three taps, the 2 X inner ones.
    """
    taps, channels = kernels.shape[-1], kernels.shape[0] // 8
    first = F.conv3d(x, kernels, padding=(0 if padded else 1, 1, 1))
    size = first.shape[2:]
    # (8 F, X', Y', Z') -> (X', 2, Y', 2, Z', 2, F), one copy
    out = first[0].view(2, 2, 2, channels, *size).permute(4, 0, 5, 1, 6, 2, 3)
    out = out.reshape(2 * size[0], 2 * size[1], 2 * size[2], channels).permute(3, 0, 1, 2)[None]
    if taps == 2:  # one position too many at either end
        out = out[:, :, slice(None) if padded else slice(1, -1), 1:-1, 1:-1]
    return out
