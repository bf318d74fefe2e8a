"""Memory of propagation: mean features of an object and of its surroundings on the slices seen so far.

Features of a pixel are its brightness, sharp and blurred, and the embedding there. Where a pixel of another slice lies
between both means is Fisher's linear discriminant: with equal priors and normal features, the log-odds of inside.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import edt
import numpy as np
from scipy import ndimage

from napari_synthseg.prompting.prompts import brightness
from napari_synthseg.prompting.session import Session

BLURS = (0.0, 1.0, 2.5)
"""Standard deviations of the blurred brightness, pixels."""
RADII, LEAST = 1.5, 4.0
"""How far surroundings reach from the object: radii of the disc of its area, and pixels; the larger of both."""
MOST_PIXELS = 2000
"""Pixels of a slice that count; if there are more, every n-th one."""
SHRINKAGE = 0.1
"""Fraction of the variances that is added to them: neighboring pixels are no independent samples."""
MOST = 4.0
"""Largest size of the evidence, log-odds."""


@dataclass(frozen=True, eq=False)
class _Moments:
    """Means (F,) inside and outside, and covariance (F, F) within both."""

    inside: np.ndarray
    outside: np.ndarray
    covariance: np.ndarray


class Memory:
    """Moments of the features of slices, by the slice's index."""

    def __init__(self) -> None:
        self._seen: dict[int, _Moments] = {}

    def __contains__(self, index: int) -> bool:
        return index in self._seen

    def remember(
        self, index: int, session: Session, image: np.ndarray, mask: np.ndarray, window: tuple[float, float] | None
    ) -> None:
        """Take the moments inside and around a mask (rows, columns), not empty, of the image that the session shows."""
        pixels = np.argwhere(around(mask))
        pixels = pixels[:: -(-len(pixels) // MOST_PIXELS)]
        at = tuple(pixels.T)
        seen = [channel[at] for channel in _channels(image, window)]
        features = np.concatenate([np.stack(seen, 1), session.features(pixels)], 1)
        parts = [features[mask[at]], features[~mask[at]]]
        if not all(map(len, parts)):  # it fills the image: there are no surroundings to tell it from
            return
        within = [np.cov(part.T, bias=True) for part in parts]
        self._seen[index] = _Moments(parts[0].mean(0), parts[1].mean(0), (within[0] + within[1]) / 2)

    def evidence(
        self,
        indices: Iterable[int],
        session: Session,
        image: np.ndarray,
        shape: np.ndarray,
        window: tuple[float, float] | None,
    ) -> np.ndarray | None:
        """Return log-odds of inside, (rows, columns) float32, for the slice that the session shows.

        Args:
            indices: slices to compare with; those that are not remembered do not count.
            shape: (rows, columns) bool, the shape that is expected; pixels far from it are outside.
        """
        seen = [self._seen[index] for index in dict.fromkeys(indices) if index in self._seen]
        if not seen:
            return None
        inside, outside, covariance = (
            np.mean([getattr(one, name) for one in seen], axis=0) for name in ("inside", "outside", "covariance")
        )
        covariance += np.diag(SHRINKAGE * np.diag(covariance) + 1e-4)
        weights = np.linalg.solve(covariance, inside - outside)
        odds = session.projected(weights[len(BLURS) :]) - weights @ (inside + outside) / 2
        for weight, channel in zip(weights, _channels(image, window), strict=False):
            odds += weight * channel
        return np.where(around(shape), np.clip(odds, -MOST, MOST), -MOST).astype(np.float32)


def around(mask: np.ndarray) -> np.ndarray:
    """Return a mask (rows, columns) with its surroundings."""
    reach = max(LEAST, RADII * float(np.sqrt(mask.sum() / np.pi)))
    return edt.edt(np.ascontiguousarray(~mask), black_border=False) <= reach


def _channels(image: np.ndarray, window: tuple[float, float] | None) -> list[np.ndarray]:
    gray = np.clip(np.nan_to_num(brightness(image, window), posinf=1.0, neginf=0.0), 0, 1)
    return [ndimage.gaussian_filter(gray, blur) if blur else gray for blur in BLURS]
