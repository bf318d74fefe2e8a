"""The comparison of two promptable models: means, differences, how sure they are; slices of scans as a manifest."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from napari_synthseg import cli
from napari_synthseg.errors import InputError
from napari_synthseg.io import write_labels, write_volume
from napari_synthseg.prompting.evaluate import read_manifest
from napari_synthseg.volume import Volume
from tests.test_benchmarks import called, script

SETTINGS = [(1, 0, "points"), (1, 2, "points"), (3, 0, "points"), (3, 2, "points"), (0, 0, "box")]


@pytest.fixture(scope="module")
def prompts():
    return script("prompts")


def rows(scores, dataset="A", modality="CT", masks=1):
    """All settings of `masks` masks of images with these scores."""
    made = []
    for number, score in enumerate(scores):
        for mask in range(masks):
            of = {"modality": modality, "dataset": dataset, "image": f"{number}.png", "mask": f"{number}_{mask}.png"}
            made += [{**of, "n_pos": p, "n_neg": n, "prompt": prompt, "dsc": score} for p, n, prompt in SETTINGS]
    return made


def test_a_constant_difference_is_sure(prompts):
    scores = [0.1, 0.5, 0.9, 0.3]
    found = prompts.compare(rows([s + 0.05 for s in scores]), rows(scores))["CT"]
    assert list(found) == ["(1,0)", "(1,2)", "(3,0)", "(3,2)", "box", "mean of points", "mean of all"]
    assert all(figures == pytest.approx((0.5, 0.45, 0.05, 0.05)) for figures in found.values())


def test_a_difference_that_depends_on_the_image_is_not(prompts):
    first, second, low, high = prompts.compare(rows([0.9, 0.1] * 10), rows([0.5] * 20))["CT"]["(1,0)"]
    assert (first, second) == pytest.approx((0.5, 0.5))
    assert -0.25 < low < -0.1 and 0.1 < high < 0.25  # 1.96 * 0.4 / sqrt(20) = 0.175


def test_masks_of_one_image_are_drawn_together(prompts):
    def width(masks):
        _, _, low, high = prompts.compare(rows([0.9, 0.1] * 5, masks=masks), rows([0.5] * 10, masks=masks))["CT"]["box"]
        return high - low

    assert width(4) == pytest.approx(width(1))


def test_datasets_count_the_same(prompts):
    ours = rows([0.4] * 9) + rows([0.8], "B")
    theirs = rows([0.4] * 9) + rows([0.6], "B")
    assert prompts.compare(ours, theirs)["CT"]["box"] == pytest.approx((0.6, 0.5, 0.1, 0.1))


def test_rows_of_other_masks_are_refused(prompts):
    with pytest.raises(InputError, match="not measured on the same"):
        prompts.compare(rows([0.4]), rows([0.4, 0.5]))


def test_rows_measured_earlier_make_a_table(prompts, tmp_path, monkeypatch, capsys):
    for name, score in (("ours", 0.7), ("theirs", 0.6)):
        (tmp_path / f"{name}.json").write_text(json.dumps(rows([score]) + rows([score], modality="US")))
    assert called(monkeypatch, prompts, "manifest.csv", tmp_path / "ours.json", tmp_path / "theirs.json") == cli.DONE
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "| modality | prompts | ours | theirs | difference | 95 % |"
    assert lines[2] == "| CT | (1,0) | 0.700 | 0.600 | +0.100 | +0.100 to +0.100 |"
    assert len(lines) == 2 + 2 * 7


def test_slices_of_a_scan_are_a_manifest(tmp_path, monkeypatch, capsys):
    truth = np.zeros((40, 30, 20), np.int16)
    truth[5:15, 8:20, 6:12] = 10
    truth[25:30, 8:12, 6:9] = 10  # a second, smaller part
    truth[30:33, 20:22, 15] = 11  # too small to point at
    image = np.where(truth == 10, 200.0, 50.0).astype(np.float32)
    write_volume(tmp_path / "1_t1.nii.gz", Volume(image, np.eye(4)))
    write_labels(tmp_path / "1_labels.nii.gz", Volume(truth, np.eye(4)))
    out = tmp_path / "out"
    assert called(monkeypatch, script("make_prompt_slices"), tmp_path, out, "--labels", 10, 11) == cli.DONE
    (case,) = read_manifest(out / "manifest.csv")
    mask, picture = np.asarray(Image.open(case.mask_path)), np.asarray(Image.open(case.image_path))
    assert (mask > 0).sum() == 12 * 6  # sagittal: the larger part alone, as large as it gets
    assert mask.shape == picture.shape == (20, 30)
    assert (picture[mask > 0] == 255).all()


def test_a_folder_without_labelled_scans_is_refused(tmp_path, monkeypatch, capsys):
    assert called(monkeypatch, script("make_prompt_slices"), tmp_path, tmp_path / "out") == cli.BAD_INPUT
    assert "no scan with a label file" in capsys.readouterr().err
