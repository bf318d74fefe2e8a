"""Pictures of what a network learns from, for whoever watches its training (`Objective.picture`)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch


def labelled_picture(
    image: torch.Tensor, truth: torch.Tensor, found: torch.Tensor, values: Sequence[int]
) -> dict[str, np.ndarray]:
    """A sample with its labels and what the network makes of it.

    Args:
        image: (X, Y, Z) or (Y, X) intensities.
        truth: channels on the image's grid, or on a finer or coarser one of the same proportions.
        found: likewise, what is predicted.
        values: the label that each channel stands for.

    Returns:
        "image" float32, "truth" and "prediction" int32, all of the truth's shape.
    """
    lut = torch.tensor(list(values), dtype=torch.int32)
    shape = truth.shape
    return {
        "image": _onto(image.detach().float().cpu(), shape).numpy().astype(np.float32),
        "truth": lut[truth.detach().cpu().long()].numpy(),
        "prediction": lut[_onto(found.detach().cpu(), shape).long()].numpy(),
    }


def _onto(array: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """Nearest neighbours on another grid; the same array where the grids agree."""
    for axis, count in enumerate(shape):
        if array.shape[axis] != count:
            at = (torch.arange(count) + 0.5) * array.shape[axis] / count
            array = array.index_select(axis, at.long())
    return array
