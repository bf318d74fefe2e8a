"""The scripts in `benchmarks/`: what of them can go wrong without weights."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from napari_synthseg.io import read_labels, write_labels, write_volume
from napari_synthseg.prompting import Planes
from napari_synthseg.volume import Volume, to_canonical
from tests.prompting.tracer import Tracer, disc

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))  # where they find each other


def script(name):
    if str(BENCHMARKS) not in sys.path:  # scripts import their neighbours
        sys.path.append(str(BENCHMARKS))
    spec = importlib.util.spec_from_file_location(f"benchmarks_{name}", BENCHMARKS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


def called(monkeypatch, bench, *words: object) -> int:
    """Call a script with words; return its exit code."""
    monkeypatch.setattr(sys, "argv", [bench.__name__, *map(str, words)])
    return bench.main()


def test_labelled_scans_are_those_with_a_label_file(tmp_path):
    for name in ("1_t1.nii.gz", "1_labels.nii.gz", "2_t1.nii.gz", "notes.txt"):
        (tmp_path / name).touch()
    assert [scan.name for scan, _ in script("harness").labelled_pairs(tmp_path)] == ["1_t1.nii.gz"]


def test_speed_prints_one_object_a_run():
    command = [sys.executable, str(BENCHMARKS / "speed.py"), "phantom", "-n", "1", "--size", "8"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    prepare, run = (json.loads(line) for line in lines)
    assert prepare["what"] == "prepare"
    assert run["cpu_s"] > 0
    assert run["peak_gib"] > 0


def test_lonely_voxels_take_their_neighbours_value_and_small_structures_stay():
    labels = np.full((24, 24, 48), 2, np.int16)
    labels[..., 24:] = 3
    labels[12, 12, 8] = 3
    labels[12, 12, 16] = 26
    smooth = script("make_label_map").smooth(labels)
    assert smooth[12, 12, 8] == 2
    assert smooth[12, 12, 16] == 26


def test_plexus_and_fluid_are_told_apart_by_intensity():
    pytest.importorskip("sklearn")
    rng = np.random.default_rng(0)
    labels = np.zeros((24, 24, 24), np.int16)
    labels[2:22, 2:22, 2:22] = 2
    labels[6:18, 6:18, 6:18] = 4
    image = np.where(labels == 4, 30, 100) + rng.normal(0, 3, labels.shape)
    image[9:13, 9:13, 9:13] = 80
    out = script("make_label_map").cluster(image.astype(np.float32), labels, labels > 0)
    assert (out[10:12, 10:12, 10:12] == 136).all()
    assert (out[14:17, 14:17, 14:17] == 4).all()
    assert (out[labels == 2] == 2).all()


def test_a_small_file_holds_the_same_labels(tmp_path):
    labels = np.random.default_rng(0).integers(0, 531, (5, 6, 7)).astype(np.int16)
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    affine[:3, 3] = (-3, 2, 9)
    script("make_label_map").write_small(tmp_path / "labels.nii.gz", Volume(labels, affine))
    read = to_canonical(read_labels(tmp_path / "labels.nii.gz"))
    assert np.array_equal(read.data, labels)
    assert np.allclose(read.affine, affine)


def test_clicks_in_3d_correct_what_is_most_wrong():
    truth = np.stack([disc((24, 30), 10, 8 + i, 4) & (2 <= i <= 9) for i in range(12)])
    volume = truth.astype(np.float32)
    volume[6] = 0  # where propagation ends
    benchmark = script("propagation")
    planes = Planes(volume, 0, window=(0, 1))
    found = np.zeros(truth.shape, bool)
    index, position, positive = benchmark.next_click(planes, found, truth)
    assert truth[index][round(position[0]), round(position[1])] and positive
    found[2:9], found[2:6, 18:23, 2:7] = truth[2:9], True
    assert benchmark.next_click(planes, found, truth)[2] is False
    row = benchmark.measure(Tracer(), benchmark.Target("scan", 17, planes, truth), 3, vote=True)
    assert row["name"] == "Left-Hippocampus" and len(row["clicks"]) == 3
    assert row["clicks"][0] < row["clicks"][1] and row["encode_s"] >= 0 < row["step_s"]
    assert benchmark.mean([row, row])["clicks"] == pytest.approx(row["clicks"])
    assert "Left-Hippocampus" in benchmark.line(row) and "vote" in benchmark.line(row)


def test_volumes_are_scans_and_phantoms(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "data" / "real_t1" / "training"
    truth = np.stack([disc((24, 30), 10, 8 + i, 4) & (2 <= i <= 9) for i in range(12)], 1)
    folder.mkdir(parents=True)
    write_volume(folder / "1_t1.nii.gz", Volume(truth.astype(np.float32), np.eye(4)))
    write_labels(folder / "1_labels.nii.gz", Volume(truth.astype(np.int32) * 17, np.eye(4)))
    benchmark = script("propagation")
    monkeypatch.setattr(benchmark, "Session", lambda *_, **__: Tracer())
    words = (tmp_path, "--sources", "t1")
    assert called(monkeypatch, benchmark, *words, "--clicks", 2, "--json", tmp_path / "out.json") == 0
    assert "1_t1 Left-Hippocampus" in capsys.readouterr().out
    rows = json.loads((tmp_path / "out.json").read_text())
    assert rows[0]["clicks"] == [1.0, 1.0] and rows[0]["from_truth"] == 1.0
    found = script("report").SECTIONS["propagation"]
    assert "| 1_t1 | Left-Hippocampus |" in found.table(found.rows(rows))
    name, image, labels = next(benchmark.volumes(tmp_path, "phantom", 1))
    assert name == "phantom 0" and image.shape == labels.shape and (labels.data == 17).any()
    assert called(monkeypatch, benchmark, *words, "--values", 3) == 2 and "no volume" in capsys.readouterr().err


def test_official_networks_are_measured_on_a_cube_about_the_middle(tmp_path, monkeypatch, capsys):
    data = np.zeros((40, 30, 36), np.float32)
    data[20, 15, 18] = 1
    write_volume(tmp_path / "scan.nii.gz", Volume(data, np.eye(4)))
    official = script("official")
    cube = official.centred(tmp_path / "scan.nii.gz", 32)
    assert cube.shape == (32, 32, 32) and cube.data[16, 16, 16] == 1
    called(monkeypatch, official, "--scan", tmp_path / "scan.nii.gz", "--size", 32, "--plain", "--threads", 1, "--fast")
    found = json.loads(capsys.readouterr().out)
    assert found["cpu_s"]["network"] > 0 and found["peak_gib"] > 0


def test_the_campaign_reports_steps_curve_and_cpu_hours_and_goes_on_with_the_next_round(tmp_path):
    shipped = script("train_shipped")
    campaign = shipped.CAMPAIGNS["synthseg-fast"]
    assert shipped.status(campaign, tmp_path)[1] == "locate: 0 steps, not begun, 0.00 CPU-hours"
    step = {"stage": "locate", "took": 0.5, "cpu_seconds": 1800.0}
    lines = [{**step, "step": 1499}, {**step, "step": 1500, "synthetic": 0.7, "score": 0.8}]
    (tmp_path / "events.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert shipped.status(campaign, tmp_path)[1:3] == [
        "locate: 1500 steps, 0.50 s a step, 0.50 CPU-hours",
        "    1500  synthetic 0.7000  real T1 0.8000",
    ]
    second = shipped.options(campaign, tmp_path, tmp_path, 1, 2)
    twice = {stage: 2 * steps for stage, steps in campaign.round.items()}
    assert shipped.recipes()["synthseg"].stages(second) == twice


def test_a_second_campaign_goes_on_from_the_shipped_decoder(tmp_path):
    shipped = script("train_shipped")
    campaign = shipped.CAMPAIGNS["synthfm-sam"]
    (tmp_path / "events.jsonl").write_text(
        json.dumps({"stage": "prompts", "took": 0.5, "step": 2000, "score": 0.7}) + "\n"
    )
    assert shipped.status(campaign, tmp_path)[1:] == [
        "prompts: 2000 steps, 0.50 s a step, 0.00 CPU-hours",
        "    2000  synthetic 0.7000",
    ]
    options = shipped.options(campaign, tmp_path, tmp_path, 1, 2)
    assert (options.start_from, options.steps, options.name) == ("synthfm-sam", 4000, "synthfm-sam")
    assert campaign.run != shipped.CAMPAIGNS["synthseg-fast"].run
