"""All objects of an image that look like one.

Features of a pixel are its brightness, sharp and blurred, and the embedding there. Where a pixel lies between their
means inside the object and around it is Fisher's linear discriminant: with equal priors and normal features, the
log-odds of inside. At its peaks a point is the prompt; an answer is kept if it is about as large as the object,
resembles it, and overlaps with no better one.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from napari_synthseg.errors import InputError
from napari_synthseg.jobs import Progress, checkpoint
from napari_synthseg.prompting.options import SimilarOptions
from napari_synthseg.prompting.prompts import Prompts, around, brightness
from napari_synthseg.prompting.session import Session

BLURS = (0.0, 1.0, 2.5)
"""Standard deviations of the blurred brightness, pixels."""
MOST_PIXELS = 2000
"""Pixels of a slice that count; if there are more, every n-th one."""
SHRINKAGE = 0.1
"""Fraction of the variances that is added to them: neighboring pixels are no independent samples."""
MOST = 4.0
"""Largest size of the evidence, log-odds."""


def log_odds(session: Session, image: np.ndarray, mask: np.ndarray, window: tuple[float, float] | None) -> np.ndarray:
    """Return log-odds (rows, columns) float32 of resembling an object rather than its surroundings.

    The session shows the image; the mask (rows, columns) of the object is neither empty nor all.
    """
    pixels = np.argwhere(around(mask))
    pixels = pixels[:: -(-len(pixels) // MOST_PIXELS)]
    gray = np.clip(np.nan_to_num(brightness(image, window), posinf=1.0, neginf=0.0), 0, 1)
    channels = [ndimage.gaussian_filter(gray, blur) if blur else gray for blur in BLURS]
    at = tuple(pixels.T)
    features = np.concatenate([np.stack([channel[at] for channel in channels], 1), session.features(pixels)], 1)
    parts = [features[mask[at]], features[~mask[at]]]
    inside, outside = (part.mean(0) for part in parts)
    covariance = sum(np.cov(part.T, bias=True) for part in parts) / 2
    covariance += np.diag(SHRINKAGE * np.diag(covariance) + 1e-4)
    weights = np.linalg.solve(covariance, inside - outside)
    odds = session.projected(weights[len(BLURS) :]) - weights @ (inside + outside) / 2
    for weight, channel in zip(weights, channels, strict=False):
        odds += weight * channel
    return np.clip(odds, -MOST, MOST).astype(np.float32)


STAGE = "Similar objects"
SMOOTHING, SPACING = 0.5, 0.8
"""Radii of the disc of the object's area by which the evidence is smoothed, and that peaks are apart."""
MOST_PEAKS, MOST_REJECTED = 300, 2
"""Peaks that are prompted; a peak inside so many answers that were left out is not."""
LEAST_SCORE, MOST_OVERLAP = 0.4, 0.3
"""IoU that the model must expect of an answer; fraction of it that may lie in objects found before."""


@dataclass(frozen=True, eq=False)
class SimilarObject(Progress):
    """Report of an object that was found."""

    mask: np.ndarray | None = None
    """(rows, columns), bool; None for a peak without an object."""
    likeness: float = 0.0
    """Mean log-odds, over the mask, of resembling the object rather than its surroundings."""


def similar_objects(
    session: Session,
    image: np.ndarray,
    mask: np.ndarray,
    options: SimilarOptions | None = None,
    window: tuple[float, float] | None = None,
    pixel: tuple[float, float] = (1.0, 1.0),
) -> Generator[SimilarObject, None, list[np.ndarray]]:
    """Find the objects of an image that resemble one of them (a mask), with a report for every peak.

    Arguments are those of `Session.set_image`; the session's own image and prompts stay.

    Returns:
        Their masks (rows, columns), bool, the most similar first; the object itself is not among them.

    Raises:
        InputError: the mask has another shape than the image, is empty, or fills it.
    """
    options = options or SimilarOptions()
    if mask.shape != image.shape[:2] or not mask.any() or mask.all():
        raise InputError("There is no object to compare with: segment one that does not fill the image.")
    own = session.beside()
    own.set_image(image, window, pixel)
    everywhere = log_odds(own, image, mask, window)
    area, radius = int(mask.sum()), float(np.sqrt(mask.sum() / np.pi))
    taken, rejected = mask.copy(), np.zeros(mask.shape, np.uint8)
    found: list[tuple[float, np.ndarray]] = []
    peaks = [peak for peak in _peaks(everywhere, radius) if not mask[peak]]
    for done, peak in enumerate(peaks, 1):
        checkpoint()
        report = SimilarObject(STAGE, done, len(peaks), {"found": len(found)})
        if not taken[peak] and rejected[peak] < MOST_REJECTED:
            own.reset()
            own.point_at(Prompts(((float(peak[0]), float(peak[1])),), (True,)))
            answer = own.answer(_near(everywhere, peak, 2 * radius))
            size = int(answer.mask.sum())
            likeness = float(everywhere[answer.mask].mean()) if size else -np.inf
            kept = (
                area / options.most_area_ratio <= size <= area * options.most_area_ratio
                and likeness > options.least_likeness
                and answer.score >= LEAST_SCORE
                and int((answer.mask & taken).sum()) <= MOST_OVERLAP * size
            )
            if not kept:
                rejected += answer.mask & (rejected < MOST_REJECTED)
            else:
                new = answer.mask & ~taken
                taken |= new
                found.append((likeness, new))
                report = SimilarObject(STAGE, done, len(peaks), {"found": len(found)}, new, likeness)
        yield report
    return [new for _, new in sorted(found, key=lambda pair: -pair[0])]


def _peaks(evidence: np.ndarray, radius: float) -> list[tuple[int, int]]:
    """Return the pixels (row, column) of the evidence's local maxima above 0, the highest first."""
    smooth = ndimage.gaussian_filter(evidence, SMOOTHING * radius)
    size = 2 * max(1, round(SPACING * radius)) + 1
    places = np.argwhere((smooth == ndimage.maximum_filter(smooth, size)) & (smooth > 0))
    order = np.argsort(-smooth[tuple(places.T)], kind="stable")[:MOST_PEAKS]
    return [(int(row), int(column)) for row, column in places[order]]


def _near(evidence: np.ndarray, peak: tuple[int, int], reach: float) -> np.ndarray:
    """Return the evidence near a peak; farther off it is as low as it can be."""
    rows, columns = np.ogrid[: evidence.shape[0], : evidence.shape[1]]
    near = (rows - peak[0]) ** 2 + (columns - peak[1]) ** 2 <= reach**2
    return np.where(near, evidence, np.float32(min(0.0, float(evidence.min()))))
