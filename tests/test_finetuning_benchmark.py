"""`benchmarks/finetuning.py`: its scans, its inverted contrast, its cells and its tables."""

from __future__ import annotations

import argparse
import json

import numpy as np
import pytest

from tests.test_benchmarks import called, script
from tests.training.builders import unet_weights, write_scans

bench = script("finetuning")


def test_scans_are_linked_not_copied(tmp_path) -> None:
    folder = write_scans(tmp_path / "scans", 3)
    out = bench.some_scans(folder, 2, tmp_path / "out")
    assert sorted(p.name for p in out.iterdir()) == ["0_labels.nii.gz", "0_t1.nii.gz", "1_labels.nii.gz", "1_t1.nii.gz"]
    assert all(p.is_symlink() for p in out.iterdir()) and bench.some_scans(folder, 2, tmp_path / "out") == out
    with pytest.raises(bench.InputError, match="4 are needed"):
        bench.some_scans(folder, 4, tmp_path / "out")


def test_a_cell_is_trained_once(tmp_path, monkeypatch, capsys) -> None:
    pytest.importorskip("monai")
    sizes = {"edge": 32, "field": 32, "spacing": 2, "hidden": 12, "mlp": 12, "heads": 2, "layers": 4, "features": 2}
    monkeypatch.setattr(bench, "SIZES", sizes)
    monkeypatch.setattr(bench, "SMALL", {"unetr": {}})
    monkeypatch.setattr("napari_synthseg.training.data.finetune_data.SMALL", bench.SMALL)
    monkeypatch.setattr(bench, "score", lambda *_: {"score": 0.25, "dice": {"Cortex": 0.25}})
    folder, out = write_scans(tmp_path / "scans", 1), tmp_path / "out"
    words = ("masks", folder, folder, out, "--counts", 1, "--steps", 2, "--every", 1, "--only", "four-without-1")
    assert called(monkeypatch, bench, *words) == 0
    found = json.loads((out / "four-without-1.json").read_text())
    assert [step for step, *_ in found["curve"]] == [1, 2] and found["dice_1mm"] == 0.25
    assert found["dice_3mm"] == found["curve"][-1][2] and found["start"] == "random"
    first = capsys.readouterr().out
    monkeypatch.setattr(bench, "trained", None)
    assert bench.main() == 0
    assert capsys.readouterr().out.strip() in first


def test_a_network_is_scored_on_scans_and_on_their_negatives(tmp_path, monkeypatch) -> None:
    seen = []

    def score(model, data, device) -> dict:
        seen.append([scan.image for scan in data.scored])
        return {"score": 0.1 * len(seen), "by_scan": {scan.name: 0.5 for scan in data.scored}}

    monkeypatch.setattr(bench, "score", score)
    folder = write_scans(tmp_path / "scans", 2)
    weights = unet_weights(tmp_path / "start.safetensors")
    args = argparse.Namespace(validation=folder, out=tmp_path / "out", unlabelled=[])
    found = bench.scored(args, weights, None)
    assert found["scans"] == 0.1 and found["inverted"] == 0.2 and found["scans_each"] == {"0": 0.5, "1": 0.5}
    assert all(np.corrcoef(a[a > 0], b[a > 0])[0, 1] < -0.9 for a, b in zip(*seen, strict=True))
