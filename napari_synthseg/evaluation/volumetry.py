"""Volumes of structures, how those of the two sides differ, and how those of two segmentations agree."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from napari_synthseg import anatomy
from napari_synthseg.volume import Volume

_COUNTED_BELOW = 1 << 20  # values for which a table of counts is small; greater ones are sorted


def label_volumes(labels: Volume, values: Iterable[int] | None = None) -> dict[int, float]:
    """Volume in mm^3 of each value: its number of voxels times the volume of a voxel.

    Args:
        labels: A label map of whole numbers that are not negative.
        values: Values to measure (0.0 where absent); without them, all that occur but the background.
    """
    counts = count_labels(labels.data)
    voxel = labels.voxel_mm3
    chosen = (v for v in counts if v) if values is None else values
    return {int(v): counts.get(int(v), 0) * voxel for v in chosen}


def count_labels(labels: np.ndarray) -> dict[int, int]:
    """Voxels of each value that occurs, background among them, sorted by value."""
    if labels.size == 0:
        return {}
    if labels.min() < 0 or labels.max() >= _COUNTED_BELOW:
        found, numbers = np.unique(labels, return_counts=True)
        return {int(v): int(n) for v, n in zip(found, numbers, strict=True)}
    counts = np.zeros(int(labels.max()) + 1, np.int64)
    for part in np.atleast_2d(labels):  # counting needs 8 bytes a voxel: a plane at a time
        counts += np.bincount(part.astype(np.intp, copy=False).ravel(), minlength=len(counts))
    return {int(v): int(counts[v]) for v in np.flatnonzero(counts)}


def asymmetry_index(left: float, right: float) -> float | None:
    """200 (L - R) / (L + R) in percent, -200 to 200: positive where the left is larger; None where both are empty."""
    return None if left + right == 0 else 200.0 * (left - right) / (left + right)


def side_pairs(values: Iterable[int]) -> list[tuple[int, int]]:
    """The (left, right) values of the structures of which both sides are among `values`, sorted by the left one."""
    there = {int(v) for v in values}
    left = (v for v in sorted(there) if anatomy.known(v) and anatomy.structure(v).side == "left")
    pairs = ((v, anatomy.structure(v).contralateral) for v in left)
    return [(one, other) for one, other in pairs if other != one and other in there]


def asymmetries(volumes: Mapping[int, float]) -> dict[int, float]:
    """The asymmetry index in percent by left value, of the structures of which both sides are measured.

    Args:
        volumes: Volumes by value, in any unit.
    """
    found = {left: asymmetry_index(volumes[left], volumes[right]) for left, right in side_pairs(volumes)}
    return {value: index for value, index in found.items() if index is not None}


def compare_volumes(
    pred: Sequence[Mapping[int, float]], truth: Sequence[Mapping[int, float]]
) -> dict[int, dict[str, float | int | None]]:
    """Agreement of the volumes (mm^3) of several scans, structure by structure.

    Args:
        pred: Volumes of each scan by value.
        truth: True volumes of the same scans, in the same order.

    Returns:
        For each value that a true scan holds: `scans` (in how many), `difference_percent` (mean relative difference,
        the bias), `absolute_difference_percent` (mean of its absolute value) and `correlation` (Pearson; None for
        fewer than three scans or when either side does not vary).

    Raises:
        ValueError: The two sequences differ in length.
    """
    if len(pred) != len(truth):
        raise ValueError(f"Volumes of {len(pred)} scans cannot be compared with those of {len(truth)}.")
    out: dict[int, dict[str, float | int | None]] = {}
    for value in sorted({v for scan in truth for v, size in scan.items() if size > 0}):
        pairs = np.array(
            [(p.get(value, 0.0), t[value]) for p, t in zip(pred, truth, strict=True) if t.get(value, 0) > 0]
        )
        difference = 100.0 * (pairs[:, 0] - pairs[:, 1]) / pairs[:, 1]
        out[value] = {
            "scans": len(pairs),
            "difference_percent": float(difference.mean()),
            "absolute_difference_percent": float(np.abs(difference).mean()),
            "correlation": _pearson(pairs[:, 0], pairs[:, 1]),
        }
    return out


def _pearson(x: np.ndarray, y: np.ndarray) -> float | None:
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    return float(np.corrcoef(x, y)[0, 1])
