"""The models of studies: the linear model of volumes with effect sizes and their bootstrap, and the splines of ageing.

SynthSeg, section 5.3: volumes are corrected for covariates by a linear model, and effect sizes are Cohen's d (eq. 28).
Here d is case minus control, so it has the opposite sign of eq. 28.

SynthSeg+, section 3.4: B-splines of age with a soft constraint of monotonicity, linear terms for slice spacing, a bias
for sex; least squares by L-BFGS-B.

    volume = sum_k c_k B_k(age) + sum_j b_j z_j + noise

minimizes mean squared residuals + softness * sum_k max(0, s (c_{k+1} - c_k))^2, with volumes in standard deviations and
s = 1 for a curve that should fall, -1 for one that should rise. With equally spaced knots, coefficients that fall make
a curve that falls. The paper fixes neither degree (here cubic) nor weight of the constraint.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats
from scipy.interpolate import BSpline
from scipy.linalg import solve_triangular
from scipy.optimize import minimize

from napari_synthseg.errors import InputError
from napari_synthseg.evaluation.studies import tables as names
from napari_synthseg.evaluation.studies.cohort import Cohort
from napari_synthseg.evaluation.studies.tables import Notes, numbers
from napari_synthseg.jobs import checkpoint

OLDEST = 120.0
FEWEST = 3
"""People that a group or category must have."""
_SEXES = {"m": "M", "male": "M", "man": "M", "f": "F", "female": "F", "w": "F", "woman": "F"}
_RIDGE = 1e-9
"""Fraction of the scatter added to its diagonal: a resample may have one person of a category only, or none."""
_LARGEST = 1 << 24
"""Numbers in the largest array of a bootstrap's step (128 MiB)."""


def is_category(values: pd.Series) -> bool:
    """Whether a covariate has categories, not numbers."""
    return not pd.api.types.is_numeric_dtype(values)


def read_covariate(cohort: Cohort, name: str, notes: Notes) -> pd.Series:
    """Convert a column to numbers, or else to categories; NaN if neither or missing.

    Raises:
        InputError: the column is empty, or must have numbers (age, intracranial volume) and has none.
    """
    text = cohort.cells[name]
    if text.isna().all():
        raise InputError(f"The column {name!r} is empty: give another one, or leave it out.")
    values, wrong = numbers(text)
    is_age, is_size = names.plain(name) in names.AGE, names.plain(name) in names.INTRACRANIAL
    if not (is_age or is_size) and (not values.notna().any() or values.notna().sum() < wrong.sum()):
        return text.map(lambda cell: _SEXES.get(cell.lower(), cell), na_action="ignore")
    notes.add(name, "cells are no numbers, so taken as missing", text[wrong])
    bad, what = (values < 0) | (values > OLDEST), f"ages are not between 0 and {OLDEST:g} years"
    if not is_age:
        bad, what = (values <= 0) & is_size, "are not above 0"
    notes.add(name, f"{what}, so taken as missing", text[bad])
    values = values.mask(bad)
    if not values.notna().any():
        example = text.dropna().iloc[0]
        raise InputError(f"The column {name!r} holds no usable number (such as {example!r}): correct it.")
    return values


