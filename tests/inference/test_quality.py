"""Expected quality: soft Dice, what is gathered, its calibration, ratings, tables; the quality regressor."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_synthseg import anatomy, cli
from napari_synthseg.errors import InputError
from napari_synthseg.inference import qc_regressor
from napari_synthseg.inference.pipeline import segment
from napari_synthseg.inference.quality import features, rating
from napari_synthseg.inference.quality.features import QcFeatures, soft_dice
from napari_synthseg.inference.quality.rating import Calibration, calibration_of, path_beside, read
from napari_synthseg.inference.state import Prediction, TissueMaps
from napari_synthseg.io import write_volume
from napari_synthseg.jobs import run
from napari_synthseg.networks.hierarchy import RobustLocateRefine
from napari_synthseg.networks.qc_regressor import QualityRegressor
from tests import keras_files as files
from tests.inference.fakes import LABELS, FakeLocateRefine, ball_scan

SHA = "0" * 64


def constant(score: float, sha256: str = SHA, **more) -> Calibration:
    """Expects one Dice of everything, sigmoid(score)."""
    zero = np.zeros(1)
    return Calibration(sha256, ("soft",), zero, zero + 1, np.array([score, 0.0]), {}, **more)


def network(tmp_path, calibration: Calibration | None = None) -> FakeLocateRefine:
    """One whose weights lie in a folder, with a calibration beside them if one is given."""
    model = FakeLocateRefine()
    model.card["path"] = str(tmp_path / "fake.safetensors")
    if calibration is not None:
        calibration.save(path_beside(tmp_path / "fake.safetensors"))
    return model


# QcFeatures


def test_a_structure_of_the_usual_share_has_no_size_to_speak_of():
    middle = {v: math.prod(features.adult_range(v)) ** 0.5 for v in (2, 41, 17, 53)}
    assert features.sizes([*middle], 7 * np.array([*middle.values()])) == pytest.approx(0)
    total = np.array([*middle.values()])
    total[2] *= 4
    larger = features.sizes([*middle], total)
    assert larger[2] > 1 and larger[2] == larger.max()
    assert features.sizes([9999], np.array([3.0])) == pytest.approx(0)


def test_sides_differ_by_their_logarithm_and_the_midline_does_not():
    assert features.sides([16, 17, 53], np.array([100, 50, 100])) == pytest.approx([0, np.log(2), np.log(2)])


def test_labels_that_follow_the_intensities_explain_them():
    hard = np.zeros((8, 8, 8), np.int16)
    hard[:4], hard[4:] = 2, 3
    image = np.where(hard == 2, 200.0, 100.0) + np.random.default_rng(0).normal(0, 5, hard.shape)
    spread, explained = features.intensities(hard, image, (2, 3))
    assert explained > 0.98 and (spread < -2).all()
    spread, explained = features.intensities(np.roll(hard, 2, axis=0), image, (2, 3))
    assert explained < 0.1 and (spread > -0.2).all()


@pytest.mark.parametrize("offset", [-3, 0, 5])
def test_the_locators_grid_sees_every_second_voxel(offset):
    whole = np.arange(40)[:, None, None] * np.ones((1, 6, 6), int)
    small = features._every_second(whole[10:30], (10, 0, 0), (offset, 0, 0), (24, 3, 3))
    expected = offset + 2 * np.arange(24)
    assert np.array_equal(small[:, 0, 0], np.where((expected >= 10) & (expected < 30), expected, 0))


def test_inner_networks_that_disagree_are_told_by_tissue():
    s1 = torch.zeros(6, 6, 6, dtype=torch.uint8)
    s1[:3] = anatomy.TISSUES.index("white matter")
    s1[3:] = anatomy.TISSUES.index("grey matter")
    denoised = s1.clone()
    denoised[4:] = 0
    found = features.tissue_agreement((2, 3), TissueMaps({"S1": s1, "denoised": denoised}, (0, 0, 0)))
    assert found[0] > 5 and found[1] == pytest.approx(features.logit(np.array(0.5)))


def test_what_is_gathered_follows_the_network(tmp_path):
    scan, _ = ball_scan()
    found = segment(scan, network=FakeLocateRefine()).qc_features
    assert found.values == LABELS[1:]
    assert {"soft", "coarse", "mean coarse", "flips"} <= found.columns.keys()
    assert "tissue" not in found.columns
    assert found.columns["coarse"][0] > 2  # the locator sees the large ball too
    assert all(len(one) == len(found.values) and np.isfinite(one).all() for one in found.columns.values())


def test_a_robust_networks_inner_networks_are_compared():
    torch.manual_seed(3)
    network = RobustLocateRefine(LABELS, (4, 4, 4, 4), (4, 4, 4), (4, 4, 4, 4), 4).eval()
    for inner in (network.locator.s1, network.locator.s2):
        torch.nn.init.normal_(inner.position, std=2.0)  # classes that differ from place to place
    network.card = {"network": "robust", "name": "tiny", "confident_score": 0.0}
    result = segment(ball_scan()[0], network=network, device="cpu", flip=False)
    columns = result.qc_features.columns
    s1, denoised = (result.tissues[name].data for name in ("S1", "denoised"))
    assert np.mean(s1 == denoised) < 0.9 and columns["mean tissue"][0] < 2
    assert columns["tissue"][0] == columns["tissue"][4] != columns["tissue"][1]  # white matter on both sides, cortex
    assert columns["flips"][0] == 0


def test_without_a_locator_there_is_no_agreement_with_it():
    posteriors = torch.zeros(3, 4, 4, 4)
    posteriors[1, :2], posteriors[2, 2:] = 0.9, 0.9
    posteriors[0] = 1 - posteriors[1:].sum(0)
    hard = np.full((4, 4, 4), 53, np.int16)
    hard[:2] = 17
    sums = {17: 28.8, 53: 28.8}
    prediction = Prediction(posteriors, (0, 17, 53), (1, 0, 0), None, "cpu")
    found = features.gather_features(prediction, hard, np.ones((6, 4, 4)), {17: 0.95, 53: 0.95}, sums, sums, False)
    assert "coarse" not in found.columns and found.columns["kept"] == pytest.approx(0)


# Calibration


def test_a_file_gives_back_what_was_written(tmp_path):
    made = constant(2.0)
    made.save(tmp_path / "a.quality.json")
    same = QcFeatures((2, 17), {name: np.array([0.3, -1.0]) for name in made.columns})
    back = read(tmp_path / "a.quality.json")
    assert back.expected(same) == pytest.approx(made.expected(same), abs=1e-3)
    assert (back.columns, back.failed_below, back.facts) == (made.columns, made.failed_below, made.facts)


@pytest.mark.parametrize("text", ["no JSON", "[]", '{"columns": ["soft"]}'])
def test_a_broken_file_is_told_and_not_used(tmp_path, caplog, text):
    path = path_beside(tmp_path / "fake.safetensors")
    path.write_text(text)
    with pytest.raises(InputError, match="no calibration"):
        read(path)
    assert calibration_of({"path": str(tmp_path / "fake.safetensors"), "sha256": SHA}) is None
    assert "fake.quality.json" in caplog.text


def test_the_calibration_of_other_weights_is_not_used(tmp_path, caplog):
    model = network(tmp_path, constant(2.0, sha256="1" * 64))
    assert calibration_of(model.card) is None
    assert "other weights" in caplog.text
    assert calibration_of(network(tmp_path, constant(2.0)).card) is not None
    assert calibration_of({"name": "nowhere"}) is None


# Ratings


@pytest.mark.parametrize(
    ("dice", "light"),
    [
        (0.9, rating.GREEN),
        (0.75, rating.GREEN),
        (0.7, rating.AMBER),
        (0.59, rating.RED),
        (math.nan, rating.UNRATED),
    ],
)
def test_lights(dice, light):
    assert rating.light_of(dice) is light


def test_lights_are_told_apart_without_their_colors():
    signs = [one.sign for one in (rating.GREEN, rating.AMBER, rating.RED)]
    assert len(set(signs)) == 3 and all(signs)


def test_only_what_is_scored_counts_for_the_scan():
    assert rating.rate_scan({17: 0.5, 53: 0.7, 24: 0.0}, True).mean == pytest.approx(0.6)
    assert math.isnan(rating.rate_scan({24: 1.0}, True).mean)


def test_a_warned_scan_is_at_best_doubtful():
    good = rating.QcRating(0.9, True)
    assert good.light is rating.GREEN and replace(good, warned=True).light is rating.AMBER
    assert "doubtful" in replace(good, warned=True).summary
    assert rating.QcRating(0.2, True, warned=True).light is rating.RED
    assert rating.QcRating(0.9, False, warned=True).light is rating.UNRATED


# From end to end


def test_a_scan_with_warnings_is_not_called_good(tmp_path):
    result = segment(ball_scan()[0], network=network(tmp_path, constant(2.0)))
    assert result.warnings and result.qc_rating.light is rating.AMBER


def test_a_label_map_has_no_rating(tmp_path):
    scan = ball_scan()[0]
    labels = scan.with_data(np.rint(scan.data / 50).astype(np.float32))
    result = segment(labels, network=network(tmp_path, constant(2.0)))
    assert any("label map" in one for one in result.warnings)
    assert result.qc_rating.light is rating.UNRATED and result.qc_rating.summary == "" and result.quality == {}


def test_without_a_calibration_the_soft_dice_is_shown(tmp_path):
    result = segment(ball_scan()[0], network=network(tmp_path))
    assert not result.qc_rating.calibrated and not result.qc_rating.failed
    assert result.qc_rating.light is rating.UNRATED
    assert result.quality[2] > 0.9
    assert result.warnings == segment(ball_scan()[0], network=FakeLocateRefine()).warnings


def test_a_calibration_says_what_to_expect_and_names_a_failure(tmp_path):
    good = segment(ball_scan()[0], network=network(tmp_path, constant(2.0)))
    assert good.quality[2] == pytest.approx(1 / (1 + np.exp(-2)), abs=1e-4)
    assert good.qc_rating.calibrated and not good.qc_rating.failed
    assert not any("probably failed" in one for one in good.warnings)
    bad = segment(ball_scan()[0], network=network(tmp_path, constant(-1.0)))
    assert bad.qc_rating.failed
    assert [one for one in bad.warnings if "probably failed (expected mean Dice 0.27)" in one]
    assert bad.record["warnings"] == list(bad.warnings)


def test_a_calibration_that_lacks_its_evidence_is_left_alone(tmp_path):
    asks = Calibration(SHA, ("tissue",), np.zeros(1), np.ones(1), np.zeros(2), {})
    assert not segment(ball_scan()[0], network=network(tmp_path, asks)).qc_rating.calibrated


def test_the_table_has_a_verdict_on_each_scan_and_failures_are_named(tmp_path, monkeypatch, capsys):
    for name in ("a", "b"):
        write_volume(tmp_path / "scans" / f"{name}.nii.gz", ball_scan()[0])
    model = network(tmp_path, constant(-1.0))
    monkeypatch.setattr("napari_synthseg.inference.state.load", lambda options: model)
    words = ["segment", str(tmp_path / "scans"), "-o", str(tmp_path / "out"), "--qc", str(tmp_path / "qc.csv")]
    assert cli.main(words) == cli.DONE
    said = capsys.readouterr().err
    with open(tmp_path / "qc.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["scan"].rsplit("/")[-1] for row in rows] == ["a.nii.gz", "b.nii.gz"]
    assert {row["verdict"] for row in rows} == {"likely failed"} and rows[0]["calibrated"] == "yes"
    assert float(rows[0]["mean"]) == float(rows[0]["Left-Cerebral-Cortex"]) == pytest.approx(0.269, abs=1e-3)
    assert float(rows[0]["general grey matter"]) == pytest.approx(0.269, abs=1e-3)
    assert rows[0]["brainstem"] == ""  # nothing of it is predicted
    assert "2 segmentations have probably failed" in said and "b.nii.gz (expected" in said
    record = json.loads((tmp_path / "out" / "a_dseg.json").read_text())
    assert record["expected_dice"] == {"calibrated": True, "verdict": "likely failed", "mean": 0.269}
    with open(tmp_path / "out" / "a_dseg.tsv", newline="") as file:
        assert {row["rating"] for row in csv.DictReader(file, delimiter="\t")} == {"likely failed"}


# Soft Dice


def test_the_formula_by_hand():
    posteriors = torch.tensor([[0.1, 0.4, 0.7], [0.9, 0.6, 0.3]]).reshape(2, 3, 1, 1)
    hard = np.array([17, 17, 0], np.int16).reshape(3, 1, 1)
    assert soft_dice(posteriors, (0, 17), hard)[17] == pytest.approx(2 * 1.5 / (2 + 1.8))


def test_a_structure_without_voxels():
    posteriors = torch.zeros(3, 2, 2, 2)
    posteriors[0], posteriors[1] = 0.9, 0.1
    assert soft_dice(posteriors, (0, 17, 53), np.zeros((2, 2, 2), np.int16)) == {17: 0.0}


def test_half_precision_of_a_large_structure_does_not_overflow():
    posteriors = torch.full((2, 50, 50, 50), 0.8, dtype=torch.float16)
    hard = np.full((50, 50, 50), 17, np.int16)
    assert soft_dice(posteriors, (0, 17), hard)[17] == pytest.approx(1.6 / 1.8, abs=1e-3)


# The quality regressor


VALUES = anatomy.predicted_values(2)


def test_structures_are_grouped():
    channels = np.array([VALUES.index(value) for value in (0, 24, 2, 50, 3, 14, 46, 16, 49, 12, 18)])
    groups = list(anatomy.QUALITY_GROUPS)
    expected = ["background"] * 2 + ["general white matter"] * 2 + ["general grey matter", "general csf", "cerebellum"]
    expected += ["brainstem", "thalamus", "putamen+pallidum", "hippocampus+amygdala"]
    assert [groups[k] for k in qc_regressor.grouped(channels, VALUES)] == expected


@pytest.mark.parametrize(("low", "high", "first"), [(4, 9, 2), (0, 3, -3), (11, 16, 9), (2, 14, 4)])
def test_the_cube_lies_about_the_middle(low, high, first):
    """`first` is where the cube of 8 begins along the axis: the odd voxel is added at the beginning."""
    groups = np.arange(1, 17, dtype=np.uint8)[:, None, None] * np.ones((16, 8, 8), np.uint8)
    ignored = np.ones(groups.shape, bool)
    ignored[low:high] = False
    cube = qc_regressor.cube_around_brain(groups, ignored, 8)
    index = np.arange(first, first + 8)
    np.testing.assert_array_equal(cube[:, 0, 0], np.where((index >= 0) & (index < 16), index + 1, 0))


def test_nothing_but_background_begins_at_the_beginning():
    groups = np.ones((12, 6, 6), np.uint8)
    cube = qc_regressor.cube_around_brain(groups, np.ones(groups.shape, bool), 8)
    assert cube[:, 1:7, 1:7].all() and cube.sum() == 8 * 36


def test_slabs_are_exact(monkeypatch):
    monkeypatch.setattr(qc_regressor, "SLAB", 6)
    torch.manual_seed(0)
    model = QualityRegressor(9, 2, 3).eval()
    for level in model.down:
        level.norm.running_mean.normal_(0, 0.3)
    winners = torch.randint(len(VALUES), (20, 20, 20), dtype=torch.int16)
    scores = run(qc_regressor.score_steps(model, winners, VALUES, torch.device("cpu"), side=20))
    groups = torch.from_numpy(qc_regressor.grouped(winners.numpy(), VALUES)).long()
    with torch.inference_mode():
        expected = model(torch.nn.functional.one_hot(groups, 9).movedim(-1, 0)[None].float())[0, 1:].clamp(0, 1)
    torch.testing.assert_close(torch.tensor(list(scores.values())), expected, rtol=1e-4, atol=1e-6)


def test_scores_are_in_the_record(tmp_path, monkeypatch):
    monkeypatch.setattr(qc_regressor, "SIDE", 32)
    monkeypatch.setattr(qc_regressor.score_steps, "__defaults__", (32,))
    path = files.write_keras(tmp_path / "qc.h5", files.random_arrays(files.regressor_shapes()))
    result = segment(ball_scan()[0], network=FakeLocateRefine(), regressor=path, device="cpu")
    assert list(result.record["regressor"]) == list(anatomy.QUALITY_GROUPS)[1:]
    assert all(0 <= score <= 1 for score in result.record["regressor"].values())
    other = files.write_keras(tmp_path / "unet.h5", files.random_arrays(files.unet_shapes("unet", 1, 33)))
    with pytest.raises(InputError, match="not of SynthSeg's quality regressor"):
        segment(ball_scan()[0], network=FakeLocateRefine(), regressor=other)
