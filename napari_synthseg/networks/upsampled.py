"""A convolution of what was upsampled by nearest neighbour, computed without upsampling.

Within an upsampled image, neighbours are often copies of one voxel, so the taps of the kernel that fall on them can be
added beforehand: each of the eight positions within a voxel has a small kernel of its own on the coarse grid. A 3^3
kernel becomes eight of 2^3 (27 multiplications become 8), a 5^3 kernel eight of 3^3; the result is the same but for
rounding, and the upsampled image is never made.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

FOLDS = {
    3: [[[1, 1, 0], [0, 0, 1]], [[1, 0, 0], [0, 1, 1]]],
    5: [[[1, 1, 0, 0, 0], [0, 0, 1, 1, 0], [0, 0, 0, 0, 1]], [[1, 0, 0, 0, 0], [0, 1, 1, 0, 0], [0, 0, 0, 1, 1]]],
}
"""By the edge of the kernel: for both positions, which fine taps fall on which coarse tap.

With two coarse taps (voxels i - 1 and i) the positions are 2i - 1 and 2i; with three (around i), 2i and 2i + 1.
"""


def folded(weight: torch.Tensor) -> torch.Tensor:
    """The kernels of the eight positions.

    Args:
        weight: (F, C, k, k, k), k 3 or 5.

    Returns:
        (8 F, C, t, t, t), t 2 or 3; position (x, y, z) is number 4x + 2y + z.
    """
    fold = torch.tensor(FOLDS[weight.shape[-1]], dtype=weight.dtype, device=weight.device)
    out = torch.einsum("fcijk,xai,ybj,zdk->xyzfcabd", weight, fold, fold, fold)
    return out.flatten(0, 3).contiguous(memory_format=torch.channels_last_3d)


def convolve_upsampled(x: torch.Tensor, kernels: torch.Tensor, *, padded: bool = False) -> torch.Tensor:
    """The convolution ('same', zeros beyond the edges) of x upsampled by two.

    Args:
        x: (1, C, X, Y, Z).
        kernels: as `folded` gives them.
        padded: x brings its neighbours along the first axis itself, so that what comes out is shorter there: of X + 1
            voxels of two taps, the 2 X positions between their middles; of X + 2 of three taps, the 2 X inner ones.

    Returns:
        (1, F, 2 X, 2 Y, 2 Z).
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
