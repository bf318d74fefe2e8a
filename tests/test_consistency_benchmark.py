"""`benchmarks/consistency.py`: one anatomy in several contrasts, and what is said of its labels."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from napari_synthseg.generator.head import full_grid
from napari_synthseg.generator.sample import deformed, prepared
from napari_synthseg.io import write_labels, write_volume
from napari_synthseg.volume import Volume
from tests.generator.builders import boxes
from tests.inference.fakes import FakeLocateRefine, ball_scan
from tests.test_benchmarks import called, script

bench, label_mean = script("consistency"), script("sequences").label_mean


@pytest.fixture
def maps(tmp_path):
    folder = tmp_path / "maps"
    folder.mkdir()
    for name in ("a", "b"):
        write_labels(folder / f"{name}.nii.gz", Volume(boxes((2, 41, 3, 42, 4), side=16), np.eye(4)))
    return folder


def test_all_contrasts_show_one_anatomy(maps) -> None:
    label_map, _ = prepared(maps / "a.nii.gz")
    record = bench.anatomy_record(label_map, 3, 0.0)
    kinds = [("T1", 1.0), ("FLAIR", 1.0), ("random1", 1.0), ("CT", 5.0)]
    made = [bench.variant(record, label_map, c, mm, i) for i, (c, mm) in enumerate(kinds)]
    first = deformed(made[0], label_map, full_grid(label_map)).labels
    assert all(torch.equal(deformed(one, label_map, full_grid(label_map)).labels, first) for one in made[1:])
    drawn = [one["contrast"] for one in made]
    assert len({one["means"] for one in drawn}) == len({one["noise_seed"] for one in drawn}) == 4
    assert drawn[0]["means"][label_map.values.index(2)] == label_mean("T1", 2)
    assert [one["acquisition"]["spacing_mm"] for one in made] == [1, 1, 1, 5] and made[3]["bias"]["bias_std"] == 0


def test_scans_come_with_the_truth_on_their_own_voxels(maps) -> None:
    (name, truth, scans), *_ = bench.synthetic([maps / "a.nii.gz"], ["T1", "T2"], [1.0, 4.0], 4)
    made = dict(scans)
    assert name == "a" and list(made) == ["T1", "T2", "T1 4 mm", "T2 4 mm"]
    assert all(one.shape == truth.shape and np.allclose(one.affine, truth.affine) for one in made.values())
    inside = truth.data == 2
    assert made["T1"].data[inside].mean() > made["T1"].data[truth.data == 3].mean()
    assert made["T2"].data[inside].mean() < made["T2"].data[truth.data == 3].mean()


def test_dice_and_variation() -> None:
    a, b = np.array([[[2, 2, 3, 0]]]), np.array([[[2, 3, 3, 0]]])
    assert bench.dice_by_value(a, b, (2, 3, 4)) == {2: pytest.approx(2 / 3), 3: pytest.approx(2 / 3)}
    assert bench.variation([1.0, 1.0, 1.0]) == 0 and bench.variation([1.0]) is None
    assert bench.variation([1.0, 3.0]) == pytest.approx(100 * 2**0.5 / 2)


def test_a_network_that_reads_intensities_is_not_consistent() -> None:
    volume, labels = ball_scan()
    truth = volume.with_data(labels.astype(np.int16))
    other = volume.with_data(volume.data * 0.5 + 100 * (volume.data > 0))
    scans = iter([("one", volume), ("again", volume), ("other", other)])
    found = list(bench.measure(FakeLocateRefine(), [("ball", truth, scans)], (2, 3, 4)))
    rows, pairs = [row for row, _ in found], [pair for _, some in found for pair in some]
    assert rows[0]["dice"] > 0.9 and rows[0]["volumes_mm3"] == rows[1]["volumes_mm3"]
    between = {tuple(pair["contrasts"]): pair["dice"] for pair in pairs}
    assert between[("one", "again")] == 1.0 and between[("one", "other")] < 0.9
    text = bench.table({"rows": rows, "pairs": pairs})
    assert f"| one | {rows[0]['dice']:.3f} | {rows[0]['dice']:.3f} |" in text and "Volumes vary by" in text


def test_from_files_to_a_table(maps, tmp_path, monkeypatch, capsys) -> None:
    scans = tmp_path / "scans"
    scans.mkdir()
    volume, labels = ball_scan()
    write_volume(scans / "1_t1.nii.gz", volume)
    write_labels(scans / "1_labels.nii.gz", volume.with_data(labels))
    monkeypatch.setattr(bench, "load_model", lambda name: FakeLocateRefine())
    assert called(monkeypatch, bench, scans, "--scans", "--fast", "--out", tmp_path / "out") == 0
    rows = json.loads((tmp_path / "out" / "rows.json").read_text())
    assert [row["contrast"] for row in rows] == ["as it is", "inverted"] and rows[0]["dice"] > rows[1]["dice"]
    assert (tmp_path / "out" / "table.md").read_text().strip() in capsys.readouterr().out
    assert called(monkeypatch, bench, maps, "--maps", "nope") == 2 and "nope" in capsys.readouterr().err


def test_the_random_contrasts_are_those_of_the_priors(maps) -> None:
    label_map, _ = prepared(maps / "a.nii.gz")
    record = bench.anatomy_record(label_map, 0, 0.5)
    one, two = (bench.variant(record, label_map, f"random{i}", 1.0, i) for i in (1, 2))
    means = one["contrast"]["means"]
    assert means != two["contrast"]["means"] and one["lesions"]["mean"] == means[label_map.values.index(3)]
    assert one["lesions"]["seed"] == two["lesions"]["seed"]
