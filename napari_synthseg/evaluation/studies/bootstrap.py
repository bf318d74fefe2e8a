"""Intervals by the bootstrap: people are drawn anew from their own group, and everything is estimated again.

BCa intervals (bias-corrected and accelerated) after Efron (1987), Better bootstrap confidence intervals, JASA 82; the
acceleration of two samples is that of Efron and Tibshirani, An introduction to the bootstrap (1993), section 14.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

Estimate = Callable[..., np.ndarray]
"""From sums (B, K) of each group to estimates (B, S)."""

_AT_ONCE = 1 << 24
"""Numbers in the largest array that a step of the bootstrap makes (128 MiB)."""


def drawn(groups: Sequence[np.ndarray], resamples: int, rng: np.random.Generator) -> Iterator[tuple[np.ndarray, ...]]:
    """Sums over each group's people drawn anew, some resamples at a time: arrays (b, K), one a group.

    Args:
        groups: (people, K) what each person adds.
        resamples: how many there are in all.
        rng: where chance comes from; the draws do not depend on how many are made at a time.
    """
    widest = max(max(group.shape) for group in groups)
    step = int(np.clip(_AT_ONCE // widest, 1, 256))
    seeds = [np.random.default_rng(s) for s in rng.integers(0, 1 << 62, len(groups))]
    for start in range(0, resamples, step):
        count = min(step, resamples - start)
        yield tuple(counts_of(len(group), count, one) @ group for group, one in zip(groups, seeds, strict=True))


def counts_of(people: int, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """How often everybody is drawn in each resample, (resamples, people)."""
    return rng.multinomial(people, np.full(people, 1 / people), resamples).astype(float)


def influences(groups: Sequence[np.ndarray], estimate: Estimate) -> list[np.ndarray]:
    """Of everybody in each group, (people, S): how much the estimate is due to them (jackknife).

    Args:
        groups: (people, K) what each person adds.
        estimate: from sums (B, K) of each group to (B, S).
    """
    totals = [group.sum(0) for group in groups]
    out = []
    for number, group in enumerate(groups):
        parts = []
        step = max(1, _AT_ONCE // group.shape[1])
        for start in range(0, len(group), step):
            some = group[start : start + step]
            sums = [np.broadcast_to(total, (len(some), len(total))) for total in totals]
            sums[number] = totals[number] - some
            parts.append(estimate(*sums))
        without = np.concatenate(parts)
        out.append((len(group) - 1) * (without.mean(0) - without))
    return out


def acceleration(jackknifed: Sequence[np.ndarray]) -> np.ndarray:
    """(S,) how the standard error changes with the estimate, from `influences`."""
    third = sum((u**3).sum(0) / len(u) ** 3 for u in jackknifed)
    second = sum((u**2).sum(0) / len(u) ** 2 for u in jackknifed)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.nan_to_num(third / (6 * np.asarray(second) ** 1.5))


def standard_error(jackknifed: Sequence[np.ndarray]) -> np.ndarray:
    """(S,) the jackknife's standard error, from `influences`."""
    return np.sqrt(sum((u**2).sum(0) / len(u) ** 2 for u in jackknifed))


def percentile_interval(samples: np.ndarray, confidence: float) -> tuple[np.ndarray, np.ndarray]:
    """Low and high ends (S,) of resampled estimates (B, S), NaN among them left out."""
    tail = (1 - confidence) / 2
    low, high = np.nanquantile(samples, [tail, 1 - tail], axis=0)
    return low, high


def bca_interval(
    samples: np.ndarray, estimate: np.ndarray, accelerated: np.ndarray, confidence: float
) -> tuple[np.ndarray, np.ndarray]:
    """Low and high ends (S,) of BCa intervals.

    Args:
        samples: (B, S) resampled estimates.
        estimate: (S,) that of the sample itself.
        accelerated: (S,) `acceleration`.
        confidence: 0 to 1.
    """
    from scipy.special import ndtr, ndtri

    count = len(samples)
    below = (samples < estimate).mean(0) + 0.5 * (samples == estimate).mean(0)
    bias = ndtri(np.clip(below, 1 / (count + 1), count / (count + 1)))
    ends = []
    for tail in ((1 - confidence) / 2, (1 + confidence) / 2):
        z = bias + ndtri(tail)
        level = ndtr(bias + z / np.maximum(1 - accelerated * z, 1e-3))
        ends.append(np.array([np.nanquantile(column, q) for column, q in zip(samples.T, level, strict=True)]))
    return ends[0], ends[1]
