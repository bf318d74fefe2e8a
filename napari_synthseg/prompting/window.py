"""Which values of an image become black and white."""

from __future__ import annotations

import numpy as np

WINDOW = (0.5, 99.5)
"""Percentiles of the finite values that become black and white."""
MOST_VALUES = 2**22
"""So many voxels of a volume, evenly chosen, are enough for its percentiles."""


def percentiles(values: np.ndarray) -> tuple[float, float]:
    """Black and white of finite values; where next to nothing stands out, the extremes, lest it vanish."""
    low, high = (float(value) for value in np.percentile(values, WINDOW))
    return (low, high) if high > low else (float(values.min()), float(values.max()))


def window_of(volume: np.ndarray) -> tuple[float, float] | None:
    """Values of a volume that become black and white in all of its slices: percentiles of the whole of it.

    Args:
        volume: (X, Y, Z), or (X, Y, Z, 3 or 4) in colour, or a slice of one; any kind of numbers.

    Returns:
        None where there is nothing to choose: bytes are shown as they are.
    """
    if volume.dtype == np.uint8:
        return None
    step = max(1, round((volume.size / MOST_VALUES) ** (1 / 3)))
    values = volume[(slice(None, None, step),) * min(3, volume.ndim)].astype(np.float32)
    values = values[np.isfinite(values)]
    return percentiles(values) if values.size else None
