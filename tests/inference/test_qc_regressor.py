"""What the quality regressor sees, and that slabs change nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_synthseg import anatomy
from napari_synthseg.errors import InputError
from napari_synthseg.inference import qc_regressor
from napari_synthseg.inference.pipeline import segment
from napari_synthseg.jobs import run
from napari_synthseg.networks.qc_regressor import QualityRegressor
from tests import keras_files as files
from tests.inference.fakes import FakeLocateRefine, ball_scan

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
