"""The ageing model of SynthSeg+ (section 3.4): B-splines of age with a soft constraint of monotonicity, linear terms
for slice spacing, a bias for sex; least squares by L-BFGS-B.

    volume = sum_k c_k B_k(age) + sum_j b_j z_j + noise

minimises mean squared residuals + softness * sum_k max(0, s (c_{k+1} - c_k))^2, with volumes in standard deviations and
s = 1 for a curve that should fall, -1 for one that should rise. With equally spaced knots, coefficients that fall make
a curve that falls. The paper fixes neither degree (here cubic) nor weight of the constraint.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

DEGREE = 3
_SMOOTH = 1e-8
"""Weight of squared second differences: makes the coefficients unique at ages without scans."""
_RIDGE = 1e-11
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
        from scipy.interpolate import BSpline

        step = (self.high - self.low) / (self.count - 1)
        places = self.low + step * np.arange(-DEGREE, self.count + DEGREE)
        inside = np.clip(age, self.low, self.high - 1e-9 * step)  # the last piece is open to the right
        return BSpline.design_matrix(inside, places, DEGREE).toarray()

    def centres(self) -> np.ndarray:
        """Return the ages (size,) at which splines are highest: as coefficients they give the line through 0."""
        step = (self.high - self.low) / (self.count - 1)
        return self.low + step * (np.arange(self.size) - (DEGREE - 1) / 2)


@dataclass(frozen=True, eq=False)
class Problem:
    """Mean squares of one structure."""

    gram: np.ndarray
    """(K, K) mean of products of the design's columns, splines first."""
    moment: np.ndarray
    """(K,) mean of products of the columns with the volumes."""
    square: float
    """Mean of squared volumes."""
    splines: int
    """Number of columns that are splines."""


@dataclass(frozen=True, eq=False)
class Fit:
    """A fitted model."""

    coefficients: np.ndarray
    """(K,) splines first."""
    error: float
    """Mean squared residual."""
    converged: bool


def fit(problem: Problem, direction: int, softness: float) -> Fit:
    """Fit least squares with the soft constraint by L-BFGS-B.

    The curve should rise (`direction` 1) or fall (-1); 0 is no constraint.
    """
    from scipy.linalg import solve_triangular
    from scipy.optimize import minimize

    quadratic = _quadratic(problem.gram[None], problem.splines)[0]
    # Preconditioned: the search needs tens of steps, not hundreds.
    root = np.linalg.cholesky(quadratic)
    back = solve_triangular(root, np.eye(len(root)), lower=True).T  # theta = back @ u
    lowest = back.T @ problem.moment
    steps = direction * np.diff(back[: problem.splines], axis=0)
    weight = softness if direction else 0.0

    def objective(u: np.ndarray) -> tuple[float, np.ndarray]:
        away = u - lowest
        against = np.minimum(steps @ u, 0.0)  # the wrong way
        value = away @ away + weight * against @ against
        return value, 2 * away + 2 * weight * against @ steps

    found = minimize(objective, lowest, jac=True, method="L-BFGS-B", options=_SEARCH)
    theta = back @ found.x
    error = float(problem.square - 2 * problem.moment @ theta + theta @ problem.gram @ theta)
    return Fit(theta, error, bool(found.success))


def fit_many(grams: np.ndarray, moments: np.ndarray, splines: int, direction: int, softness: float) -> np.ndarray:
    """Return the coefficients (B, K) of many resamples: the same minimum as `fit`, a hundred times faster.

    If it is known which coefficients step the wrong way, the minimum solves a linear system; systems are solved until
    these coefficients stay the same (Newton's method on a piecewise quadratic function).

    Args:
        grams: (B, K, K) as in `Problem`.
        moments: (B, K) as in `Problem`.
        splines: number of columns that are splines.
        direction: as for `fit`.
        softness: as for `fit`.
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
    turning = np.flatnonzero((wrong != (theta @ steps.T < 0)).any(1))  # Newton's method may turn in circles
    for row in turning:
        theta[row] = fit(Problem(grams[row], moments[row], 0.0, splines), direction, softness).coefficients
    return theta


def _quadratic(grams: np.ndarray, splines: int) -> np.ndarray:
    """Return half the second derivatives of the sum without the constraint, (B, K, K)."""
    size = grams.shape[1]
    bend = np.diff(np.eye(size)[:splines], 2, axis=0)
    scale = np.trace(grams, axis1=1, axis2=2)[:, None, None] / size
    return grams + _SMOOTH * bend.T @ bend + _RIDGE * scale * np.eye(size)


def fit_direction(problem: Problem, monotonic: str, softness: float) -> tuple[int, Fit]:
    """Fit in the given direction; `auto` takes the direction with the smaller residuals."""
    if monotonic == "none":
        return 0, fit(problem, 0, softness)
    if monotonic != "auto":
        direction = 1 if monotonic == "increasing" else -1
        return direction, fit(problem, direction, softness)
    both = {direction: fit(problem, direction, softness) for direction in (-1, 1)}
    return min(both.items(), key=lambda one: one[1].error)
