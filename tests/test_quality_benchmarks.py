"""`benchmarks/calibrate_quality.py` and `benchmarks/quality.py`: what is drawn, how it goes on, what is reported."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.phantom import head_phantom
from napari_synthseg.generator.sample import prepared
from napari_synthseg.inference.quality import rating
from napari_synthseg.inference.quality.features import QcFeatures
from napari_synthseg.inference.quality.rating import calibration_of
from napari_synthseg.io import write_labels, write_volume
from napari_synthseg.volume import Volume
from tests.inference.fakes import FakeLocateRefine, ball_scan
from tests.inference.test_quality import SHA, constant
from tests.test_benchmarks import called, script

calibrate, quality = script("calibrate_quality"), script("quality")
fit = quality.fit


@pytest.fixture
def model(tmp_path, monkeypatch) -> FakeLocateRefine:
    """What both scripts load, its weights in a folder."""
    fake = FakeLocateRefine()
    fake.card["path"] = str(tmp_path / "fake.safetensors")
    for bench in (calibrate, quality):
        monkeypatch.setattr(bench, "load_model", lambda name: fake)
    return fake


# Fitting


def synthetic_rows(scans: int = 60, columns: tuple[str, ...] = ("soft", "noise", "hint")) -> list[dict]:
    """True Dice follows "soft" and "hint" and differs between structures; "noise" says nothing."""
    rng = np.random.default_rng(1)
    rows, values = [], [2, 3, 17]
    for scan in range(scans):
        quality, hint = rng.normal(), rng.normal()
        soft, noise = quality + rng.normal(0, 0.3, 3), rng.normal(0, 1, 3)
        score = quality + np.array([1.5, 1.0, 0.0]) + hint + rng.normal(0, 0.1, 3)
        found = {"soft": soft, "noise": noise, "hint": np.full(3, hint)}
        rows.append({
            "scan": scan, "map": f"map{scan % 10}", "held_out": scan % 10 >= 8, "flips": scan % 2 == 1,
            "values": values, "dice": (1 / (1 + np.exp(-score))).tolist(),
            "evidence": {name: found[name].tolist() for name in columns},
        })  # fmt: skip
    return rows


def test_a_fit_finds_what_helps_and_holds_for_other_heads():
    made = fit.calibrate(synthetic_rows(), sha256=SHA, facts={"weights": "fake"})
    assert made.columns == ("soft", "hint")
    outside = made.facts["held_out"]
    assert outside["structures"]["pearson"] > 0.9 > outside["structures_soft_dice"]["pearson"]
    assert outside["structures"]["mean_absolute_error"] < 0.06
    assert made.facts["held_out_with_flips"]["scans"] + made.facts["held_out_without_flips"]["scans"] == 12
    assert outside["failed"] > 0 and outside["named"] >= outside["failed"] - 1 and outside["false_alarms"] <= 2
    assert made.facts["weights"] == "fake" and made.facts["scans_fitted"] == 48


def test_structures_keep_their_own_level():
    made = fit.calibrate(synthetic_rows(), sha256=SHA)
    same = QcFeatures((2, 17, 9999), {name: np.zeros(3) for name in made.columns})
    expected = made.expected(same)
    assert expected[2] > expected[17] + 0.15
    assert expected[17] < expected[9999] < expected[2]  # a structure that was not seen is like the others


def test_a_threshold_separates_failures_and_stays_where_there_are_none():
    truth = {0: 0.3, 1: 0.5, 2: 0.7, 3: 0.8}
    found = fit.best_threshold({0: 0.45, 1: 0.5, 2: 0.66, 3: 0.8}, truth)
    assert 0.5 < found < 0.66
    assert fit.best_threshold({0: 0.7}, {0: 0.9}) == rating.FAILED


# Drawing


def test_more_scans_leave_the_first_ones_as_they_are():
    maps = [Path(f"{i}.nii.gz") for i in range(5)]
    few, many = (calibrate.plan(n, maps[:4], maps[4:]) for n in (40, 80))
    assert many[:40] == few
    assert sum(row["held_out"] for row in few) == 12
    assert {row["map"] for row in few if row["held_out"]} == {"4.nii.gz"}
    assert Counter(row["kind"] for row in few) == dict.fromkeys(calibrate.KINDS, 10)
    assert sum(row["flips"] for row in few) == 20


@pytest.mark.parametrize("kind", calibrate.KINDS)
def test_each_way_draws_a_scan_with_its_labels(monkeypatch, kind):
    monkeypatch.setattr(calibrate, "FIELD", (48, 56, 48))
    ready, affine = prepared(head_phantom((96, 112, 96), 2.0))
    scan, truth = calibrate.draw_scan(ready, affine, kind, torch.Generator().manual_seed(3))
    again, _ = calibrate.draw_scan(ready, affine, kind, torch.Generator().manual_seed(3))
    assert scan.shape == truth.shape == (48, 56, 48)
    assert np.isfinite(scan.data).all() and np.ptp(scan.data) > 0
    assert np.array_equal(scan.data, again.data)
    assert len(np.unique(truth.data)) > 10


def test_a_scan_is_scored_against_its_truth(model):
    scan, truth = ball_scan()
    row = calibrate.scored(model, scan, Volume(truth, scan.affine), {"scan": 0, "flips": False}, None)
    dice = dict(zip(row["values"], row["dice"], strict=True))
    assert dice[2] > 0.97 and dice[42] > 0.97
    assert len(row["evidence"]["soft"]) == len(row["values"])
    truth = np.where(truth == 24, 0, truth)
    row = calibrate.scored(model, scan, Volume(truth, scan.affine), {"scan": 0, "flips": True}, None)
    assert row["dice"][row["values"].index(24)] is None and row["evidence"]["flips"][0] == 1


def test_a_calibration_goes_on_where_it_was_stopped(model, tmp_path, monkeypatch, capsys):
    maps = tmp_path / "maps"
    for name in "abc":
        write_labels(maps / f"{name}.nii.gz", Volume(np.eye(3, dtype=np.int16)[None], np.eye(4)))
    given, drawn = synthetic_rows(), []

    def collect(network, todo, *rest):
        for row in todo:
            drawn.append(row["scan"])
            yield {**given[row["scan"]], **row, "seconds": 0.0}

    monkeypatch.setattr(calibrate, "collect", collect)
    words = (maps, "--hold-out", "c", "--rows", tmp_path / "rows.jsonl")
    assert called(monkeypatch, calibrate, *words, "--scans", 30) == 0
    assert called(monkeypatch, calibrate, *words, "--scans", 60) == 0
    assert drawn == list(range(60))
    assert len((tmp_path / "rows.jsonl").read_text().splitlines()) == 60
    made = calibration_of(model.card)
    assert made is not None and made.facts["scans"] == 60 and made.facts["weights"] == "fake"
    assert made.facts["held_out"]["structures"]["pearson"] > 0.9
    model.card["sha256"] = "1" * 64  # other weights: nothing of this may be used
    assert calibration_of(model.card) is None
    assert called(monkeypatch, calibrate, *words, "--scans", 30) == 0
    assert len(drawn) == 90


# Reporting


def test_labelled_scans_are_measured_once(model, tmp_path, monkeypatch, capsys):
    scan, truth = ball_scan()
    for name in ("1", "2"):
        write_volume(tmp_path / "scans" / f"{name}_t1.nii.gz", scan)
        write_labels(tmp_path / "scans" / f"{name}_labels.nii.gz", Volume(truth, scan.affine))
    words = (tmp_path / "scans", "--out", tmp_path / "out", "--levels", "none=0", "noise=75")
    assert called(monkeypatch, quality, *words) == 2
    assert "no calibration" in capsys.readouterr().err
    constant(1.0).save(tmp_path / "fake.quality.json")
    monkeypatch.setattr(quality, "segment", None)  # everything is known by now
    assert called(monkeypatch, quality, *words) == 0
    rows = json.loads((tmp_path / "out" / "rows.json").read_text())
    assert [(row["map"], row["level"]) for row in rows] == [(n, v) for n in ("1_t1", "2_t1") for v in words[4:]]
    good, bad = (np.mean([one for one in row["dice"] if one is not None]) for row in rows[:2])
    assert good > 0.97 > bad
    assert "4 segmentations" in (tmp_path / "out" / "table.md").read_text()
