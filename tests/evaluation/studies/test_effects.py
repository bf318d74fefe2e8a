"""Cohen's d, its correction and its bootstrap, against slow and plain ways of computing the same."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from napari_synthseg.evaluation.studies import bootstrap
from napari_synthseg.evaluation.studies.effects import additions, cohens_d, effects, hedges_factor, slopes
from napari_synthseg.evaluation.studies.significance import benjamini_hochberg, group_test, holm


def people(n=12, m=9, p=2, s=3, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n + m, p))
    y = x @ rng.normal(size=(p, s)) + rng.normal(size=(n + m, s))
    return y, x, np.arange(n + m) >= n


def sums(y, x, other):
    return [additions(y[rows], x[rows]).sum(0)[None] for rows in (~other, other)]


def test_equation_28():
    a, b = np.array([[3.0], [4], [5]]), np.array([[1.0], [3]])
    pooled = np.sqrt((2 * 1.0 + 1 * 2.0) / 3)
    assert cohens_d(a, b) == pytest.approx((4 - 2) / pooled)


@pytest.mark.parametrize("fit", ["within", "reference", "all"])
def test_sums_give_what_regression_and_eq_28_give(fit):
    y, x, other = people()
    rows = {"within": slice(None), "reference": ~other, "all": slice(None)}[fit]
    design = np.column_stack([np.ones(len(y)), x, other])[rows]
    design = design if fit == "within" else design[:, :3]
    beta = np.linalg.lstsq(design, y[rows], rcond=None)[0][1:3]
    corrected = y - x @ beta
    found = sums(y, x, other)
    assert slopes(*found, 2, 3, fit)[0] == pytest.approx(beta, rel=1e-6)
    assert effects(*found, 2, 3, fit)[0] == pytest.approx(cohens_d(corrected[~other], corrected[other]), rel=1e-6)


def test_without_covariates_d_is_plain():
    y, x, other = people(p=0)
    assert effects(*sums(y, x, other), 0, 3, "within")[0] == pytest.approx(cohens_d(y[~other], y[other]))


def test_resamples_are_what_drawing_rows_gives():
    y, x, other = people()
    groups = [additions(y[rows], x[rows]) for rows in (~other, other)]
    (drawn,) = bootstrap.drawn(groups, 5, np.random.default_rng(3))
    seeds = np.random.default_rng(3).integers(0, 1 << 62, 2)
    counts = [bootstrap.counts_of(len(g), 5, np.random.default_rng(s)) for g, s in zip(groups, seeds, strict=True)]
    rows = [np.repeat(np.flatnonzero(mask), c[2].astype(int)) for mask, c in zip((~other, other), counts, strict=True)]
    again = sums(np.concatenate([y[r] for r in rows]), np.concatenate([x[r] for r in rows]),
                 np.repeat([False, True], [len(r) for r in rows]))  # fmt: skip
    assert effects(*drawn, 2, 3, "within")[2] == pytest.approx(effects(*again, 2, 3, "within")[0])


def test_influences_are_the_jackknife():
    y, x, other = people()
    groups = [additions(y[rows], x[rows]) for rows in (~other, other)]
    first, _ = bootstrap.influences(groups, lambda a, b: effects(a, b, 2, 3, "within"))
    without = [
        effects(*sums(np.delete(y, i, 0), np.delete(x, i, 0), np.delete(other, i)), 2, 3, "within")[0]
        for i in range(12)
    ]
    assert first == pytest.approx(11 * (np.mean(without, 0) - without))


def test_bca_agrees_with_scipy():
    data = np.random.default_rng(1).lognormal(size=40)
    ours = np.stack([np.ones(40), data], 1)
    estimate = lambda sums: sums[:, 1:] / sums[:, :1]  # noqa: E731
    samples = np.concatenate([estimate(part) for (part,) in bootstrap.drawn([ours], 20000, np.random.default_rng(2))])
    a = bootstrap.acceleration(bootstrap.influences([ours], estimate))
    low, high = bootstrap.bca_interval(samples, estimate(ours.sum(0)[None])[0], a, 0.95)
    theirs = stats.bootstrap((data,), np.mean, n_resamples=9999, rng=np.random.default_rng(3)).confidence_interval
    assert (low[0], high[0]) == pytest.approx((theirs.low, theirs.high), rel=0.03)


def test_the_t_test_without_covariates_is_students():
    y, x, other = people(p=0)
    found = group_test(y, x, other)
    assert found.p_student == pytest.approx(stats.ttest_ind(y[~other], y[other]).pvalue)
    assert found.difference == pytest.approx(y[other].mean(0) - y[~other].mean(0))


def test_the_t_test_with_covariates_is_that_of_least_squares():
    y, x, other = people()
    x = x - x.mean(0)
    design = np.column_stack([np.ones(len(y)), other, x])
    beta, squares = np.linalg.lstsq(design, y, rcond=None)[:2]
    inverse = np.linalg.inv(design.T @ design)
    error = np.sqrt(squares / (len(y) - 4) * inverse[1, 1])
    hat = np.diag(design @ inverse @ design.T)
    inside = design.T @ (design * ((y - design @ beta)[:, 0] / (1 - hat))[:, None] ** 2)
    hc3 = np.sqrt((inverse @ inside @ inverse)[1, 1])
    found = group_test(y, x, other)
    assert found.freedom == len(y) - 4 and found.error[0] == pytest.approx(hc3)
    for p, one in ((found.p, hc3), (found.p_student, error[0])):
        assert p[0] == pytest.approx(2 * stats.t.sf(abs(beta[1, 0] / one), len(y) - 4))


def test_many_p_values():
    p = np.array([0.01, np.nan, 0.04, 0.03, 0.005])
    assert holm(p) == pytest.approx([0.03, np.nan, 0.06, 0.06, 0.02], nan_ok=True)
    known = np.isfinite(p)
    assert benjamini_hochberg(p)[known] == pytest.approx(stats.false_discovery_control(p[known]))


def test_hedges_factor_removes_the_bias():
    rng = np.random.default_rng(0)
    found = []
    for _ in range(800):
        x, other = rng.normal(size=(16, 2)), np.arange(16) >= 8
        y = rng.normal(size=(16, 20)) - 1.0 * other[:, None]
        found.append(effects(*sums(y, x, other), 2, 20, "within"))
    mean = float(np.mean(found))
    assert mean > 1.1 and mean * hedges_factor(8, 8, 2) == pytest.approx(1.0, abs=0.02)
