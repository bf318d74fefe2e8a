"""`benchmarks/resolution.py`: what is done to scans, what is counted, and what is said of it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from napari_synthseg.errors import InputError
from napari_synthseg.io import write_labels, write_volume
from napari_synthseg.volume import Volume, resample_labels_to
from tests.test_benchmarks import called, script

bench = script("resolution")
MEDIANS = (0.2, 0.5, 0.8)


def blocks() -> Volume:
    """Labels: white matter inside cortex inside fluid, in a box; LAS, 1 mm."""
    data = np.zeros((45, 40, 50), np.int16)
    data[6:39, 6:34, 6:44] = 24
    data[8:37, 8:32, 8:42] = 3
    data[14:31, 14:26, 14:36] = 2
    return Volume(data, np.diag([-1.0, 1, 1, 1]))


def scan_of(labels: Volume) -> Volume:
    brightness = {0: 0, 24: 20, 3: 50, 2: 80}
    return labels.with_data(np.vectorize(brightness.get)(labels.data).astype(np.float32))


def test_slices_have_the_spacing_and_the_blur_of_their_thickness():
    ramp = Volume(np.broadcast_to(np.arange(50, dtype=np.float32), (45, 40, 50)), np.eye(4))
    thick = bench.sliced(ramp, "axial", 5, 4)
    assert thick.shape == (45, 40, 10)
    assert np.allclose(thick.spacing, (1, 1, 5))
    where = thick.affine[2, 3] + 5 * np.arange(10)
    assert np.allclose(thick.data[20, 20, 2:-2], where[2:-2], atol=1e-3)  # a ramp stays a ramp, away from the ends
    point = np.zeros((45, 40, 51), np.float32)
    point[:, :, 25] = 1
    profile = bench.sliced(Volume(point, np.eye(4)), "axial", 1, 4).data[20, 20]
    spread = np.sqrt((profile * (np.arange(51) - 25) ** 2).sum() / profile.sum())
    assert spread == pytest.approx(bench.PROFILE * 4, rel=0.01)


@pytest.mark.parametrize("direction", bench.DIRECTIONS)
@pytest.mark.parametrize("spacing", bench.THICKNESS)
def test_labels_of_coarse_scans_lie_on_the_truth(direction, spacing):
    """A segmenter that looks where the slices are: its labels, at 1 mm, are off by less than a slice."""
    labels = blocks()
    coarse = bench.sliced(labels.with_data((labels.data == 2).astype(np.float32)), direction, spacing, 0.01)
    assert coarse.spacing[bench.DIRECTIONS[direction]] == pytest.approx(spacing)
    back = resample_labels_to(coarse.with_data((coarse.data > 0.5).astype(np.int16)), labels.shape, labels.affine)
    off = np.argwhere(back.data).mean(axis=0) - np.argwhere(labels.data == 2).mean(axis=0)
    assert np.abs(off).max() <= spacing / 2


def test_medians_are_those_of_the_tissues():
    assert bench.tissue_medians(scan_of(blocks()), blocks()) == pytest.approx((20 / 80, 50 / 80, 1.0))
    with pytest.raises(InputError, match="do not grow brighter"):
        bench.tissue_medians(blocks().with_data(np.ones(blocks().shape, np.float32)), blocks())


@pytest.mark.parametrize("level", [1.0, *bench.WHITE])
def test_the_curve_moves_white_matter_against_grey(level):
    ramp = Volume(np.linspace(0.0, 100, 1000, dtype=np.float32).reshape(10, 10, 10), np.eye(4))
    medians = tuple(0.995 * m for m in MEDIANS)  # the 99.5 percentile is 1
    changed = bench.with_contrast(ramp, "white", level, MEDIANS).data.ravel()
    fluid, grey, more = bench.LEVELS_OF_CURVE
    at = [int(round(m * 999)) for m in medians]
    assert np.allclose(changed[at], [fluid, grey, grey + level * more], atol=0.01)
    assert changed[0] == 0 and changed.min() >= 0 and changed.max() <= 1
    above = np.diff(changed[at[1] + 1 : at[2]])
    assert np.all(above >= -1e-6) if level >= 0 else np.all(above <= 1e-6)


def test_inversion_and_powers_keep_the_background():
    scan = scan_of(blocks())
    for kind, level in (("inverted", -1.0), ("gamma", 0.4), ("gamma", 2.5)):
        changed = bench.with_contrast(scan, kind, level, MEDIANS).data
        assert not changed[scan.data == 0].any() and np.all(changed[scan.data > 0] > 0)
    inverted = bench.with_contrast(scan, "inverted", -1, MEDIANS).data
    assert inverted[blocks().data == 24].mean() > inverted[blocks().data == 2].mean()


def rows(models=("a", "b"), scans=("1", "2"), what=("resolution", "contrast")):
    made = []
    for variant in bench.variants(what):
        for scan in scans:
            for model in models:
                lost = 0.01 * variant["level"] if variant["what"] == "resolution" else 0.0
                dice = 0.9 - lost - 0.1 * (model == "b")
                made.append({"scan": scan, "model": model, **variant, "dice": dice, "sd95_mm": 1.0,
                             "structures": {"3": dice, "42": dice, "2": 0.9}})  # fmt: skip
    return made


def test_the_mean_is_over_directions_and_scans():
    by_spacing = bench.over_directions(rows())
    assert [*by_spacing] == [1.0, 3.0, 5.0, 7.0]
    assert by_spacing[7.0] == pytest.approx({"a": 0.83, "b": 0.73})
    text = bench.as_markdown(rows())
    assert "Resolution, 2 scan(s)" in text and "Contrast, 2 scan(s)" in text
    assert "a loses 0.070 Dice from 1 mm to 7 mm; most in Cerebral-Cortex 0.070" in text


def test_scans_that_are_not_done_are_left_out():
    some = [row for row in rows() if (row["scan"], row["model"], row["level"]) != ("2", "b", 7.0)]
    assert {row["scan"] for row in bench.complete(some, "resolution")} == {"1"}
    assert {row["scan"] for row in bench.complete(some, "contrast")} == {"1", "2"}
    only_a = [row for row in rows() if row["model"] == "a" or row["what"] != "contrast"]
    assert {row["model"] for row in bench.complete(only_a, "contrast")} == {"a"}
    assert bench.complete([], "contrast") == []


def test_a_stopped_run_goes_on(tmp_path, monkeypatch, capsys):
    labels = blocks()
    write_volume(tmp_path / "1_t1.nii.gz", scan_of(labels))
    write_labels(tmp_path / "1_labels.nii.gz", labels)
    monkeypatch.setattr(bench, "load_model", lambda name: name)
    asked = []

    def segment(scan, network, **options):
        asked.append(tuple(scan.spacing))
        data = np.where(scan.data > 0.9 * scan.data.max(), 2, np.where(scan.data > 0.5 * scan.data.max(), 3, 0))
        return type("Result", (), {"labels": scan.with_data(data.astype(np.int16))})

    monkeypatch.setattr(bench, "segment", segment)
    words = (tmp_path, "--out", tmp_path / "out", "--what")
    assert called(monkeypatch, bench, *words, "resolution") == 0
    assert len(asked) == 10 and "Resolution, 1 scan(s)" in capsys.readouterr().out
    found = json.loads((tmp_path / "out" / "rows.json").read_text())
    assert found[0]["dice"] > 0.9 and min(row["dice"] for row in found) < found[0]["dice"]
    (tmp_path / "out" / "rows.json").write_text(json.dumps(found[:4]))
    assert called(monkeypatch, bench, *words, "resolution") == 0
    assert len(asked) == 16
    assert (tmp_path / "out" / "figure.png").stat().st_size > 1000
    write_volume(tmp_path / "1_t1.nii.gz", bench.with_contrast(scan_of(labels), "inverted", -1, MEDIANS))
    assert called(monkeypatch, bench, *words, "contrast") == 2
    assert "give T1 scans" in capsys.readouterr().err
