"""Where an object that is followed through slices ends: by the model's doubt, by its shape, and by its look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from napari_synthseg.prompting.options import PropagateOptions

LEAST_SPREAD = 0.02
"""A look spreads over no less than this: in flat images any change would count."""


@dataclass(frozen=True)
class Look:
    """How bright an object is on a slice: 0 is black, 1 white."""

    middle: float
    """Median."""
    spread: float
    """Standard deviation, `LEAST_SPREAD` or more."""

    @classmethod
    def of(cls, image: np.ndarray, mask: np.ndarray, window: tuple[float, float] | None) -> Look:
        """The look of what a mask (rows, columns) covers, not empty, in an image (rows, columns) or in colour.

        Args:
            image: any kind of numbers; what is not finite does not count.
            mask: bool.
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
        """How far another look's middle is, in spreads of this one."""
        return abs(other.middle - self.middle) / self.spread


def least_change(
    marked: Sequence[Look], image: np.ndarray, mask: np.ndarray, window: tuple[float, float] | None
) -> float:
    """How much an answer's look differs from that of the marked slice it is most like; 0 for an empty answer."""
    if not mask.any():
        return 0.0
    look = Look.of(image, mask, window)
    return min(one.change(look) for one in marked)


@dataclass(frozen=True)
class Comparison:
    """An answer beside the slice before it, and beside the slices that were marked."""

    score: float
    """The IoU with the truth that the model expects, 0-1."""
    growth: float
    """Area by that of the slice before."""
    overlap: float
    """Dice with the slice before."""
    size: float
    """Area by that of the largest marked slice."""
    change: float
    """See `least_change`."""

    def ended(self, options: PropagateOptions) -> str:
        """Why the object ends here, as a part of a sentence; "" where it does not."""
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
    """An answer (rows, columns) beside the mask of the slice before and the area of the largest marked one, not 0."""
    area, area_before = int(mask.sum()), int(before.sum())
    overlap = 2 * int((mask & before).sum()) / (area + area_before)
    return Comparison(score, area / area_before, overlap, area / largest, change)
