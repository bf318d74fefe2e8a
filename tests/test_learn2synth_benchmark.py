"""`benchmarks/learn2synth.py`: its slices, its images, its runs and what is printed of them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from napari_synthseg.io import write_labels
from napari_synthseg.volume import Volume
from tests.test_benchmarks import called, script

bench = script("learn2synth")


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Few voxels, few features."""
    monkeypatch.setattr(bench, "SHAPE", (16, 16))
    monkeypatch.setattr(bench, "FEATURES", (2, 2))
    monkeypatch.setattr(bench, "BATCH", 2)
    monkeypatch.setattr(bench, "HEIGHTS_MM", range(0, 4, 3))


@pytest.fixture
def folder(tmp_path):
    """Label maps of white matter with a ventricle inside cortex, under skin; one more than tests and "real" ones."""
    data = np.zeros((44, 44, 20), np.int16)
    data[2:42, 2:42, 2:18] = 511
    data[6:38, 6:38, 3:17] = 3
    data[10:22, 10:34, 3:17] = 2
    data[22:34, 10:34, 3:17] = 41
    data[12:20, 14:24, 3:17] = 4
    for i in range(bench.TEST + bench.REAL + 1):
        write_labels(tmp_path / "maps" / f"map{i}.nii.gz", Volume(data, np.eye(4)))
    return tmp_path / "maps"


def g(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_slices_are_read_once_and_hold_brain_alone(folder, tmp_path) -> None:
    file = tmp_path / "out" / "slices.npz"
    slices = bench.slices_of(folder, file)
    assert slices["test"].shape == (2 * bench.TEST, 16, 16)
    assert slices["real"].shape == (2 * bench.REAL, 16, 16)
    assert slices["train"].shape == (2, 16, 16)
    assert set(slices["train"].unique().tolist()) == {0, 2, 3, 4, 41}
    (folder / "map0.nii.gz").unlink()
    assert torch.equal(bench.slices_of(folder, file)["train"], slices["train"])
    with pytest.raises(bench.InputError, match="at least 8"):
        bench.slices_of(folder, tmp_path / "again.npz")


def test_both_sides_are_one_class_and_look_the_same() -> None:
    table, looks = bench.channels(), bench.looks()
    assert table[[0, 2, 41, 3, 42, 10, 49, 4, 43, 16]].tolist() == [0, 1, 1, 2, 2, 3, 3, 4, 4, 0]
    assert looks[41] == looks[2] and looks[2] != looks[3]


def test_real_and_synthetic_images_differ_in_noise_alone(monkeypatch) -> None:
    monkeypatch.setattr(bench, "SHAPE", (64, 64))
    labels = torch.zeros(1, 64, 64, dtype=torch.uint8)
    labels[:, 16:48, 16:48] = 2
    classes = bench.channels()
    plain, target = bench.Images(labels, classes)(g())
    noisy, same = bench.Images(labels, classes, (0.1, 0.1))(g())
    assert torch.equal(target, same) and target.unique().tolist() == [0, 1]
    assert float((noisy - plain).std()) == pytest.approx(0.1, rel=0.05)
    inside = (target == 1)[:, None]
    assert float(plain.std()) > 0.01 and plain[0][inside[0]].median() != plain[1][inside[1]].median()


def test_moved_labels_stay_themselves(monkeypatch) -> None:
    monkeypatch.setattr(bench, "SHAPE", (40, 60))
    labels = torch.zeros(8, 40, 60)
    labels[:, 10:30, 20:50] = 41.0
    moved = bench.moved(labels, g())
    assert set(moved.unique().tolist()) == {0, 41}
    areas = (moved == 41).sum((1, 2)) / 600
    assert 0.7 < areas.min() < areas.max() < 1.45
    assert not torch.equal(moved[0], moved[1])


def run(folder, out, monkeypatch, *words: str) -> int:
    return called(monkeypatch, bench, folder, out, "--steps", 3, "--teach-from", 1, *words)


def test_tables_from_runs_that_are_made_once(folder, tmp_path, monkeypatch, capsys) -> None:
    out = tmp_path / "out"
    assert run(folder, out, monkeypatch, "--only", "naive", "learned-0.10", "oracle-0.10") == 0
    first = capsys.readouterr().out
    learned = json.loads((out / "learned-0.10.json").read_text())
    assert 0.0 < learned["sigma"] != learned["start"] and set(learned["dice"]) == set(bench.LEVELS)
    assert f"| inferred, ours |  |  | {learned['sigma']:.3f} |  |  |" in first
    assert "| inferred, paper | 0.001 | 0.042 | 0.098 | 0.146 | 0.134 |" in first
    cells = " | ".join(f"{v:.3f}" for v in learned["dice"].values())
    assert f"| 0.10 | learned | {cells} |" in first
    assert first.count("| naive |") == len(bench.LEVELS)
    monkeypatch.setattr(bench, "fit", None)
    assert run(folder, out, monkeypatch, "--only", "naive") == 0
    assert capsys.readouterr().out == first