def complete(cohort: Cohort, covariates: Sequence[pd.Series], notes: Notes) -> np.ndarray:
    """Return the mask (scans,) of scans with all covariates; those in tiny categories are left out and noted.

    Raises:
        InputError: a column of text has nearly as many categories as there are scans.
    """
    keep = np.ones(len(cohort), bool)
    for one in covariates:
        notes.add(str(one.name), "scans lack it, so left out", cohort.titles(one.isna()))
        keep &= one.notna().to_numpy()
    for one in filter(is_category, covariates):
        people = cohort.who["#person"][keep].groupby(one[keep]).nunique()
        if len(people) > max(10, int(keep.sum()) // 4):
            raise InputError(
                f"The column {one.name!r} holds text with {len(people)} different values "
                f"({', '.join(people.index[:3])}, ...) for {int(keep.sum())} scans: give a column of numbers or of few "
                "categories."
            )
        for value in people.index[people < FEWEST]:
            rare = keep & (one == value).to_numpy()
            what = f"scans are the only ones with {value!r} (fewer than {FEWEST} people), so left out"
            notes.add(str(one.name), what, cohort.titles(rare))
            keep &= ~rare
    return keep


@dataclass(frozen=True, eq=False)
class Design:
    """Covariates as standardized columns, without an intercept.

    Attributes:
        columns: `age`, or `sex=M` for a category against the first one.
        matrix: (scans, columns), mean 0 and standard deviation 1.
        scales: (columns,) units of the column in one unit of the covariate.
        centres: (columns,) means of the covariates.
    """

    columns: tuple[str, ...]
    matrix: np.ndarray
    scales: np.ndarray
    centres: np.ndarray


def make_design(covariates: Sequence[pd.Series], scans: int, notes: Notes) -> Design:
    """Make the design matrix of covariates (scans,) without missing values.

    Constant and collinear columns are left out and noted.
    """
    raw = pd.DataFrame(index=range(scans))
    for one in covariates:
        if one.nunique() < 2 or (not is_category(one) and np.ptp(one) <= 1e-8 * max(1.0, one.abs().max())):
            notes.add(str(one.name), "covariate is the same for everybody, so not corrected for", [one.name])
        else:
            levels = pd.get_dummies(one, prefix=one.name, prefix_sep="=", drop_first=True, dtype=float)
            raw = pd.concat([raw, levels if is_category(one) else one], axis=1)
    centres, spread = raw.mean().to_numpy(float), raw.std(ddof=0).to_numpy(float)
    matrix = (raw.to_numpy(float) - centres) / spread
    chosen: list[int] = []
    for place in range(matrix.shape[1]):
        if np.linalg.matrix_rank(matrix[:, [*chosen, place]], tol=1e-6 * np.sqrt(scans)) > len(chosen):
            chosen.append(place)
    what = "covariates follow from those before them (collinear), so left out: the correction is the same without them"
    notes.add("covariates", what, raw.columns.delete(chosen))
    return Design(tuple(raw.columns[chosen]), matrix[:, chosen], 1 / spread[chosen], centres[chosen])


def same_rows(volumes: pd.DataFrame) -> list[tuple[np.ndarray, list[str]]]:
    """Group structures by the rows that have them: mask (rows,) and columns."""
    patterns: dict[bytes, list[str]] = {}
    for column in volumes:
        patterns.setdefault(volumes[column].notna().to_numpy().tobytes(), []).append(column)
    return [(volumes[columns[0]].notna().to_numpy(), columns) for columns in patterns.values()]


Sums = tuple[np.ndarray, ...]


class Moments:
    """Sums over one group of the products of its covariates (people, P) and volumes (people, S).

    Any statistic of a linear model is a function of these sums, so a resample costs one row of a matrix product.
    """

    def __init__(self, y: np.ndarray, x: np.ndarray) -> None:
        z = np.concatenate([x, y], 1)
        products = (x[:, :, None] * z[:, None, :]).reshape(len(y), x.shape[1] * z.shape[1])
        self.p, self.terms = x.shape[1], np.concatenate([np.ones((len(y), 1)), z, y * y, products], 1)
        self.ends = np.cumsum([1, z.shape[1], y.shape[1]])

    def __call__(self, weights: np.ndarray) -> Sums:
        """Sum with weights (B, people).

        Returns:
            People (B, 1), means of covariates and volumes (B, P + S), and sums of products of deviations from them:
            covariates with both (B, P, P + S), squared volumes (B, S).
        """
        p = self.p
        n, means, squares, products = np.split(weights @ self.terms, self.ends, axis=1)
        means = means / n
        both = products.reshape(len(n), p, means.shape[1]) - n[..., None] * means[:, :p, None] * means[:, None, :]
        return n, means, both, squares - n * means[:, p:] ** 2


def effects(control: Sums, case: Sums, fit: str) -> tuple[np.ndarray, np.ndarray]:
    """Return Cohen's d (B, S), case minus control (eq. 28 with the opposite sign), and the slopes (B, P, S).

    The linear model is fitted `within` both groups, each about its own mean, to the `reference`, or to `all` about one
    mean.
    """
    (n, a, of_control, squares_a), (m, b, of_case, squares_b) = control, case
    apart, p = b - a, of_control.shape[1]
    within = of_control + of_case
    model = of_control if fit == "reference" else within
    if fit == "all":  # scatter about the common mean: add that of the groups' means
        model = model + (n * m / (n + m))[..., None] * apart[:, :p, None] * apart[:, None, :]
    xx, xy = model[:, :, :p], model[:, :, p:]
    ridge = np.maximum(np.trace(xx, axis1=1, axis2=2) / max(p, 1), 1e-12)[:, None, None] * _RIDGE * np.eye(p)
    beta = np.linalg.solve(xx + ridge, xy)
    squares = squares_a + squares_b - 2 * (beta * within[:, :, p:]).sum(1) + (beta * (within[:, :, :p] @ beta)).sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = np.sqrt(np.maximum(squares, 0) / (n + m - 2))
        return (apart[:, p:] - np.einsum("bp,bps->bs", apart[:, :p], beta)) / spread, beta


def hedges_factor(n: int, m: int, covariates: int) -> float:
    """Return the factor that makes Cohen's d of small groups unbiased.

    It is Hedges' correction, and the degrees of freedom taken by the model: eq. 28 divides by n + m - 2 though the
    model has used one more for each covariate.
    """
    left = n + m - 2 - covariates
    return float(np.sqrt(left / (n + m - 2)) * (1 - 3 / (4 * left - 1))) if left > 0 else float("nan")


def bootstrap_interval(
    sizes: Sequence[int],
    estimate: Callable[..., np.ndarray],
    *,
    method: str,
    resamples: int,
    confidence: float,
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Return bootstrap intervals (S,) by `scipy.stats.bootstrap`: people are drawn from their own group.

    Args:
        sizes: people of each group.
        estimate: from weights (B, people) of each group, the number of times everybody is drawn, to (B, S).
        method: "bca" or "percentile".
        resamples: their number.
        confidence: of the intervals.
        seed: of the draws.
    """

    def weights(drawn: np.ndarray, size: int) -> np.ndarray:
        rows = drawn.reshape(-1, drawn.shape[-1])
        places = rows + size * np.arange(len(rows))[:, None]
        return np.bincount(places.ravel(), minlength=size * len(rows)).reshape(-1, size).astype(float)

    def statistic(*drawn: np.ndarray, axis: int = -1) -> np.ndarray:
        checkpoint()
        found = estimate(*(weights(one, size) for one, size in zip(drawn, sizes, strict=True)))
        return found.T if drawn[0].ndim > 1 else found[0]

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        found = stats.bootstrap(
            tuple(np.arange(size) for size in sizes), statistic, vectorized=True, n_resamples=resamples,
            batch=int(np.clip(_LARGEST // max(sizes), 1, 256)), confidence_level=confidence,
            method="BCa" if method == "bca" else "percentile", rng=np.random.default_rng(seed),
        )  # fmt: skip
    return np.atleast_1d(found.confidence_interval.low), np.atleast_1d(found.confidence_interval.high)


DEGREE = 3
_SMOOTH = 1e-8
"""Weight of squared second differences: makes the coefficients unique at ages without scans."""
_SPLINE_RIDGE = 1e-11
_SEARCH = {"maxiter": 2000, "ftol": 1e-10, "gtol": 1e-7, "maxcor": 20, "maxls": 100}
"""More line search steps than the usual 20: the slope changes steeply at the constraint."""
_NEWTON = 30


@dataclass(frozen=True)
class Knots:
    """Equally spaced knots over a range of ages, continued beyond both ends so that the splines sum to 1 inside."""

    low: float
    high: float
    count: int
    """Knots from `low` to `high`, both included."""

    @property
    def size(self) -> int:
        return self.count + DEGREE - 1

    def basis(self, age: np.ndarray) -> np.ndarray:
        """Return the values (ages, size) of the splines; ages beyond the range count as its ends."""
        step = (self.high - self.low) / (self.count - 1)
        places = self.low + step * np.arange(-DEGREE, self.count + DEGREE)
        inside = np.clip(age, self.low, self.high - 1e-9 * step)  # the last piece is open to the right
        return BSpline.design_matrix(inside, places, DEGREE).toarray()


def fit(gram: np.ndarray, moment: np.ndarray, splines: int, direction: int, softness: float) -> tuple[np.ndarray, bool]:
    """Fit least squares with the soft constraint by L-BFGS-B.

    Args:
        gram: (K, K) mean of products of the design's columns, splines first.
        moment: (K,) mean of products of the columns with the volumes.
        splines: number of columns that are splines.
        direction: 1 for a curve that should rise, -1 for one that should fall; 0 is no constraint.
        softness: weight of the constraint.

    Returns:
        The coefficients (K,), and whether the search converged.
    """
    root = np.linalg.cholesky(_quadratic(gram[None], splines)[0])
    back = solve_triangular(root, np.eye(len(root)), lower=True).T  # theta = back @ u: tens of steps, not hundreds
    lowest = back.T @ moment
    steps = direction * np.diff(back[:splines], axis=0)
    weight = softness if direction else 0.0

    def objective(u: np.ndarray) -> tuple[float, np.ndarray]:
        away = u - lowest
        against = np.minimum(steps @ u, 0.0)  # the wrong way
        return away @ away + weight * against @ against, 2 * away + 2 * weight * against @ steps

    found = minimize(objective, lowest, jac=True, method="L-BFGS-B", options=_SEARCH)
    return back @ found.x, bool(found.success)


def fit_many(grams: np.ndarray, moments: np.ndarray, splines: int, direction: int, softness: float) -> np.ndarray:
    """Return the coefficients (B, K) of many resamples: the same minimum as `fit`, a hundred times faster.

    If it is known which coefficients step the wrong way, the minimum solves a linear system; systems are solved until
    these coefficients stay the same (Newton's method on a piecewise quadratic function). Arguments are those of `fit`,
    with grams (B, K, K) and moments (B, K).
    """
    quadratic = _quadratic(grams, splines)
    steps = direction * np.diff(np.eye(grams.shape[1])[:splines], axis=0)
    wrong = np.zeros((len(grams), len(steps)), bool)
    theta = np.linalg.solve(quadratic, moments[..., None])[..., 0]
    for _ in range(_NEWTON):
        now = theta @ steps.T < 0
        if not direction or not softness or (now == wrong).all():
            return theta
        wrong = now
        penalty = softness * np.einsum("bi,ij,ik->bjk", wrong.astype(float), steps, steps)
        theta = np.linalg.solve(quadratic + penalty, moments[..., None])[..., 0]
    for row in np.flatnonzero((wrong != (theta @ steps.T < 0)).any(1)):  # Newton's method may turn in circles
        theta[row] = fit(grams[row], moments[row], splines, direction, softness)[0]
    return theta


def _quadratic(grams: np.ndarray, splines: int) -> np.ndarray:
    """Return half the second derivatives of the sum without the constraint, (B, K, K)."""
    size = grams.shape[1]
    bend = np.diff(np.eye(size)[:splines], 2, axis=0)
    scale = np.trace(grams, axis1=1, axis2=2)[:, None, None] / size
    return grams + _SMOOTH * bend.T @ bend + _SPLINE_RIDGE * scale * np.eye(size)
