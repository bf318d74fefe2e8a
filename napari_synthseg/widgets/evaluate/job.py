"""What the *Evaluate* widget runs in its thread: two label layers compared. No Qt here."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_synthseg import anatomy
from napari_synthseg.errors import InputError
from napari_synthseg.jobs import Progress
from napari_synthseg.widgets.layers.geometry import LayerScan

if TYPE_CHECKING:
    from napari_synthseg.volume import Volume

MOST_LABELS = 2000


@dataclass(frozen=True)
class Outcome:
    """What came of comparing two layers.

    Attributes:
        scores: what `metrics.scores` says.
        errors: (S, A, R) uint8 on the voxels of the true layer, see `differences.ERRORS`.
        found: (N,) what the segmentation says in the voxels that are wrong, in the order of `errors`.
        true: (N,) what the truth says there.
        worst: by value, the index in the true layer's array to look at across each of its three axes.
        resampled: whether the segmentation had to be put on the grid of the truth.
    """

    scores: dict[str, Any]
    errors: np.ndarray
    found: np.ndarray
    true: np.ndarray
    worst: dict[int, tuple[tuple[int, int, int], ...]]
    resampled: bool


def compare_layers(pred: LayerScan, truth: LayerScan) -> Generator[Progress, None, Outcome]:
    """Compare two label layers on the voxels of the true one.

    Args:
        pred: the segmentation, taken of its layer on the main thread.
        truth: likewise.

    Raises:
        InputError: there is nothing to compare: no labels, too many of them, or no place that both cover.
    """
    yield Progress("Reading the layers")
    from napari_synthseg.evaluation.differences import error_map, worst_voxels
    from napari_synthseg.evaluation.metrics import scores_steps

    true = truth.read()
    found, resampled = yield from _on_grid_of(true, pred)
    a, b = found.data.astype(np.int32), true.data.astype(np.int32)
    values = _values(a, b, pred.name, truth.name)
    evaluated = set(anatomy.evaluated_values()) & set(values)
    scores = yield from scores_steps(a, b, true.spacing, values, evaluated or set(values))
    worst = yield from worst_voxels(a, b, values)
    in_layer = {value: tuple(v[::-1] for v in reversed(voxels)) for value, voxels in worst.items()}
    errors = np.ascontiguousarray(error_map(a, b).transpose(2, 1, 0))
    wrong = errors > 0
    return Outcome(scores, errors, a.transpose(2, 1, 0)[wrong], b.transpose(2, 1, 0)[wrong], in_layer, resampled)


def errors_of_structure(outcome: Outcome, value: int) -> np.ndarray:
    """(S, A, R) errors of one structure: where it was missed, or added, whatever the other layer has there."""
    from napari_synthseg.evaluation.differences import ADDED, MISSED

    errors = np.zeros_like(outcome.errors)
    kinds = np.where(outcome.true == value, MISSED, np.where(outcome.found == value, ADDED, 0))
    errors[outcome.errors > 0] = kinds
    return errors


def _on_grid_of(true: Volume, pred: LayerScan) -> Generator[Progress, None, tuple[Volume, bool]]:
    """The segmentation on the voxels of the truth, and whether it lay on others."""
    from napari_synthseg.volume import resample_labels_to, same_grid, to_canonical

    volume = pred.read()
    if volume.shape == true.shape and same_grid(volume, true, tolerance=0.05):
        return volume, False
    same = same_grid(to_canonical(volume), to_canonical(true), tolerance=0.05)
    if not same:
        yield Progress("Putting both on one grid")
    moved = resample_labels_to(volume, true.shape, true.affine)
    if not moved.data.any() and volume.data.any():
        raise InputError(
            f'The labels of "{pred.name}" lie nowhere in the field of view of the truth: check that both layers are of '
            "the same scan, with its scale and position."
        )
    return moved, not same


def _values(a: np.ndarray, b: np.ndarray, *names: str) -> list[int]:
    from napari_synthseg.evaluation.volumetry import count_labels

    values = sorted({*count_labels(a), *count_labels(b)} - {0})
    if not values:
        raise InputError(f'Neither "{names[0]}" nor "{names[1]}" holds a label: choose layers with labels.')
    if len(values) > MOST_LABELS:
        raise InputError(
            f'"{names[0]}" and "{names[1]}" hold {len(values)} labels, more than {MOST_LABELS}: choose segmentations '
            "of structures, not of single objects."
        )
    return values
