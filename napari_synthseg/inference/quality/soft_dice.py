"""How far a segmentation can be trusted, structure by structure, from the network's own probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from scipy.ndimage import find_objects

from napari_synthseg.jobs import checkpoint


def expected_dice(
    posteriors: torch.Tensor, values: Sequence[int], hard: np.ndarray, sums: Mapping[int, float] | None = None
) -> dict[int, float]:
    """Dice between the labels and the probabilities they were taken from: `2 sum_{hard=k} p_k / (|hard=k| + sum p_k)`.

    It is the Dice to expect if the probabilities were true; they are not calibrated, so compare it between structures
    and scans of one network, and do not read it as a score.

    Args:
        posteriors: (K, X, Y, Z), background first.
        values: FreeSurfer value of each channel.
        hard: (X, Y, Z) FreeSurfer values.
        sums: sum of the posteriors of each value, if they are known already.

    Returns:
        0 to 1 by value, background left out; 0 where a structure has probability but no voxel. A structure with
        neither is left out.
    """
    boxes = find_objects(hard)  # only around a structure is there something to compare
    out = {}
    for value, channel in zip(map(int, values[1:]), posteriors[1:], strict=True):
        checkpoint()
        total = float(channel.sum(dtype=torch.float64)) if sums is None else sums[value]
        size, shared = 0, 0.0
        if value <= len(boxes) and (box := boxes[value - 1]) is not None:
            mask = torch.from_numpy(hard[box] == value)
            size = int(torch.count_nonzero(mask))
            shared = float(channel[box][mask].sum(dtype=torch.float64))
        if size + total > 0:
            out[value] = min(1.0, 2 * shared / (size + total))
    return out
