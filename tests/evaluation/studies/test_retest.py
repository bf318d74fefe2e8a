"""Reproducibility: the measures by hand, and what tables of repeated scans give."""

from __future__ import annotations

import numpy as np
import pytest

from napari_synthseg.errors import InputError
from napari_synthseg.evaluation.studies import RetestOptions, reliability, study_retest
from tests.evaluation.studies.tables import write

SHROUT_FLEISS = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], float)
"""Table 2 of Shrout and Fleiss (1979): ICC(1,1) is 0.17."""


def table(folder, people=20, scans=2, within=50.0, bias=0.0, seed=0):
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(people):
        own = 4000 + 400 * rng.normal()
        for s in range(scans):
            rows.append([f"sub-{i:02d}_ses-{s + 1}_T1w.nii.gz", f"{own + bias * s + within * rng.normal():.2f}"])
    return write(folder / "v.csv", ["scan", "Left-Hippocampus"], rows), rows


def study(path, **options):
    return study_retest([path], RetestOptions(**{"resamples": 200, **options}))


def test_differences_by_hand():
    volumes = np.array([[90.0, 110, np.nan], [100, 100, 50]])
    assert reliability.symmetrised_difference(volumes) == pytest.approx([20, (0 + 200 / 3 + 200 / 3) / 3])
    assert reliability.variation_within(volumes[:1]) == pytest.approx(100 * np.sqrt(200) / 100)


def test_icc_of_shrout_and_fleiss():
    icc, low, high = reliability.icc_one_way(SHROUT_FLEISS, 0.95)
    assert icc == pytest.approx(0.166, abs=5e-4) and (low, high) == pytest.approx((-0.133, 0.723), abs=2e-3)


def test_icc_two_way_counts_a_bias_in_agreement_only():
    rng = np.random.default_rng(0)
    own = rng.normal(size=200)
    first, second = own + 0.3 * rng.normal(size=200), own + 0.3 * rng.normal(size=200)
    alike = reliability.icc_two_way(first, second)
    moved = reliability.icc_two_way(first, second + 1.0)
    assert alike[0] == pytest.approx(1 / 1.09, abs=0.03) and moved[1] == pytest.approx(alike[1])
    assert moved[0] == pytest.approx(1 / (1.09 + 0.5), abs=0.05)


def test_error_and_its_interval():
    rng = np.random.default_rng(0)
    error, low, high = reliability.error_of_measurement(10 + 2 * rng.normal(size=(500, 2)), 0.95)
    assert low < error < high and error == pytest.approx(2, rel=0.1) and high - low == pytest.approx(0.25, abs=0.03)


def test_bland_altman_by_hand():
    found = reliability.bland_altman(np.array([1.0, 2, 3]), np.array([2.0, 4, 3]), 0.95)
    assert found["bias"] == pytest.approx(1) and found["upper"] == pytest.approx(1 + 1.959964)
    assert found["bias_ci"][1] == pytest.approx(1 + 4.302653 / np.sqrt(3))


def test_known_reproducibility_comes_back(tmp_path):
    path, _ = table(tmp_path, people=60, bias=30)
    (found,) = study(path).structures
    assert (found.people, found.scans) == (60, 120) and found.error == pytest.approx(50, rel=0.35)
    assert found.icc_ci[0] < 400**2 / (400**2 + 50**2) < found.icc_ci[1]
    assert found.bland_altman["bias_ci"][0] < 30 < found.bland_altman["bias_ci"][1]
    assert found.difference_ci[0] < 200 * 50 / np.sqrt(np.pi) / 4000 < found.difference_ci[1]
    assert found.repeatability == pytest.approx(1.96 * np.sqrt(2) * found.error)


def test_order_of_sessions_and_numbers_of_scans(tmp_path):
    path, rows = table(tmp_path, people=5, scans=2, within=0, bias=100)
    mixed = [*reversed(rows), ["sub-00_ses-10_T1w.nii.gz", "4000"], ["sub-77_T1w.nii.gz", "4000"]]
    found = study(write(path, ["scan", "Left-Hippocampus"], mixed))
    (one,) = found.structures
    assert one.bland_altman["bias"] == pytest.approx(100, abs=0.1) and (one.people, one.scans) == (5, 11)
    assert any("1 people have one scan only" in str(note) for note in found.notes.all)


def test_rows_of_a_person_without_sessions(tmp_path):
    rows = [[f"P{i}", v, r] for i in range(4) for r, v in ((2, 110 + i), (1, 100 + i))]
    path = write(tmp_path / "v.csv", ["subject", "Brain-Stem", "order"], rows)
    assert study(path).structures[0].bland_altman["bias"] == pytest.approx(-10)
    assert study(path, session="order").structures[0].bland_altman["bias"] == pytest.approx(10)


def test_what_is_no_retest(tmp_path):
    with pytest.raises(InputError, match="Only 0 of 20 people"):
        study(table(tmp_path, scans=1)[0])
    path, rows = table(tmp_path)
    with pytest.raises(InputError, match="No structure has two volumes"):
        study(write(path, ["scan", "Left-Hippocampus"], [[scan, "" if "ses-2" in scan else v] for scan, v in rows]))
    same = study(write(path, ["scan", "Brain-Stem", "CSF"], [[scan, v, "5"] for scan, v in rows]))
    assert [r.structure for r in same.structures] == ["Brain-Stem"]
