"""Is there a difference at all? The t-test of a linear model, and p-values of many structures together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class GroupTest:
    """The group's term of a linear model, one figure a structure, (S,)."""

    difference: np.ndarray
    """Other group less the reference, at equal covariates, in the unit of the volumes."""
    error: np.ndarray
    """Its standard error (HC3), which holds when one group varies more than the other."""
    freedom: int
    """Degrees of freedom."""
    p: np.ndarray
    """Two-sided p-values from it, by the t distribution."""
    p_student: np.ndarray
    """The same for groups that vary alike: Student's t-test, or analysis of covariance."""
    reference_mean: np.ndarray
    """Of the reference group, at the covariates' means over both groups."""


def group_test(y: np.ndarray, x: np.ndarray, other: np.ndarray) -> GroupTest:
    """Least squares of volumes on the group and covariates (analysis of covariance).

    Patients often vary more than controls, which Student's test takes for a difference where their group is the smaller
    one; HC3 errors do not (MacKinnon and White, 1985, J Econometrics 29; Long and Ervin, 2000, Am Stat 54).

    Args:
        y: (people, S) volumes.
        x: (people, P) covariates, each with mean 0 over these people, independent of each other and of the group.
        other: (people,) bool: who belongs to the other group.
    """
    from scipy.special import stdtr

    design = np.concatenate([np.ones((len(y), 1)), other[:, None], x], 1)
    q, r = np.linalg.qr(design)
    inverse = np.linalg.inv(r)
    beta = inverse @ (q.T @ y)
    residuals = y - design @ beta
    freedom = len(y) - design.shape[1]
    row = inverse[1] @ q.T  # the difference is this row times y
    student = np.sqrt((residuals**2).sum(0) / freedom * (row**2).sum())
    leverage = np.minimum((q**2).sum(1), 1 - 1e-9)
    robust = np.sqrt((((row / (1 - leverage))[:, None] * residuals) ** 2).sum(0))

    def p_value(one: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore", divide="ignore"):
            return 2 * stdtr(freedom, -np.abs(beta[1] / one))

    return GroupTest(beta[1], robust, freedom, p_value(robust), p_value(student), beta[0])


def holm(p: np.ndarray) -> np.ndarray:
    """p-values corrected for their number: Holm (1979), which Bonferroni's never beats. NaN stay and do not count."""
    return _stepped(p, lambda rank, count: count - rank, down=True)


def benjamini_hochberg(p: np.ndarray) -> np.ndarray:
    """q-values: the share of false ones among the structures found up to each (Benjamini and Hochberg, 1995)."""
    return _stepped(p, lambda rank, count: count / (rank + 1), down=False)


def _stepped(p: np.ndarray, factor, *, down: bool) -> np.ndarray:
    out = np.full(len(p), np.nan)
    known = np.flatnonzero(np.isfinite(p))
    order = known[np.argsort(p[known], kind="stable")]
    raw = p[order] * factor(np.arange(len(order)), len(order))
    steady = np.maximum.accumulate(raw) if down else np.minimum.accumulate(raw[::-1])[::-1]
    out[order] = np.minimum(steady, 1.0)
    return out
