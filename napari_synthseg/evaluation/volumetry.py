"""Volumes of structures, and how those of two segmentations of the same scans agree."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from napari_synthseg.volume import Volume


def label_volumes(labels: Volume, values: Iterable[int] | None = None) -> dict[int, float]:
    """Volume in mm^3 of each value: its number of voxels times the volume of a voxel.

    Args:
        labels: A label map of whole numbers that are not negative.
        values: Values to measure (0.0 where absent); without them, all that occur but the background.
    """
    counts = np.bincount(labels.data.astype(np.intp, copy=False).ravel())
    voxel = labels.voxel_mm3
    chosen = np.flatnonzero(counts) if values is None else values
    return {int(v): float(counts[v] * voxel) if v < counts.size else 0.0 for v in chosen if values is not None or v}


def relative_difference(volume: float, truth: float) -> float | None:
    """(volume - truth) / truth in percent; None where the truth is empty."""
    return None if truth == 0 else 100.0 * (volume - truth) / truth


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
