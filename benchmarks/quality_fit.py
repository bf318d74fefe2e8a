"""Fitting a calibration: evidence and true Dice of synthetic scans in, a model that holds for other heads out.

A logistic regression of the Dice (a share, so its cross-entropy is minimized): weights shared by all structures, and
deviations of each structure from them, held small by a ridge. Which evidence enters and how strong the ridge is follow
from cross-validation over label maps; scans of maps that are held out are only scored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import pearsonr, spearmanr

from napari_synthseg.errors import InputError
from napari_synthseg.inference.quality.features import QcFeatures
from napari_synthseg.inference.quality.rating import FAILED, Calibration, rate_scan, sigmoid

FIRST = "soft"
"""The evidence that always enters."""
FOLDS = 6
RIDGES = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
GAIN = 0.005
"""Evidence enters if it takes at least this share off the error of cross-validation."""
LEAST_SCANS = 12
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Evidence:
    """A line for each structure of each scan.

    Attributes:
        columns: names of the evidence.
        x: (n, m) evidence. y: (n,) true Dice.
        value, scan, fold: (n,) FreeSurfer value, number of the scan, and its part in cross-validation.
    """

    columns: tuple[str, ...]
    x: np.ndarray
    y: np.ndarray
    value: np.ndarray
    scan: np.ndarray
    fold: np.ndarray

    def take(self, which: np.ndarray, columns: Sequence[str] | None = None) -> Evidence:
        names = self.columns if columns is None else tuple(columns)
        x = self.x[which][:, [self.columns.index(name) for name in names]]
        return Evidence(names, x, self.y[which], self.value[which], self.scan[which], self.fold[which])


def tabulated(rows: Sequence[Row]) -> Evidence:
    """Tabulate rows as `benchmarks/calibrate_quality.py` writes them; those without evidence have none."""
    useful = [row for row in rows if row["evidence"]]
    columns = tuple(sorted(set.intersection(*(set(row["evidence"]) for row in useful)))) if useful else ()
    maps = sorted({row["map"] for row in useful})
    x, y, value, scan, fold = [], [], [], [], []
    for row in useful:
        for i, (one, dice) in enumerate(zip(row["values"], row["dice"], strict=True)):
            if dice is not None:
                x.append([row["evidence"][name][i] for name in columns])
                y.append(dice)
                value.append(one)
                scan.append(row["scan"])
                fold.append(maps.index(row["map"]) % FOLDS)
    return Evidence(columns, np.array(x, float).reshape(len(y), len(columns)), *map(np.array, (y, value, scan, fold)))


def calibrate(rows: Sequence[Row], *, sha256: str, facts: Mapping[str, Any] | None = None) -> Calibration:
    """Fit a calibration to the scans that are not held out, and score it on those that are.

    Args:
        rows: a scan each: `scan` (its number), `map`, `held_out`, `flips`, `values`, true `dice` of each value (None
            where the truth has none of it), `evidence` by column.
        sha256: checksum of the weights.
        facts: what else shall be kept with it.

    Raises:
        InputError: there are too few scans.
    """
    inside = tabulated([row for row in rows if not row["held_out"]])
    if len(set(inside.scan.tolist())) < LEAST_SCANS or FIRST not in inside.columns:
        raise InputError(f"A calibration needs at least {LEAST_SCANS} scans that are not held out: segment more.")
    columns, ridge = choose(inside)
    guess = out_of_fold(inside.take(np.ones(len(inside.y), bool), columns), ridge)
    threshold = best_threshold(scan_means(inside, guess), scan_means(inside, inside.y))
    made = fitted(inside.take(np.ones(len(inside.y), bool), columns), ridge)
    model = Calibration(sha256, columns, *made, failed_below=threshold)
    known = {"scans": len(rows), "scans_fitted": len(set(inside.scan.tolist())), "ridge": ridge}
    outside = [row for row in rows if row["held_out"]]
    scores = {f"held_out{name}": scored(model, some) for name, some in _parts(outside).items() if some}
    return Calibration(sha256, columns, *made, failed_below=threshold, facts={**(facts or {}), **known, **scores})


def _parts(rows: Sequence[Row]) -> dict[str, list[Row]]:
    return {
        "": list(rows),
        "_with_flips": [row for row in rows if row["flips"]],
        "_without_flips": [row for row in rows if not row["flips"]],
    }


def choose(table: Evidence) -> tuple[tuple[str, ...], float]:
    """Choose the evidence that helps, added one by one, and the ridge; both by the error on label maps left out."""
    every = np.ones(len(table.y), bool)
    chosen: tuple[str, ...] = (FIRST,)
    error = cross_entropy(table.y, out_of_fold(table.take(every, chosen), None))
    while True:
        trials = {
            name: cross_entropy(table.y, out_of_fold(table.take(every, (*chosen, name)), None))
            for name in table.columns
            if name not in chosen
        }
        best = min(trials, key=lambda name: trials[name], default=None)
        floor = cross_entropy(table.y, table.y)  # what not even the truth could explain
        if best is None or error - trials[best] < GAIN * (error - floor):
            break
        chosen, error = (*chosen, best), trials[best]
    errors = {ridge: cross_entropy(table.y, out_of_fold(table.take(every, chosen), ridge)) for ridge in RIDGES}
    return chosen, min(errors, key=lambda ridge: errors[ridge])


def cross_entropy(y: np.ndarray, p: np.ndarray) -> float:
    p = np.clip(p, 1e-4, 1 - 1e-4)
    return float(-np.mean(y * np.log(p) + (1 - y) * np.log(1 - p)))


def out_of_fold(table: Evidence, ridge: float | None) -> np.ndarray:
    """(n,) expected Dice of every line, by a model that saw none of its fold; see `fitted`."""
    out = np.empty(len(table.y))
    for fold in np.unique(table.fold):
        test = table.fold == fold
        centre, scale, shared, own = fitted(table.take(~test), ridge)
        weights = np.stack([own.get(int(v), shared) for v in table.value[test]])
        x = (table.x[test] - centre) / scale
        out[test] = sigmoid(weights[:, 0] + (weights[:, 1:] * x).sum(1))
    return out


def fitted(table: Evidence, ridge: float | None) -> tuple[np.ndarray, np.ndarray, np.ndarray, dict[int, np.ndarray]]:
    """Fit the model to a table.

    Args:
        table: of the evidence that enters.
        ridge: on the deviations of structures from the shared weights; None: only the intercepts deviate.

    Returns:
        Centre and scale of the columns (m,), shared weights (m + 1,), and those of each structure by value.
    """
    centre, scale = table.x.mean(0), np.maximum(table.x.std(0), 1e-6)
    x = np.concatenate([np.ones((len(table.y), 1)), (table.x - centre) / scale], 1)
    values, which = np.unique(table.value, return_inverse=True)
    free = x.shape[1] if ridge is not None else 1
    count = x.shape[1]
    design = np.zeros((len(x), count + len(values) * free))
    design[:, :count] = x
    for j in range(free):
        design[np.arange(len(x)), count + which * free + j] = x[:, j]
    penalty = np.full(design.shape[1], 1.0 if ridge is None else ridge)
    penalty[:count] = 1e-2
    w = logistic(design, table.y, penalty)
    own = {}
    for i, value in enumerate(values):
        weights = w[:count].copy()
        weights[:free] += w[count + i * free : count + (i + 1) * free]
        own[int(value)] = weights
    return centre, scale, w[:count], own


def logistic(design: np.ndarray, y: np.ndarray, penalty: np.ndarray, most: int = 30) -> np.ndarray:
    """Fit weights (k,) to shares (n,) by Newton steps on cross-entropy plus half the penalized squares."""
    w = np.zeros(design.shape[1])
    for _ in range(most):
        p = sigmoid(design @ w)
        slope = design.T @ (p - y) + penalty * w
        curve = (design * np.maximum(p * (1 - p), 1e-4)[:, None]).T @ design
        curve[np.diag_indices_from(curve)] += penalty
        step = np.linalg.solve(curve, slope)
        w = w - step * min(1.0, 4.0 / max(np.abs(design @ step).max(), 1e-9))  # far steps overshoot
        if np.abs(step).max() < 1e-4:
            break
    return w


def scan_means(table: Evidence, dice: np.ndarray) -> dict[int, float]:
    """Return the mean Dice of each scan over its scored structures."""
    return {
        int(scan): rate_scan(dict(zip(table.value[here].tolist(), dice[here].tolist(), strict=True)), True).mean
        for scan in np.unique(table.scan)
        for here in (table.scan == scan,)
    }


def best_threshold(guess: Mapping[int, float], truth: Mapping[int, float]) -> float:
    """Return the expected mean Dice that best separates scans that failed (true mean below `FAILED`).

    The one with the largest sum of sensitivity and specificity, and in the middle of such; `FAILED` where all or no
    scans failed.
    """
    g = np.array([guess[scan] for scan in truth])
    failed = np.array([truth[scan] < FAILED for scan in truth])
    if failed.all() or not failed.any():
        return FAILED
    candidates = np.round(np.arange(0.3, 0.9, 0.005), 3)
    gain = np.array([np.mean(g[failed] < t) - np.mean(g[~failed] < t) for t in candidates])
    return float(np.round(np.median(candidates[gain >= gain.max() - 1e-9]), 3))


def counts(a: np.ndarray, b: np.ndarray, values: Sequence[int]) -> dict[int, tuple[int, int, int]]:
    """Count the voxels of each value in both of two label arrays, in the one, and in the other."""
    length = max(int(a.max(initial=0)), int(b.max(initial=0)), *values) + 1
    each = [np.bincount(one.ravel(), minlength=length) for one in (a[a == b], a, b)]
    return {v: (int(each[0][v]), int(each[1][v]), int(each[2][v])) for v in values}


def true_dice(labels: np.ndarray, truth: np.ndarray, values: Sequence[int]) -> list[float | None]:
    """Return the Dice of each value; None where the truth has none of it (fluid of a stripped head)."""
    found = counts(labels, truth, values)
    return [round(2 * both / (one + true), 4) if true else None for both, one, true in found.values()]


def scored(model: Calibration, rows: Sequence[Row]) -> dict[str, Any]:
    """Score a calibration beside the soft Dice as it is: by structure, by scan, and the failures it names."""
    table = tabulated(rows)
    expected = np.concatenate([expected_of(model, row) for row in rows if row["evidence"]])
    raw = sigmoid(table.x[:, table.columns.index(FIRST)])
    truth, guess = scan_means(table, table.y), scan_means(table, expected)
    return {
        "scans": len(truth),
        "structures": agreement(expected, table.y),
        "structures_soft_dice": agreement(raw, table.y),
        "scan_means": agreement(np.array([*guess.values()]), np.array([*truth.values()])),
        "scan_means_soft_dice": agreement(np.array([*scan_means(table, raw).values()]), np.array([*truth.values()])),
        **naming(guess, truth, model.failed_below),
    }


def expected_of(model: Calibration, row: Row) -> np.ndarray:
    """Return the expected Dice of the lines that `tabulated` makes of a row.

    Raises:
        InputError: the row lacks evidence that the calibration takes.
    """
    evidence = QcFeatures(tuple(row["values"]), {name: np.array(one) for name, one in row["evidence"].items()})
    found = model.expected(evidence)
    if found is None:
        raise InputError("The rows lack evidence that the calibration takes: they are of another network.")
    return np.array([found[v] for v, dice in zip(row["values"], row["dice"], strict=True) if dice is not None])


def agreement(expected: np.ndarray, true: np.ndarray) -> dict[str, float | None]:
    enough = len(true) > 2 and np.ptp(true) > 0 and np.ptp(expected) > 0
    return {
        "pearson": round(float(pearsonr(expected, true)[0]), 3) if enough else None,
        "spearman": round(float(spearmanr(expected, true)[0]), 3) if enough else None,
        "mean_absolute_error": round(float(np.mean(np.abs(expected - true))), 4),
        "mean_error": round(float(np.mean(expected - true)), 4),
    }


def naming(guess: Mapping[Any, float], truth: Mapping[Any, float], failed_below: float) -> dict[str, int]:
    """Count the scans that failed, those of them that are named, and the others that are named too."""
    failed = {scan for scan, one in truth.items() if one < FAILED}
    named = {scan for scan, one in guess.items() if one < failed_below}
    return {"failed": len(failed), "named": len(failed & named), "false_alarms": len(named - failed)}
