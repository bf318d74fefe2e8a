"""Benchmarks that judge the training of prompts on scenes of any size, and cut slices of scans for prompts."""

from __future__ import annotations

import math
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from napari_synthseg import cli
from napari_synthseg.generator.presets import SHAPE_PRESETS
from napari_synthseg.io import write_labels, write_volume
from napari_synthseg.networks.promptable import SINGLE
from napari_synthseg.prompting.evaluate import read_manifest
from napari_synthseg.volume import Volume
from tests.test_benchmarks import script

sizes = script("sizes")
cut = script("make_prompt_slices")


def test_bins_are_even_on_a_logarithmic_scale():
    low, high = sizes.AREAS
    ratio = (high / low) ** (1 / sizes.BINS)
    assert [sizes.bin_of(round(low * ratio**i * 1.05)) for i in range(sizes.BINS)] == list(range(sizes.BINS))
    assert sizes.bin_of(round(low * 0.9)) is None
    assert sizes.bin_of(round(high * 1.1)) is None


def test_a_variant_changes_priors_and_windows_only_while_it_trains():
    before = sizes.objective.WINDOWS
    with sizes.variant("narrow", *sizes.VARIANTS["small shapes, narrow windows"]):
        assert SHAPE_PRESETS["narrow"]["object_size"] == (0.02, 0.22)
        assert sizes.objective.WINDOWS == ((0.6, 2), (0.2, 3), (0.2, 4))
    assert "narrow" not in SHAPE_PRESETS
    assert before is sizes.objective.WINDOWS


def test_the_scenes_that_judge_hold_any_size():
    for priors, _ in sizes.VARIANTS.values():
        for name, (low, high) in priors.items():
            least, most = sizes.JUDGES.values[name]
            assert least < low and high < most


def judge(areas=(0,)) -> object:
    """A disc in the middle of a small frame, pointed at once and boxed."""
    rows, columns = np.ogrid[:128, :128]
    disc = torch.from_numpy((rows - 64) ** 2 + (columns - 64) ** 2 < 30**2)
    points, signs = torch.tensor([[[64.0, 64.0]]]), torch.ones(1, 1)
    given = sizes.PromptTensors(points, signs, None, None)
    boxed = sizes.PromptTensors(None, None, torch.tensor([[34.0, 34.0, 94.0, 94.0]]), None)
    prompts = {name: boxed if name == "box" else given for name in sizes.SETTINGS}
    return sizes.Judge(torch.zeros(256, 8, 8), disc[None], list(areas), prompts)


def answering(spot: bool) -> object:
    """A model that finds the disc, and with `spot` a part in a corner that nobody asked for."""
    truth = torch.nn.functional.avg_pool2d(judge().targets[:, None].float(), sizes.CELL) > 0.5
    answer = torch.where(truth, 5.0, -5.0)
    if spot:
        answer[..., :6, :6] = 5.0
    logits = answer.expand(1, SINGLE + 1, -1, -1)
    return SimpleNamespace(decode=lambda *_: (logits, None))


def test_a_perfect_answer_scores_one_and_empty_bins_say_nothing():
    figures = sizes.score(answering(spot=False), [judge()], parts=False)
    assert figures[0] == pytest.approx([1.0] * len(sizes.SETTINGS))
    assert all(math.isnan(v) for v in figures[1])


def test_parts_nobody_meant_cost_less_when_they_are_left_out():
    whole = sizes.score(answering(spot=True), [judge()], parts=False)[0]
    parts = sizes.score(answering(spot=True), [judge()], parts=True)[0]
    assert max(whole) < 0.99
    assert parts == pytest.approx([1.0] * len(parts))


def test_slices_of_a_scan_are_a_manifest(tmp_path, monkeypatch, capsys):
    truth = np.zeros((40, 30, 20), np.int16)
    truth[5:15, 8:20, 6:12] = 10
    truth[25:30, 8:12, 6:9] = 10  # a second, smaller part
    truth[30:33, 20:22, 15] = 11  # too small to point at
    image = np.where(truth == 10, 200.0, 50.0).astype(np.float32)
    write_volume(tmp_path / "1_t1.nii.gz", Volume(image, np.eye(4)))
    write_labels(tmp_path / "1_labels.nii.gz", Volume(truth, np.eye(4)))
    out = tmp_path / "out"
    monkeypatch.setattr(sys, "argv", ["", str(tmp_path), str(out), "--labels", "10", "11"])
    assert cut.main() == cli.DONE
    (case,) = read_manifest(out / "manifest.csv")
    mask, picture = np.asarray(Image.open(case.mask_path)), np.asarray(Image.open(case.image_path))
    assert (mask > 0).sum() == 12 * 6  # sagittal: the larger part alone, as large as it gets
    assert mask.shape == picture.shape == (20, 30)
    assert (picture[mask > 0] == 255).all()


def test_a_folder_without_labelled_scans_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["", str(tmp_path), str(tmp_path / "out")])
    assert cut.main() == cli.BAD_INPUT
    assert "no scan with a label file" in capsys.readouterr().err
