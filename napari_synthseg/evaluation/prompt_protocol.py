"""Prompts drawn from a true mask, to measure promptable models: SynthFM's settings (section 4) and the tight box.

Where the paper's points lie is not known. Here positives are uniform over the structure's pixels. Negatives are uniform
over a band around it, or over all that lies beyond the band, where they tell a model less.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

import edt
import numpy as np

Sampling = Literal["band", "far"]
Box = tuple[float, float, float, float]

BAND = (0.1, 0.5)
"""Where the band begins and ends: distances from the structure, in radii of the disc of its area."""
LEAST_GAP = 2.0
"""Pixels between the structure and the band at least, since nobody clicks beside an edge."""
LEAST_WIDTH = 4.0
"""Pixels from the band's beginning to its end at least, so that it holds enough points around small structures."""


@dataclass(frozen=True)
class Setting:
    """Points inside and outside a structure, or its box."""

    n_pos: int = 0
    n_neg: int = 0
    prompt: Literal["points", "box"] = "points"

    @property
    def name(self) -> str:
        """As the paper writes it: (3,2) is three points inside and two outside."""
        return "box" if self.prompt == "box" else f"({self.n_pos},{self.n_neg})"


SETTINGS = (Setting(1, 0), Setting(1, 2), Setting(3, 0), Setting(3, 2), Setting(prompt="box"))


def prompts_for(
    mask: np.ndarray, n_pos: int, n_neg: int, generator: np.random.Generator, sampling: Sampling = "band"
) -> tuple[np.ndarray, np.ndarray]:
    """Points inside and outside a structure; no point twice.

    Where the structure or what is around it has fewer pixels than points are asked for, each is taken once. Where the
    band, or what lies beyond it, has no pixel in the image, negatives come from anywhere outside.

    Args:
        mask: (rows, columns), bool, not empty.
        n_pos, n_neg: points inside and outside.
        generator: draws them.
        sampling: negatives within the band around the structure, or beyond it.

    Returns:
        Points (N, 2) as (row, column), the inside ones first; and of each whether it is inside, (N,) bool.

    Raises:
        ValueError: the mask is empty.
    """
    if not mask.any():
        raise ValueError("An empty mask cannot be pointed at.")
    inside = _draw(mask, n_pos, generator)
    outside = _draw(_around(mask, sampling), n_neg, generator) if n_neg else np.empty((0, 2), inside.dtype)
    return np.concatenate([inside, outside]), np.arange(len(inside) + len(outside)) < len(inside)


def tight_box(mask: np.ndarray) -> Box:
    """The box through the centres of a structure's outermost pixels, (row0, column0, row1, column1).

    Half a pixel is added on both sides where it would have no extent.

    Raises:
        ValueError: the mask is empty.
    """
    if not mask.any():
        raise ValueError("An empty mask has no box.")
    ends = [(int(found[0]), int(found[-1])) for found in (np.flatnonzero(mask.any(axis)) for axis in (1, 0))]
    (row0, row1), (column0, column1) = ((a - 0.5, b + 0.5) if a == b else (float(a), float(b)) for a, b in ends)
    return row0, column0, row1, column1


def generator_for(seed: int, *names: object) -> np.random.Generator:
    """A generator that depends on a seed and on names (of the image, the mask, the setting), and on nothing else."""
    text = "\x1f".join(str(name) for name in (seed, *names))
    return np.random.default_rng(list(hashlib.blake2b(text.encode(), digest_size=16).digest()))


def _around(mask: np.ndarray, sampling: Sampling) -> np.ndarray:
    """Where negatives may lie: the band around a structure, or what is beyond it."""
    outside = ~mask
    distance = edt.edt(outside, black_border=False)  # of the nearest pixel of the structure
    radius = float(np.sqrt(np.count_nonzero(mask) / np.pi))
    begin = max(LEAST_GAP, BAND[0] * radius)
    end = max(begin + LEAST_WIDTH, BAND[1] * radius)
    chosen = outside & ((distance > end) if sampling == "far" else (distance >= begin) & (distance <= end))
    return chosen if chosen.any() else outside


def _draw(where: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    pixels = np.argwhere(where)
    return pixels[generator.choice(len(pixels), min(count, len(pixels)), replace=False)]
