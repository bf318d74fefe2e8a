"""What a slice tells of its neighbors: where an object probably lies on the next one, and whether it has ended there.

It probably lies where the optical flow between both slices moves the shape before.

A decoder alone answers a slice worse than a copy of the neighbor's mask would; a mask that is only moved loses the
edges after some slices. So the moved shape is evidence beside the decoder's answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from napari_synthseg.prompting.options import PropagateOptions
from napari_synthseg.prompting.prompts import brightness, signed_distance

MARGIN_EXTENTS, MARGIN_PIXELS = 1.0, 8
"""How far beyond an object the flow is estimated: its largest extents, and pixels; the larger of both."""
FLOW_SIDE = 128
"""Larger parts of a slice are shrunk to so many pixels a side first."""
ATTACHMENT = 30.0
"""Weight of the images beside the smoothness of the flow (`skimage.registration.optical_flow_tvl1`)."""
PRIOR, FAR = 2.0, 4.0
"""Log-odds of a pixel that is one step inside the moved shape, and steps from which they grow no further."""


def moved(
    mask: np.ndarray, before: np.ndarray, image: np.ndarray, pixel: tuple[float, float] = (1.0, 1.0)
) -> np.ndarray:
    """Move a mask from one slice to the next by the optical flow between them (TV-L1).

    Args:
        mask: (rows, columns) bool, on the slice before.
        before: (rows, columns) brightness of the slice before, 0 black to 1 white.
        image: likewise, of the slice that it is moved to.
        pixel: height and width of a pixel, in any unit.

    Returns:
        (rows, columns) float32, the distance from the moved edge in that unit, negative outside.
    """
    from skimage.registration import optical_flow_tvl1

    farthest = float(np.hypot(*mask.shape)) * max(pixel)
    depth = np.clip(signed_distance(mask, pixel), -farthest, farthest)  # infinite if all is inside, or outside
    if not mask.any() or min(mask.shape) < 2:
        return depth
    part = _part_around(mask)
    looks = [np.clip(np.nan_to_num(one[part]), 0, 1).astype(np.float32) for one in (image, before)]
    shrunk = min(1.0, FLOW_SIDE / max(looks[0].shape))
    if shrunk < 1:
        looks = [ndimage.zoom(ndimage.gaussian_filter(one, 0.5 / shrunk), shrunk, order=1) for one in looks]
    flow = optical_flow_tvl1(*looks, attachment=ATTACHMENT)
    size = depth[part].shape
    factors = [large / small for large, small in zip(size, looks[0].shape, strict=True)]
    shifts = [ndimage.zoom(one, factors, order=1) * factor for one, factor in zip(flow, factors, strict=True)]
    places = np.indices(size, np.float32) + np.stack(shifts)
    depth[part] = ndimage.map_coordinates(depth[part], places, order=1, mode="nearest")
    return depth


def shape_evidence(depth: np.ndarray, step: float) -> np.ndarray:
    """Return log-odds of inside, float32, from the distance to an expected edge that may move by `step` of its unit."""
    return (PRIOR * np.clip(depth / step, -FAR, FAR)).astype(np.float32)


def _part_around(mask: np.ndarray) -> tuple[slice, slice]:
    """Return the part of a slice that holds a mask, not empty, and its surroundings."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    margin = max(MARGIN_PIXELS, round(MARGIN_EXTENTS * max(np.ptp(rows), np.ptp(columns))))
    ends = [(max(0, at[0] - margin), min(count, at[-1] + 1 + margin)) for at, count in
            zip((rows, columns), mask.shape, strict=True)]  # fmt: skip
    return slice(*ends[0]), slice(*ends[1])


LEAST_SPREAD = 0.02
"""Least spread of a look: in flat images any change would count."""


@dataclass(frozen=True)
class Look:
    """Brightness of an object on a slice, 0 black to 1 white: median, and standard deviation (with a lower bound)."""

    middle: float
    spread: float

    @classmethod
    def of(cls, image: np.ndarray, mask: np.ndarray, window: tuple[float, float] | None) -> Look:
        """Measure the look of the pixels in a mask (rows, columns), not empty; those not finite do not count."""
        values = brightness(image, window)[mask]
        values = values[np.isfinite(values)]
        if values.size == 0:
            return cls(0.0, LEAST_SPREAD)
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
    return min(known.change(look) for known in marked)


def overlap(mask: np.ndarray, other: np.ndarray) -> float:
    """Return the Dice score of two masks, not both empty."""
    return 2 * int((mask & other).sum()) / int(mask.sum() + other.sum())


@dataclass(frozen=True)
class SliceComparison:
    """An answer compared with the slice before and with the marked slices."""

    score: float
    """IoU with the truth that the model expects, 0-1."""
    growth: float
    """Area divided by that of the slice before."""
    overlap: float
    """Dice with the slice before."""
    size: float
    """Area divided by that of the largest marked slice."""
    change: float
    """See `least_change`."""

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


def compare(mask: np.ndarray, before: np.ndarray, largest: int, score: float, change: float) -> SliceComparison:
    """Compare an answer (rows, columns) with the slice before and the area of the largest marked one, not 0."""
    area, area_before = int(mask.sum()), int(before.sum())
    return SliceComparison(score, area / area_before, overlap(mask, before), area / largest, change)
