"""Where an object probably lies on the next slice: the shape before, moved by the optical flow between both slices.

A decoder alone answers a slice worse than a copy of the neighbor's mask would; a mask that is only moved loses the
edges after some slices. So the moved shape is evidence beside the decoder's answer.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from napari_synthseg.prompting.prompts import signed_distance

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
