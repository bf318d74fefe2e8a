"""Linear model, Cohen's d and bootstrap against libraries and plain ways of computing the same."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pingouin
import pytest
from scipy import stats

from napari_synthseg.evaluation.studies import GroupOptions
from napari_synthseg.evaluation.studies.groups import corrected_for_number, effects_on
from napari_synthseg.evaluation.studies.model import Moments, bootstrap_interval, effects, hedges_factor


def people(n=12, m=9, p=2, s=3, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n + m, p))
    y = x @ rng.normal(size=(p, s)) + rng.normal(size=(n + m, s))
    return y, x, np.arange(n + m) >= n


def effects_of(y, x, other, fit="within", weights=None):
    weights = np.ones((1, len(y))) if weights is None else weights
    return effects(*(Moments(y[rows], x[rows])(weights[:, rows]) for rows in (~other, other)), fit)


def cohens_d(y, other):
    """Equation 28 of SynthSeg by pingouin, case minus control."""
    return [pingouin.compute_effsize(one[other], one[~other], eftype="cohen") for one in y.T]


@pytest.mark.parametrize("fit", ["within", "reference", "all"])
def test_moments_give_the_d_of_regression(fit):
    y, x, other = people()
    rows = ~other if fit == "reference" else slice(None)
    design = np.column_stack([np.ones(len(y)), x, other])[rows]
    beta = np.linalg.lstsq(design if fit == "within" else design[:, :3], y[rows], rcond=None)[0][1:3]
    d, slopes = effects_of(y, x, other, fit)
    assert slopes[0] == pytest.approx(beta, rel=1e-6)
    assert d[0] == pytest.approx(cohens_d(y - x @ beta, other), rel=1e-6)


def test_without_covariates_d_is_plain_case_minus_control():
    y, x, other = people(p=0)
    assert effects_of(y, x, other)[0][0] == pytest.approx(cohens_d(y, other))
    y[other] += 10
    assert (effects_of(y, x, other)[0] > 0).all()


def test_weights_are_what_drawing_rows_gives():
    y, x, other = people()
    rng = np.random.default_rng(3)
    counts = np.concatenate([rng.multinomial(size, np.full(size, 1 / size), 4) for size in (12, 9)], 1)
    rows = np.repeat(np.arange(len(y)), counts[2])
    again = effects_of(y[rows], x[rows], other[rows])[0][0]
    assert effects_of(y, x, other, weights=counts)[0][2] == pytest.approx(again)


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
    found, corrected = effects_on(pd.DataFrame(y), x, other, GroupOptions(group="g", resamples=100))
    for name, one in (("p", hc3), ("p_student", error[0])):
        assert found[0][name] == pytest.approx(2 * stats.t.sf(abs(beta[1, 0] / one), len(y) - 4))
    half = stats.t.ppf(0.975, len(y) - 4) * hc3
    assert found[0]["difference_ci"] == pytest.approx((beta[1, 0] - half, beta[1, 0] + half))
    assert [one["cohens_d"] for one in found] == pytest.approx(cohens_d(corrected, other))


def test_p_values_are_corrected_for_their_number_without_the_unknown():
    p = np.array([0.01, np.nan, 0.04, 0.03, 0.005])
    assert corrected_for_number(p, "holm") == pytest.approx([0.03, np.nan, 0.06, 0.06, 0.02], nan_ok=True)
    known = np.isfinite(p)
    assert np.array(corrected_for_number(p, "fdr_bh"))[known] == pytest.approx(stats.false_discovery_control(p[known]))
    assert np.isnan(corrected_for_number([np.nan], "holm")).all()


def test_hedges_factor_removes_the_bias():
    rng = np.random.default_rng(0)
    x, other = rng.normal(size=(800, 16, 2)), np.arange(16) >= 8
    found = [effects_of(rng.normal(size=(16, 20)) + other[:, None], one, other)[0] for one in x]
    mean = float(np.mean(found))
    assert mean > 1.1 and mean * hedges_factor(8, 8, 2) == pytest.approx(1.0, abs=0.02)
