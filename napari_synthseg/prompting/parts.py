"""What of an answer was pointed at: a decoder trained on connected objects leaves specks that nobody asked for."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from napari_synthseg.prompting.prompts import Prompts

NEAR = 2
"""Pixels by which a point may miss the part that it means."""


def pointed_at(mask: np.ndarray, prompts: Prompts) -> np.ndarray:
    """The connected parts of a mask that a prompt means.

    Those are the parts under a point inside, within the box, or in common with the mask prompt; the largest one if
    there are none.

    Args:
        mask: (rows, columns) bool.
        prompts: what it answers.

    Returns:
        (rows, columns) bool: the mask or a part of it.
    """
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if rows.size == 0:
        return mask
    top, left = int(rows[0]), int(columns[0])
    part = mask[top : rows[-1] + 1, left : columns[-1] + 1]
    numbers, count = ndimage.label(part, np.ones((3, 3)))  # cc3d 4.1 errs in the plane with 8 neighbours
    if count == 1:
        return mask
    meant = np.zeros(count + 1, bool)
    for (row, column), positive in zip(prompts.points, prompts.positive, strict=True):
        if positive:
            r, c = round(row) - top, round(column) - left
            meant[numbers[max(0, r - NEAR) : max(0, r + NEAR + 1), max(0, c - NEAR) : max(0, c + NEAR + 1)]] = True
    if prompts.box is not None:
        r0, c0, r1, c1 = prompts.box
        r0, r1, c0, c1 = round(r0) - top, round(r1) - top, round(c0) - left, round(c1) - left
        meant[numbers[max(0, r0) : max(0, r1 + 1), max(0, c0) : max(0, c1 + 1)]] = True
    if prompts.mask is not None:
        meant[numbers[prompts.mask[top : rows[-1] + 1, left : columns[-1] + 1] > 0.5]] = True
    meant[0] = False
    if not meant.any():
        sizes = np.bincount(numbers.ravel())
        meant[1 + sizes[1:].argmax()] = True
    kept = np.zeros_like(mask)
    kept[top : rows[-1] + 1, left : columns[-1] + 1] = meant[numbers]
    return kept
