"""Linear model, Cohen's d and bootstrap against libraries and plain ways of computing the same."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pingouin
import pytest
from scipy import stats

from napari_synthseg.evaluation.studies.groups import _corrected_for_number, _effects
from napari_synthseg.evaluation.studies.model import Moments, bootstrap_interval, effects, hedges_factor, slopes
from napari_synthseg.evaluation.studies.options import GroupOptions


def people(n=12, m=9, p=2, s=3, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n + m, p))
    y = x @ rng.normal(size=(p, s)) + rng.normal(size=(n + m, s))
    return y, x, np.arange(n + m) >= n


def scatters(y, x, other, weights=None):
    weights = np.ones((1, len(y))) if weights is None else weights
    return [Moments(y[rows], x[rows])(weights[:, rows]) for rows in (~other, other)]


def cohens_d(y, other):
    """Equation 28 of SynthSeg by pingouin, case minus control."""
    return [pingouin.compute_effsize(one[other], one[~other], eftype="cohen") for one in y.T]


@pytest.mark.parametrize("fit", ["within", "reference", "all"])
def test_moments_give_the_d_of_regression(fit):
    y, x, other = people()
    rows = {"within": slice(None), "reference": ~other, "all": slice(None)}[fit]
    design = np.column_stack([np.ones(len(y)), x, other])[rows]
    design = design if fit == "within" else design[:, :3]
    beta = np.linalg.lstsq(design, y[rows], rcond=None)[0][1:3]
    assert slopes(*scatters(y, x, other), fit)[0] == pytest.approx(beta, rel=1e-6)
    assert effects(*scatters(y, x, other), fit)[0] == pytest.approx(cohens_d(y - x @ beta, other), rel=1e-6)


def test_without_covariates_d_is_plain_case_minus_control():
    y, x, other = people(p=0)
    assert effects(*scatters(y, x, other), "within")[0] == pytest.approx(cohens_d(y, other))
    y[other] += 10
    assert (effects(*scatters(y, x, other), "within") > 0).all()


def test_weights_are_what_drawing_rows_gives():
    y, x, other = people()
    counts = np.random.default_rng(3).multinomial(12, np.full(12, 1 / 12), 4)
    counts = np.concatenate([counts, np.random.default_rng(4).multinomial(9, np.full(9, 1 / 9), 4)], 1)
    rows = np.repeat(np.arange(len(y)), counts[2])
    again = effects(*scatters(y[rows], x[rows], other[rows]), "within")[0]
    assert effects(*scatters(y, x, other, counts), "within")[2] == pytest.approx(again)


@pytest.mark.parametrize("method", ["bca", "percentile"])
def test_intervals_are_those_of_scipy(method):
    data = np.random.default_rng(1).lognormal(size=40)
    low, high = bootstrap_interval((40,), lambda w: w @ data[:, None] / 40, method=method, resamples=500,
                                   confidence=0.9, seed=2)  # fmt: skip
    theirs = stats.bootstrap((data,), np.mean, n_resamples=500, confidence_level=0.9, batch=256,
                             method=method, rng=np.random.default_rng(2)).confidence_interval  # fmt: skip
    assert (low[0], high[0]) == pytest.approx(tuple(theirs))


def test_difference_interval_and_p_are_hc3_and_student_is_classical():
    y, x, other = people()
    x = x - x.mean(0)
    design = np.column_stack([np.ones(len(y)), other, x])
    beta, squares = np.linalg.lstsq(design, y, rcond=None)[:2]
    inverse = np.linalg.inv(design.T @ design)
    error = np.sqrt(squares / (len(y) - 4) * inverse[1, 1])
    hat = np.diag(design @ inverse @ design.T)
    inside = design.T @ (design * ((y - design @ beta)[:, 0] / (1 - hat))[:, None] ** 2)
    hc3 = np.sqrt((inverse @ inside @ inverse)[1, 1])
    found, corrected = _effects(pd.DataFrame(y), x, other, GroupOptions(group="g", resamples=100))
    for p, one in ((found[0].p, hc3), (found[0].p_student, error[0])):
        assert p == pytest.approx(2 * stats.t.sf(abs(beta[1, 0] / one), len(y) - 4))
    half = stats.t.ppf(0.975, len(y) - 4) * hc3
    assert found[0].difference_ci == pytest.approx((beta[1, 0] - half, beta[1, 0] + half))
    assert [one.cohens_d for one in found] == pytest.approx(cohens_d(corrected, other))


def test_p_values_are_corrected_for_their_number():
    p = np.array([0.01, np.nan, 0.04, 0.03, 0.005])
    assert _corrected_for_number(p, "holm") == pytest.approx([0.03, np.nan, 0.06, 0.06, 0.02], nan_ok=True)
    known = np.isfinite(p)
    assert _corrected_for_number(p, "fdr_bh")[known] == pytest.approx(stats.false_discovery_control(p[known]))


def test_hedges_factor_removes_the_bias():
    rng = np.random.default_rng(0)
    found = []
    for _ in range(800):
        x, other = rng.normal(size=(16, 2)), np.arange(16) >= 8
        y = rng.normal(size=(16, 20)) + 1.0 * other[:, None]
        found.append(effects(*scatters(y, x, other), "within"))
    mean = float(np.mean(found))
    assert mean > 1.1 and mean * hedges_factor(8, 8, 2) == pytest.approx(1.0, abs=0.02)
