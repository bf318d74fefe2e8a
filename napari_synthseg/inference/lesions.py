"""White matter lesions (label 77): who finds them, and what becomes of those of networks that know them.

Without the option they are white matter, so that volumes compare with those of networks that know no lesions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import cc3d
import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from torch import nn

from napari_synthseg.anatomy import LESION, WHITE_MATTER
from napari_synthseg.inference.lesion_stage import NAME, Marked, load_lesions
from napari_synthseg.inference.options import SegmentOptions
from napari_synthseg.inference.postprocess import bounding_box
from napari_synthseg.inference.prediction import Prediction, values_of

FAINT = 2.0**-9
"""Posteriors of lesions up to this are too faint to be worth a search for their side."""
SURE = 0.1
"""Where white matter has at least this much, its larger side is that of the lesion."""
MARGIN = 16
"""Voxels around lesions within which white matter is looked for."""


def stage_for(model: nn.Module, options: SegmentOptions) -> nn.Module | None:
    """The lesion network to run after a segmentation; None where none is wanted or the network knows lesions itself.

    Raises:
        InputError: there are no such weights, or they are of another network.
    """
    if not options.lesions or (LESION in values_of(model) and options.lesion_weights is None):
        return None
    return load_lesions(str(options.lesion_weights or NAME))


def kept_or_folded(prediction: Prediction, wanted: bool) -> Prediction:
    """The prediction as it is, or with its lesions added to the white matter of their side; changed in place then."""
    values = prediction.values
    if wanted or LESION not in values or not set(WHITE_MATTER) <= set(values):
        return prediction
    scene, coarse = prediction.scene, prediction.coarse
    if scene is not None:
        scene = replace(scene, winners=winners_folded(scene.winners, values))
    return replace(
        prediction,
        posteriors=folded(prediction.posteriors, values),
        values=tuple(v for v in values if v != LESION),
        coarse=None if coarse is None else folded(coarse.clone(), values),  # what inference made may not be changed
        scene=scene,
    )


def described(model: nn.Module, options: SegmentOptions, marked: Marked | None, hard: np.ndarray) -> dict[str, Any]:
    """What a run's record says of lesions: nothing where they are neither known nor wanted.

    Args:
        model: what segmented.
        options: what was asked for.
        marked: what the lesion network found, if it ran.
        hard: (X, Y, Z) FreeSurfer values at the end.
    """
    if marked is not None:
        return {"lesions": f"label {LESION}", "lesion_count": marked.count, "lesion_weights": marked.weights}
    if LESION not in values_of(model):
        return {}
    if not options.lesions:
        return {"lesions": "counted as the white matter of their side"}
    _, count = cc3d.connected_components(np.ascontiguousarray(hard == LESION), connectivity=26, return_N=True)
    return {"lesions": f"label {LESION}", "lesion_count": int(count)}


def folded(posteriors: torch.Tensor, values: Sequence[int]) -> torch.Tensor:
    """Posteriors without the channel of lesions, which is added to left or right white matter, in place.

    Args:
        posteriors: (K, X, Y, Z) on the CPU.
        values: FreeSurfer value of each channel.

    Returns:
        (K - 1, X, Y, Z); shares memory with the argument where lesions are the last channel.
    """
    lesion = posteriors[values.index(LESION)]
    left, right = (posteriors[values.index(v)] for v in WHITE_MATTER)
    on_left = _on_left(left, right, lesion)
    left += lesion * on_left
    right += lesion * ~on_left
    k = values.index(LESION)
    return posteriors[:k] if k == len(values) - 1 else torch.cat([posteriors[:k], posteriors[k + 1 :]])


def _on_left(left: torch.Tensor, right: torch.Tensor, lesion: torch.Tensor) -> torch.Tensor:
    """(X, Y, Z) bool: whether a lesion would be on the left: as white matter there, else as the nearest."""
    out = left >= right
    box = bounding_box((lesion > FAINT).numpy(), MARGIN)
    if box is None:
        return out
    sure = (left[box].float() + right[box].float() >= SURE).numpy()
    out[box] = torch.from_numpy(_of_the_nearest(out[box].numpy(), sure))
    return out


def _of_the_nearest(array: np.ndarray, sure: np.ndarray) -> np.ndarray:
    """An array with each value that is not sure replaced by that of the nearest voxel that is; as it is for none."""
    if sure.all() or not sure.any():
        return array
    return array[tuple(distance_transform_edt(~sure, return_distances=False, return_indices=True))]


def winners_folded(winners: torch.Tensor, values: Sequence[int]) -> torch.Tensor:
    """(X, Y, Z) numbers of channels without that of lesions, whose voxels are those of the nearest white matter."""
    k, (left, right) = values.index(LESION), (values.index(v) for v in WHITE_MATTER)
    out = winners.numpy().copy()
    box = bounding_box(out == k, MARGIN)
    if box is not None:
        part = out[box]
        nearest = _of_the_nearest(part, (part == left) | (part == right))
        part[part == k] = np.where(nearest == right, right, left)[part == k]
    out[out > k] -= 1
    return torch.from_numpy(out)
