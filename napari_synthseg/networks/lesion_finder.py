"""The lesion network: white matter lesions, given a scan relative to its white matter and a segmentation (ours).

A small classifier of voxels on what surrounds them at several scales (`lesion_features`). What it says of a voxel does
not depend on the block that is looked at.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from napari_synthseg.anatomy import LESION
from napari_synthseg.networks.lesion_features import FEATURES, REACH, WHITE_AROUND, lesion_features

RARE = -3.0
"""Logit of a lesion before anything is learned."""
NOWHERE = -12.0
"""Logit where there is no white matter around."""
LEAST_WHITE = 0.02
"""How much white matter there must be around a voxel."""


class LesionFinder(nn.Module):
    """Logits of lesions.

    Args:
        hidden: widths of the hidden layers.
    """

    labels = (0, LESION)
    multiple = 2
    """Input sizes must be multiples of this."""
    reach = REACH
    """Voxels to each side that the answer for a voxel depends on."""

    def __init__(self, hidden: Sequence[int] = (48, 48)) -> None:
        super().__init__()
        self.hidden = tuple(hidden)
        layers: list[nn.Module] = []
        for inputs, outputs in zip((FEATURES, *hidden), hidden, strict=False):
            layers += [nn.Linear(inputs, outputs), nn.ReLU(inplace=True)]
        last = nn.Linear(hidden[-1], 1)
        nn.init.constant_(last.bias, RARE)
        self.layers = nn.Sequential(*layers, last)

    def voxels(self, features: torch.Tensor) -> torch.Tensor:
        """(N, FEATURES) -> (N,) logits."""
        return self.layers(features)[:, 0]

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """(B, CHANNELS, X, Y, Z) of `lesion_inputs` -> (B, 1, X, Y, Z) logits, plane by plane to save memory."""
        features = lesion_features(inputs)
        out = features.new_full((len(inputs), 1, *inputs.shape[2:]), NOWHERE)
        near = features[:, WHITE_AROUND] > LEAST_WHITE
        for x in range(out.shape[2]):
            wanted = near[:, x]
            out[:, 0, x][wanted] = self.voxels(features[:, :, x].movedim(1, -1)[wanted])
        return out
