"""Stopping criterion of propagation: the model's score, the object's shape, and its look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from napari_synthseg.prompting.options import PropagateOptions

LEAST_SPREAD = 0.02
"""Least spread of a look: in flat images any change would count."""


@dataclass(frozen=True)
class Look:
    """Brightness of an object on a slice, 0 black to 1 white: median, and standard deviation (with a lower bound)."""

    middle: float
    spread: float

    @classmethod
    def of(cls, image: np.ndarray, mask: np.ndarray, window: tuple[float, float] | None) -> Look:
        """Measure the look of the pixels in a mask, not empty.

        Args:
            image: (rows, columns) or in colour; any kind of numbers, those not finite do not count.
            mask: (rows, columns) bool.
            window: values that are black and white; 0 and 255 if None.
        """
        values = image[mask].astype(np.float64)
        values = values[..., :3].mean(-1) if values.ndim == 2 else values
        values = values[np.isfinite(values)]
        if values.size == 0:
            return cls(0.0, LEAST_SPREAD)
        low, high = window or (0.0, 255.0)
        values = (values - low) / max(high - low, float(np.finfo(np.float32).tiny))
        return cls(float(np.median(values)), max(float(values.std()), LEAST_SPREAD))

    def change(self, other: Look) -> float:
        """Return the distance to another look's middle, in spreads of this one."""
        return abs(other.middle - self.middle) / self.spread


def least_change(
    marked: Sequence[Look], image: np.ndarray, mask: np.ndarray, window: tuple[float, float] | None
) -> float:
    """Return the change of an answer's look from the most similar marked slice; 0 for an empty answer."""
    if not mask.any():
        return 0.0
    look = Look.of(image, mask, window)
    return min(one.change(look) for one in marked)


@dataclass(frozen=True)
class Comparison:
    """An answer compared with the slice before and with the marked slices.

    Attributes:
        score: IoU with the truth that the model expects, 0-1.
        growth: area divided by that of the slice before.
        overlap: Dice with the slice before.
        size: area divided by that of the largest marked slice.
        change: see `least_change`.
    """

    score: float
    growth: float
    overlap: float
    size: float
    change: float

    def ended(self, options: PropagateOptions) -> str:
        """Return why the object ends here, as a part of a sentence; "" if it does not."""
        if self.growth == 0:
            return "nothing of it is found there"
        if self.score < options.least_score:
            return f"the model is unsure (score {self.score:.2f})"
        if self.growth > options.most_growth:
            return f"the area grows {self.growth:.1f} times"
        if self.size > options.most_area:
            return f"it is {self.size:.1f} times as large as on any marked slice"
        if self.overlap < options.least_overlap:
            return f"it overlaps little with the slice before (Dice {self.overlap:.2f})"
        if self.change > options.most_change:
            return f"it looks different (by {self.change:.1f} standard deviations)"
        return ""


def compare(mask: np.ndarray, before: np.ndarray, largest: int, score: float, change: float) -> Comparison:
    """Compare an answer (rows, columns) with the slice before and the area of the largest marked one, not 0."""
    area, area_before = int(mask.sum()), int(before.sum())
    overlap = 2 * int((mask & before).sum()) / (area + area_before)
    return Comparison(score, area / area_before, overlap, area / largest, change)
