"""Reproducibility: the measures by hand, and what tables of repeated scans give."""

from __future__ import annotations

import numpy as np
import pytest

from napari_synthseg.errors import InputError
from napari_synthseg.evaluation.studies import RetestOptions, study_retest
from napari_synthseg.evaluation.studies.retest import bland_altman, intraclass, measure
from tests.evaluation.studies.tables import write

SHROUT_FLEISS = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], float)
"""Table 2 of Shrout and Fleiss (1979)."""


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
    volumes = np.array([[90.0, 110, np.nan], [100, 100, 50], [100, 100, np.nan]])
    found = measure("x", volumes, RetestOptions(resamples=100))
    assert found.difference_percent == pytest.approx((20 + 2 * 200 / 9 + 0) / 3)
    within = [200 / 100**2, np.var([100, 100, 50], ddof=1) / (250 / 3) ** 2, 0]
    assert found.variation_percent == pytest.approx(100 * np.sqrt(np.mean(within)))


def test_icc_of_shrout_and_fleiss():
    """Their table 4: ICC(1,1) 0.17, ICC(2,1) 0.29, ICC(3,1) 0.71."""
    icc, (low, high), agreement, consistency = intraclass(SHROUT_FLEISS, 0.95)
    assert icc == pytest.approx(0.166, abs=5e-4) and (low, high) == pytest.approx((-0.133, 0.723), abs=2e-3)
    assert (agreement, consistency) == pytest.approx((0.290, 0.715), abs=1e-3)


def test_error_and_its_interval():
    rng = np.random.default_rng(0)
    found = measure("x", 100 + 5 * rng.normal(size=(500, 1)) + 2 * rng.normal(size=(500, 2)), RetestOptions())
    low, high = found.error_ci
    assert low < found.error < high and found.error == pytest.approx(2, rel=0.1)
    assert high - low == pytest.approx(0.25, abs=0.03)


def test_bland_altman_by_hand():
    found = bland_altman(np.array([1.0, 2, 0]), 0.95)
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
