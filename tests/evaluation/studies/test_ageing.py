"""Trajectories: the model of SynthSeg+ is minimised, and known curves come back."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest

from napari_synthseg.errors import InputError
from napari_synthseg.evaluation.studies import AgeingOptions, study_ageing
from napari_synthseg.evaluation.studies.ageing import spacing_of
from napari_synthseg.evaluation.studies.model import Knots, fit, fit_many
from tests.evaluation.studies.tables import write

KNOTS = Knots(20, 90, 10)


def problem(curve, n=400, seed=0):
    """Means of products of the splines, and of them with volumes along a curve; and both."""
    rng = np.random.default_rng(seed)
    age = rng.uniform(20, 90, n)
    y = curve(age) + rng.normal(size=n)
    x = KNOTS.basis(age)
    return (x.T @ x / n, x.T @ y / n), (x, y)


def tables(folder, n=300, repeats=1, seed=0, noise=100.0):
    rng = np.random.default_rng(seed)
    rows, people = [], []
    for i in range(n):
        age, male, own = rng.uniform(20, 90), i % 2, noise * rng.normal()
        people.append([f"sub-{i:03d}", f"{age:.2f}", "FM"[male]])
        for run in range(repeats):
            spacing = [1, 1, 1]
            spacing[run % 3 if repeats > 1 else i % 3] = rng.choice([1, 3, 7])
            volume = 5000 - 20 * (age - 20) + 100 * male + 30 * (spacing[2] - 1) + own
            rows.append([f"sub-{i:03d}_run-{run}_T1w.nii.gz", *spacing, f"{volume:.2f}", f"{10000 - volume:.2f}"])
    header = ["scan", "spacing_x", "spacing_y", "spacing_z", "Left-Hippocampus", "Left-Lateral-Ventricle"]
    table = write(folder / "v.csv", header, rows)
    return table, write(folder / "p.tsv", ["participant_id", "age", "sex"], people, "\t")


def study(table, people, **options):
    return study_ageing([table], AgeingOptions(participants=people, **{"resamples": 20, **options}))


# The model


def test_splines_sum_to_one_and_hold_straight_lines():
    ages = np.linspace(20, 90, 57)
    basis = KNOTS.basis(ages)
    assert basis.shape == (57, 12) and np.allclose(basis.sum(1), 1, atol=1e-9)
    line = np.linalg.lstsq(basis, ages, rcond=None)[0]
    assert np.allclose(basis @ line, ages, atol=1e-6) and np.allclose(np.diff(line), 70 / 9)
    assert np.allclose(KNOTS.basis(np.array([10.0, 95.0])), KNOTS.basis(np.array([20.0, 90.0])))


def test_without_the_constraint_it_is_least_squares():
    one, (x, y) = problem(lambda age: np.sin(age / 10))
    assert fit(*one, 12, 0, 1.0)[0] == pytest.approx(np.linalg.lstsq(x, y, rcond=None)[0], abs=1e-3)


def test_the_minimum_is_found():
    """No step in any direction makes the sum smaller."""
    (gram, moment), _ = problem(lambda age: np.sin(age / 10))
    found, converged = fit(gram, moment, 12, -1, 0.1)

    def total(c):
        wrong, bend = np.maximum(np.diff(c), 0), np.diff(c, 2)
        return c @ gram @ c - 2 * moment @ c + 0.1 * wrong @ wrong + 1e-8 * bend @ bend

    rng = np.random.default_rng(0)
    best = total(found)
    assert converged
    for size in (1e-1, 1e-2, 1e-3):
        assert all(total(found + size * rng.normal(size=12)) > best - 1e-9 for _ in range(200))


@pytest.mark.parametrize("seed", [6, 15, 22, 45])
def test_the_search_does_not_give_up(seed):
    """With line searches of 20 steps it did on these, well above the minimum."""
    (gram, moment), _ = problem(lambda age: 2.5 * np.exp((age - 90) / 22), n=500, seed=seed)
    found, converged = fit(gram, moment, 12, 1, 1.0)
    exact = fit_many(gram[None], moment[None], 12, 1, 1.0)[0]
    assert converged and np.abs(KNOTS.basis(np.linspace(20, 90, 30)) @ (found - exact)).max() < 0.01


@pytest.mark.parametrize("direction", [-1, 0, 1])
def test_resamples_are_fitted_alike(direction):
    many = [problem(lambda age: np.sin(age / 10), n=80, seed=seed)[0] for seed in range(8)]
    found = fit_many(*map(np.array, zip(*many, strict=True)), 12, direction, 0.1)
    for one, theta in zip(many, found, strict=True):
        assert theta == pytest.approx(fit(*one, 12, direction, 0.1)[0], abs=0.02)


def test_a_hard_constraint_makes_the_curve_monotone_and_a_soft_one_gives_way():
    one, _ = problem(lambda age: -(((age - 50) / 15) ** 2), n=2000)
    curves = [KNOTS.basis(np.linspace(20, 90, 100)) @ fit(*one, 12, -1, weight)[0] for weight in (0, 0.1, 1e4)]
    rises = [np.maximum(np.diff(curve), 0).sum() for curve in curves]
    assert rises[0] > rises[1] > 0.5 and rises[2] < 0.02


def test_ages_without_scans_do_not_break_it():
    rng = np.random.default_rng(0)
    age = np.concatenate([rng.uniform(20, 30, 50), rng.uniform(85, 90, 50)])
    x, y = KNOTS.basis(age), -age / 10
    found, _ = fit(x.T @ x / 100, x.T @ y / 100, 12, -1, 0.1)
    assert KNOTS.basis(np.array([57.0])) @ found == pytest.approx(-5.7, abs=0.3)


# The study


def test_known_curves_come_back(tmp_path):
    found = study(*tables(tmp_path))
    falls, rises = found.trajectories
    assert (falls.direction, rises.direction, falls.scans, falls.people) == (-1, 1, 300, 300)
    true = 5000 - 20 * (falls.ages - 20) + 50
    inner = (falls.ages > 25) & (falls.ages < 85)
    assert np.abs(falls.curve - true)[inner].max() < 60 and falls.explained > 0.9
    assert falls.residual == pytest.approx(100, rel=0.15)
    terms = {term.name: term for term in falls.terms}
    assert terms["sex=M"].value == pytest.approx(100, abs=35) and terms["spacing_z"].value == pytest.approx(30, abs=12)
    assert abs(terms["spacing_x"].value) < 12
    age, rate, low, high = falls.change[3]
    assert age == 60 and low < rate < high and rate == pytest.approx(-100 * 20 / 4250, abs=0.25)


def test_the_band_knows_that_scans_of_one_person_are_alike(tmp_path):
    """Five scans of each of 60 people say no more about the curve than one of each does."""
    widths = []
    for repeats in (1, 5):
        table, people = tables(tmp_path, n=60, repeats=repeats)
        low, high = study(table, people, resamples=60, knots=4).trajectories[0].band
        widths.append(float((high - low).mean()))
    assert widths[1] > 0.7 * widths[0]


@pytest.mark.parametrize(("monotonic", "directions"), [("none", (0, 0)), ("increasing", (1, 1)), ("auto", (-1, 1))])
def test_the_direction_is_found_or_given_and_without_bootstrap_there_is_no_band(tmp_path, monotonic, directions):
    found = study(*tables(tmp_path, n=60), resamples=0, monotonic=monotonic).trajectories
    one = found[0]
    assert tuple(each.direction for each in found) == directions
    assert np.isnan(one.band[0]).all() and np.isnan(one.terms[0].ci[0]) and np.isfinite(one.curve).all()


def test_columns_can_be_named_or_left_out(tmp_path):
    table, people = tables(tmp_path, n=60)
    assert study(table, people, sex="none", spacing="none", resamples=0).terms == ()
    assert study(table, people, spacing="spacing_z", resamples=0).terms == ("sex=M", "spacing_z")
    with pytest.raises(InputError, match="no column 'born'"):
        study(table, people, age="born")


def test_outliers_are_named(tmp_path):
    table, people = tables(tmp_path, n=100)
    table.write_text(table.read_text() + "sub-000_run-9_T1w.nii.gz,1,1,1,9000,1000\n")
    assert study(table, people, resamples=0).trajectories[0].outliers == ("sub-000_run-9_T1w.nii.gz",)


def test_what_makes_no_trajectory(tmp_path):
    table, people = tables(tmp_path, n=12)
    with pytest.raises(InputError, match="Only 12 scans .* 10 knots need 17"):
        study(table, people)
    table, people = tables(tmp_path, n=60)
    lines = [line.split("\t") for line in people.read_text().splitlines()]
    same = write(tmp_path / "same.tsv", lines[0], [[line[0], "40", line[2]] for line in lines[1:]], "\t")
    with pytest.raises(InputError, match="40 to 40 years"):
        study(table, same)


def test_spacing_from_headers(tmp_path):
    affine = np.array([[0, 0, 5, 0], [-1.5, 0, 0, 0], [0, 0.9, 0, 0], [0, 0, 0, 1.0]])
    table, people = tables(tmp_path, n=40)
    for i in range(40):
        nibabel.save(nibabel.Nifti1Image(np.zeros((2, 2, 2), np.uint8), affine * [1, 1, 1 + i % 3, 1]),
                     tmp_path / f"sub-{i:03d}_run-0_T1w.nii.gz")  # fmt: skip
    assert spacing_of(tmp_path / "sub-001_run-0_T1w.nii.gz") == pytest.approx([10, 1.5, 0.9])
    (tmp_path / "sub-003_run-0_T1w.nii.gz").write_bytes(b"broken")
    found = study(table, people, spacing="headers", resamples=0)
    assert found.terms == ("sex=M", "spacing_x") and found.trajectories[0].scans == 39
    assert any("could not be read" in str(note) for note in found.notes.all)
