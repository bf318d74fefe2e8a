"""What surrounds each voxel, at several scales: fixed features from which the lesion network decides (ours).

Means over cubes of several sizes stand in for the layers of a deep network: they need no training, which leaves a small
classifier that a few hundred synthetic heads teach.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

from napari_synthseg.networks.lesion_inputs import GROUPS, INTENSITIES

MEANS = (3, 5, 9, 15)
"""Edges, mm, of the cubes over which intensities are averaged."""
SPREADS = (3, 7)
"""Edges of the cubes in which their deviation is taken."""
WHITE_MEANS = (9, 21)
"""Edges of the cubes from whose white matter the difference is taken."""
TISSUE_MEANS = (5, 11, 21)
"""Edges of the cubes over which tissues are averaged, the hindbrain left out."""
REACH = 16
"""Voxels to each side that the features of a voxel depend on, at most."""
LEAST = 1e-3
"""White matter counts at least this much, so that there is a mean everywhere."""
PLAIN, SIGNED, UP, DOWN = range(4)
"""What becomes of a feature where the scan is inverted: nothing, its sign changes, or it becomes its counterpart."""


def lesion_features(inputs: torch.Tensor) -> torch.Tensor:
    """The features of every voxel.

    Args:
        inputs: (B, CHANNELS, X, Y, Z) of `lesion_inputs`.

    Returns:
        (B, FEATURES, X, Y, Z).
    """
    near, far = inputs[:, 0:1], inputs[:, 1:INTENSITIES]
    tissues = inputs[:, INTENSITIES:]
    white = tissues[:, :1].clamp(min=LEAST)
    out = [near, far, near.abs(), far.abs()]
    for edge in MEANS:
        mean = box_mean(near, edge)
        out += [mean, mean.abs()]
    for edge in SPREADS:
        mean = box_mean(near, edge)
        out.append((box_mean(near * near, edge) - mean * mean).clamp(min=0).sqrt())
    out.append(F.max_pool3d(near, 3, 1, 1) - near)
    out.append(near + F.max_pool3d(-near, 3, 1, 1))
    for edge in WHITE_MEANS:
        sums = wide_mean(torch.cat([near * white, white], 1), edge)
        out.append(near - sums[:, :1] / sums[:, 1:])
    out += [tissues, *(wide_mean(tissues[:, :-1], edge) for edge in TISSUE_MEANS)]
    return torch.cat(out, 1)


def inverted(features: torch.Tensor) -> torch.Tensor:
    """Features (N, FEATURES) as they would be if the scan were bright where it is dark."""
    order = torch.tensor(_ORDER, device=features.device)
    return features[:, order] * torch.tensor(_SIGNS, device=features.device, dtype=features.dtype)


def wide_mean(array: torch.Tensor, edge: int) -> torch.Tensor:
    """`box_mean` on every second voxel, which is faster; for arrays of even sizes the grid does not matter."""
    half = F.avg_pool3d(array, 2, ceil_mode=True, count_include_pad=False)
    mean = box_mean(half, edge // 2 // 2 * 2 + 1)
    size = [2 * n for n in half.shape[2:]]
    fine = F.interpolate(mean, size=size, mode="trilinear", align_corners=False)
    x, y, z = array.shape[2:]
    return fine[..., :x, :y, :z]


def box_mean(array: torch.Tensor, edge: int) -> torch.Tensor:
    """(B, C, X, Y, Z) means over a cube around each voxel; what lies beyond the array does not count.

    Along an axis that is shorter than the cube, the cube is as long as the axis, or a voxel shorter.
    """
    for axis in range(3):
        own = min(edge, (array.shape[2 + axis] - 1) // 2 * 2 + 1)
        size, pad = [1, 1, 1], [0, 0, 0]
        size[axis], pad[axis] = own, own // 2
        array = F.avg_pool3d(array, size, 1, pad, count_include_pad=False)
    return array


_KINDS = [
    *[SIGNED] * INTENSITIES,
    *[PLAIN] * INTENSITIES,
    *[SIGNED, PLAIN] * len(MEANS),
    *[PLAIN] * len(SPREADS),
    UP,
    DOWN,
    *[SIGNED] * len(WHITE_MEANS),
    *[PLAIN] * len(GROUPS),
    *[PLAIN] * (len(TISSUE_MEANS) * (len(GROUPS) - 1)),
]
"""What an inversion makes of each feature, in their order."""
FEATURES = len(_KINDS)
WHITE_AROUND = FEATURES - len(TISSUE_MEANS) * (len(GROUPS) - 1)
"""Which feature says how much white matter there is in the smallest cube of `TISSUE_MEANS`."""
_SWAPPED = {UP: DOWN, DOWN: UP}
_ORDER = [_KINDS.index(_SWAPPED[kind]) if kind in _SWAPPED else i for i, kind in enumerate(_KINDS)]
_SIGNS = [-1.0 if kind == SIGNED else 1.0 for kind in _KINDS]
