"""Effect sizes of groups (SynthSeg, section 5.3): correction by a linear model, Cohen's d (eq. 28), all structures and
all resamples of a bootstrap at once.

Everything that d needs of a group are sums over its people: of covariates, volumes, their squares and products. So a
resample is a matrix product of how often everybody was drawn with what everybody adds to the sums.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_RIDGE = 1e-9
"""Share of the scatter added to its diagonal: a resample may hold one person of a category only, or none."""


def cohens_d(reference: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Cohen's d of volumes that are corrected already (SynthSeg, eq. 28); positive where the reference is larger.

    Args:
        reference: (people, ...) volumes of the controls.
        other: (people, ...) volumes of the patients.
    """
    n, m = len(reference), len(other)
    spread = (n - 1) * reference.var(0, ddof=1) + (m - 1) * other.var(0, ddof=1)
    return (reference.mean(0) - other.mean(0)) / np.sqrt(spread / (n + m - 2))


@dataclass(frozen=True, eq=False)
class Scatter:
    """Sums over people, of one or many resamples at once (leading dimension B)."""

    n: np.ndarray
    """(B,)"""
    x: np.ndarray
    """(B, P) means of the covariates."""
    y: np.ndarray
    """(B, S) means of the volumes."""
    xx: np.ndarray
    """(B, P, P) sums of products of deviations from the means, as the next two."""
    xy: np.ndarray
    """(B, P, S)"""
    yy: np.ndarray
    """(B, S)"""

    def __add__(self, other: Scatter) -> Scatter:
        """Scatter about each one's own mean; the means are not those of both together."""
        return Scatter(self.n + other.n, self.x, self.y, self.xx + other.xx, self.xy + other.xy, self.yy + other.yy)


def additions(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """What each person adds to the sums, (people, 1 + P + S + P*P + P*S + S).

    Args:
        y: (people, S) volumes, best centred: squares of large numbers lose digits.
        x: (people, P) covariates, likewise.
    """
    n = len(y)
    squares = (x[:, :, None] * x[:, None, :]).reshape(n, -1)
    products = (x[:, :, None] * y[:, None, :]).reshape(n, -1)
    return np.concatenate([np.ones((n, 1)), x, y, squares, products, y * y], 1)


def scatter(sums: np.ndarray, p: int, s: int) -> Scatter:
    """Means and scatter from sums (B, ...) of what `additions` says; `p` covariates and `s` structures."""
    shapes: tuple[tuple[int, ...], ...] = ((), (p,), (s,), (p, p), (p, s), (s,))
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])
    n, x, y, xx, xy, yy = (
        part.reshape(len(sums), *shape) for part, shape in zip(np.split(sums, ends[:-1], 1), shapes, strict=True)
    )
    x, y = x / n[:, None], y / n[:, None]
    many = n[:, None, None]
    xx = xx - many * x[:, :, None] * x[:, None, :]
    xy = xy - many * x[:, :, None] * y[:, None, :]
    return Scatter(n, x, y, xx, xy, yy - n[:, None] * y * y)


def slopes(reference: np.ndarray, other: np.ndarray, p: int, s: int, fit: str) -> np.ndarray:
    """Slopes of the linear model, (B, P, S), from the sums of both groups.

    Args:
        reference: (B, ...) sums of the reference group.
        other: (B, ...) sums of the other group.
        p: number of covariates.
        s: number of structures.
        fit: `within` (both groups, each about its own mean), `reference`, or `all` (everybody about one mean).
    """
    if fit == "all":
        fitted = scatter(reference + other, p, s)
    elif fit == "reference":
        fitted = scatter(reference, p, s)
    else:
        fitted = scatter(reference, p, s) + scatter(other, p, s)
    if p == 0:
        return np.zeros_like(fitted.xy)
    trace = np.trace(fitted.xx, axis1=1, axis2=2) / p
    ridge = np.maximum(trace, 1e-12)[:, None, None] * _RIDGE * np.eye(p)
    return np.linalg.solve(fitted.xx + ridge, fitted.xy)


def effects(reference: np.ndarray, other: np.ndarray, p: int, s: int, fit: str) -> np.ndarray:
    """Cohen's d of corrected volumes, (B, S): eq. 28 from sums; NaN where a structure does not vary.

    Args:
        reference: (B, ...) sums of the reference group, as `additions` says.
        other: (B, ...) sums of the other group.
        p: number of covariates.
        s: number of structures.
        fit: as for `slopes`.
    """
    beta = slopes(reference, other, p, s, fit)
    a, b = scatter(reference, p, s), scatter(other, p, s)
    difference = (a.y - _product(a.x, beta)) - (b.y - _product(b.x, beta))
    spread = (_residual(a, beta) + _residual(b, beta)) / (a.n + b.n - 2)[:, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(spread > 0, difference / np.sqrt(spread), np.nan)


def _product(x: np.ndarray, beta: np.ndarray) -> np.ndarray:
    return (x[:, None, :] @ beta)[:, 0]


def _residual(one: Scatter, beta: np.ndarray) -> np.ndarray:
    """(B, S) sum of squares of the corrected volumes about their mean: (n - 1) times their variance."""
    return one.yy - 2 * (beta * one.xy).sum(1) + (beta * (one.xx @ beta)).sum(1)


def hedges_factor(n: int, m: int, covariates: int) -> float:
    """What makes Cohen's d of small groups unbiased: Hedges' correction, and the degrees of freedom the model took.

    Eq. 28 divides by n + m - 2 though the model has used one degree of freedom a covariate more.
    """
    left = n + m - 2 - covariates
    return float(np.sqrt(left / (n + m - 2)) * (1 - 3 / (4 * left - 1))) if left > 0 else float("nan")
