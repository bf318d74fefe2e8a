"""Measures of test-retest reproducibility of one structure, from repeated scans of people.

All of them on arrays (people, scans), NaN where somebody has fewer scans than others; scans in their order. ICC after
Shrout and Fleiss (1979), Psychol Bull 86, and McGraw and Wong (1996), Psychol Methods 1; limits of agreement after
Bland and Altman (1999), Stat Methods Med Res 8.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np


def symmetrised_difference(volumes: np.ndarray) -> np.ndarray:
    """(people,) absolute symmetrised volume difference, %: `200 |a - b| / (a + b)`, mean over pairs of one's scans."""
    pairs = [200 * np.abs(a - b) / (a + b) for a, b in combinations(volumes.T, 2)]
    known = np.isfinite(pairs)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(known, pairs, 0).sum(0) / known.sum(0)


def spread_within(volumes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Number, mean and variance (people,) of each person's scans."""
    known = np.isfinite(volumes)
    count = known.sum(1)
    mean = np.where(known, volumes, 0).sum(1) / count
    squares = np.where(known, (volumes - mean[:, None]) ** 2, 0).sum(1)
    return count, mean, squares / (count - 1)


def variation_within(volumes: np.ndarray) -> float:
    """Coefficient of variation within people, %: root of the mean of (standard deviation / mean)^2."""
    _, mean, variance = spread_within(volumes)
    return float(100 * np.sqrt((variance / mean**2).mean()))


def error_of_measurement(volumes: np.ndarray, confidence: float) -> tuple[float, float, float]:
    """Standard deviation within people (unit of the volumes) with its chi-squared interval."""
    from scipy.special import chdtri

    count, _, variance = spread_within(volumes)
    freedom = int((count - 1).sum())
    squares = float(((count - 1) * variance).sum())
    tail = (1 - confidence) / 2
    low, high = (squares / chdtri(freedom, p) for p in (tail, 1 - tail))  # chdtri: the upper tail's quantile
    return float(np.sqrt(squares / freedom)), float(np.sqrt(low)), float(np.sqrt(high))


def icc_one_way(volumes: np.ndarray, confidence: float) -> tuple[float, float, float]:
    """ICC(1,1) with its interval: the share of the variance that lies between people; scans need not be ordered.

    People may have different numbers of scans; the interval is exact where they have the same (and volumes are
    normally distributed), and uses the mean number k0 of the analysis of variance otherwise.
    """
    from scipy.special import fdtri

    count, mean, variance = spread_within(volumes)
    n, total = len(count), int(count.sum())
    grand = (count * mean).sum() / total
    between = (count * (mean - grand) ** 2).sum() / (n - 1)
    within = ((count - 1) * variance).sum() / (total - n)
    k = (total - (count**2).sum() / total) / (n - 1)
    if within == 0:
        return 1.0, 1.0, 1.0
    ratio = between / within
    tail = (1 - confidence) / 2
    low = ratio / fdtri(n - 1, total - n, 1 - tail)
    high = ratio / fdtri(n - 1, total - n, tail)
    return tuple(float((f - 1) / (f + k - 1)) for f in (ratio, low, high))  # type: ignore[return-value]


def icc_two_way(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """ICC(2,1) of absolute agreement and ICC(3,1) of consistency, of two scans (people,) each."""
    both = np.stack([first, second], 1)
    n, k = both.shape
    grand = both.mean()
    people = k * ((both.mean(1) - grand) ** 2).sum() / (n - 1)
    scans = n * ((both.mean(0) - grand) ** 2).sum() / (k - 1)
    rest = ((both - both.mean(1, keepdims=True) - both.mean(0) + grand) ** 2).sum() / ((n - 1) * (k - 1))
    agreement = (people - rest) / (people + (k - 1) * rest + k * (scans - rest) / n)
    return float(agreement), float((people - rest) / (people + (k - 1) * rest))


def bland_altman(first: np.ndarray, second: np.ndarray, confidence: float) -> dict[str, float | tuple[float, float]]:
    """Bias (second less first) and 95 % limits of agreement, each with its interval, in the unit of the volumes.

    Args:
        first: (people,) volumes of the first scans.
        second: (people,) volumes of the second scans.
        confidence: of the intervals.
    """
    from scipy.special import ndtri, stdtrit

    difference = second - first
    n = len(difference)
    bias, spread = float(difference.mean()), float(difference.std(ddof=1))
    z = float(ndtri(0.975))
    t = float(stdtrit(n - 1, (1 + confidence) / 2))
    of_bias, of_limit = t * spread / np.sqrt(n), t * spread * np.sqrt(1 / n + z**2 / (2 * (n - 1)))
    low, high = bias - z * spread, bias + z * spread
    return {
        "bias": bias,
        "bias_ci": (bias - of_bias, bias + of_bias),
        "lower": low,
        "lower_ci": (low - of_limit, low + of_limit),
        "upper": high,
        "upper_ci": (high - of_limit, high + of_limit),
    }
