"""From a decoder's logits to the mask of an answer: smooth at the image's own resolution, and obedient to clicks.

A decoder answers on a grid of 256 x 256, often with comb-like edges, and ignores 1 to 4 clicks in a hundred (other
decoders: one in five). Here a click inside is inside the answer and one outside is outside by construction: logits are
changed around a disobeyed click, and then at its very pixel.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from scipy import ndimage

from napari_synthseg.prompting.encodings import Frame
from napari_synthseg.prompting.prompts import Prompts

STRIDE = 4
"""Pixels of the model's square for one of the decoder's."""
MARGIN = 1.0
"""Logit that a disobeyed click gets."""
REACH_CELLS, REACH_RADII = 2.0, 0.25
"""Standard deviation of the change around a disobeyed click: pixels of the decoder, and radii of the disc of the
answer's area; the larger of both."""
LEAST_PART = 0.05
"""A part of an answer to a box must have this fraction of the largest part's area."""


def answer_mask(
    logits: torch.Tensor, frame: Frame, prompts: Prompts, connected: bool = True, evidence: np.ndarray | None = None
) -> np.ndarray:
    """Return the mask (rows, columns) of the image, bool, that obeys every click.

    Args:
        logits: (h, w) of the decoder.
        frame: how the image lies in the model's square.
        prompts: what the logits answer. Of several clicks on one pixel the last one counts.
        connected: keep only the parts of the answer that a prompt means (`meant_parts`).
        evidence: (rows, columns) logits that are added to the decoder's.
    """
    values = at_image_resolution(logits, frame) + (0 if evidence is None else evidence)
    clicks = clicked_pixels(prompts, frame.shape)
    cell = STRIDE * min(frame.shape[0] / frame.resized[0], frame.shape[1] / frame.resized[1])
    mask = obedient(values, clicks, REACH_CELLS * cell) > 0
    return meant_parts(mask, prompts) if connected else mask


def at_image_resolution(logits: torch.Tensor, frame: Frame) -> np.ndarray:
    """Resample logits (h, w) to the image (rows, columns), float32, by cubic B-splines: one matrix for each axis.

    The logits are the splines' coefficients, so that the surface is smooth to the second derivative and block edges
    vanish. If the image is coarser than the logits, the splines widen and average.
    """
    down = _splines(frame.shape[0], frame.resized[0] / frame.shape[0] / STRIDE, logits.shape[0])
    across = _splines(frame.shape[1], frame.resized[1] / frame.shape[1] / STRIDE, logits.shape[1])
    return (down @ logits.float().cpu() @ across.T).numpy()


@lru_cache(maxsize=16)
def _splines(count: int, step: float, size: int) -> torch.Tensor:
    """Return weights (count, size) of `size` logits for pixels that are `step` logits apart; rows sum to 1."""
    places = (np.arange(count) + 0.5) * step - 0.5
    width = max(1.0, step)
    reach = int(np.ceil(2 * width)) + 1
    weights = np.zeros((count, size))
    rows = np.arange(count)
    for offset in range(-reach, reach + 1):
        column = np.floor(places).astype(int) + offset
        t = np.abs(places - column) / width
        bump = np.where(t < 1, 2 / 3 - t**2 + t**3 / 2, np.clip(2 - t, 0, None) ** 3 / 6)
        np.add.at(weights, (rows, np.clip(column, 0, size - 1)), bump)
    return torch.from_numpy((weights / weights.sum(1, keepdims=True)).astype(np.float32))


def clicked_pixels(prompts: Prompts, shape: tuple[int, int]) -> dict[tuple[int, int], bool]:
    """Return the clicked pixels (row, column) and whether they are inside; the last click on a pixel counts."""
    found: dict[tuple[int, int], bool] = {}
    for (row, column), positive in zip(prompts.points, prompts.positive, strict=True):
        found[min(max(round(row), 0), shape[0] - 1), min(max(round(column), 0), shape[1] - 1)] = positive
    return found


def obedient(values: np.ndarray, clicks: dict[tuple[int, int], bool], reach: float) -> np.ndarray:
    """Return logits that are above 0 at every click inside and below 0 at every click outside.

    Where one is not, Gaussians around the clicks are added that correct it and change nothing at obeyed clicks.
    """
    if not clicks:
        return values
    pixels = np.array(list(clicks))
    signs = np.where(list(clicks.values()), 1.0, -1.0)
    lack = np.maximum(0, MARGIN - signs * values[tuple(pixels.T)])
    lack[signs * values[tuple(pixels.T)] > 0] = 0
    if not lack.any():
        return values
    sigma = max(reach, REACH_RADII * float(np.sqrt((values > 0).sum() / np.pi)))
    between = np.exp(-((pixels[:, None] - pixels[None]) ** 2).sum(-1) / (2 * sigma**2))
    heights = np.linalg.lstsq(between, signs * lack, rcond=1e-3)[0]
    out = values.copy()
    for (row, column), height in zip(pixels, heights, strict=True):
        down = np.exp(-((np.arange(values.shape[0]) - row) ** 2) / (2 * sigma**2))
        across = np.exp(-((np.arange(values.shape[1]) - column) ** 2) / (2 * sigma**2))
        out += (height * down[:, None] * across).astype(np.float32)
    at = out[tuple(pixels.T)]
    out[tuple(pixels.T)] = np.where(signs * at > 0, at, signs * MARGIN)  # clicks too close to each other for Gaussians
    return out


def meant_parts(mask: np.ndarray, prompts: Prompts) -> np.ndarray:
    """Return the connected parts of a mask (rows, columns) that a prompt means.

    Those are the parts under a point inside; the parts that share pixels with the mask prompt; the parts in the box
    that are not small beside the largest one there. The largest of all if there are none.
    """
    numbers, count = ndimage.label(mask, np.ones((3, 3)))  # cc3d 4.1 errs in the plane with 8 neighbours
    if count < 2:
        return mask
    meant = np.zeros(count + 1, bool)
    for (row, column), positive in clicked_pixels(prompts, mask.shape).items():
        meant[numbers[row, column]] |= positive
    if prompts.mask is not None:
        meant[numbers[prompts.mask > 0.5]] = True
    if prompts.box is not None:
        r0, c0, r1, c1 = (max(0, round(end)) for end in prompts.box)
        inside = np.bincount(numbers[min(r0, r1) : max(r0, r1) + 1, min(c0, c1) : max(c0, c1) + 1].ravel(),
                             minlength=count + 1)  # fmt: skip
        inside[0] = 0
        meant |= inside > LEAST_PART * inside.max()
    meant[0] = False
    if not meant.any():
        meant[1 + np.bincount(numbers.ravel())[1:].argmax()] = True
    return meant[numbers]
