from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_synthseg import anatomy
from napari_synthseg.inference import orientation, plausibility
from napari_synthseg.inference.grid import Reorientation, reorientations
from napari_synthseg.jobs import run
from tests.inference.fakes import FakeLocateRefine, ball_labels, ball_scan


def usual_volumes() -> dict[int, float]:
    ranges = {value: plausibility.adult_range(value) for value in anatomy.predicted_values()[1:]}
    return {value: 1000 * float(np.sqrt(low * high)) for value, (low, high) in ranges.items()}


def test_a_usual_brain_gives_no_warning():
    volumes = usual_volumes()
    assert plausibility.check_volumes(volumes, 1.5e6) == []
    assert plausibility.check_volumes(volumes | {53: 6503.0}, 1.5e6) == [], "said as 6.5 mL, usually 1.3-6.5"
    assert plausibility.check_volumes(volumes | {24: 5.0e4}, 1.4e6) == [], "the CSF of a brain without its skull"


def test_missing_and_unusual_structures_are_named():
    volumes = usual_volumes() | {17: 0.0, 53: 20000.0}
    missing, odd = plausibility.check_volumes(volumes, 1.5e6)
    assert missing == "Missing or nearly so: Left-Hippocampus."
    assert "Right-Hippocampus 20 mL (usually 1.3-6.5)" in odd


def test_the_total_is_judged_only_with_csf():
    volumes = usual_volumes()
    assert "intracranial volume of 300 mL" in plausibility.check_volumes(volumes, 3e5)[-1]
    del volumes[24]
    assert plausibility.check_volumes(volumes, 3e5) == []


def test_a_brain_cut_by_the_scan_is_reported():
    mask = np.ones((50, 50, 40), bool)
    assert "(top)" in plausibility.check_field_of_view(mask, (10, 10, 20), (100, 100, 60))[0]
    assert plausibility.check_field_of_view(mask, (10, 10, 10), (100, 100, 100)) == []
    assert "left, bottom" in plausibility.check_field_of_view(mask, (0, 10, 0), (100, 100, 100))[0]


def test_hounsfield_units_are_recognised():
    ct = np.full((20, 20, 20), -1000.0)
    ct[5:15, 5:15, 5:15] = 300
    assert "--ct" in plausibility.check_intensities(ct, ct=False)[0]
    assert plausibility.check_intensities(ct, ct=True) == []
    assert plausibility.check_intensities(np.abs(ct), ct=False) == []


# What is no whole scan


def test_a_slab_is_not_said_to_be_a_head() -> None:
    assert plausibility.check_coverage((180, 200, 160), 1.0) == []
    assert plausibility.check_coverage((116, 150, 118), 1.0) == []  # a small brain without its skull
    (sentence,) = plausibility.check_coverage((180, 200, 80), 1.0)
    assert "80 mm from bottom to top" in sentence and "left" not in sentence
    assert plausibility.check_coverage((90, 100, 80), 2.0) == []


def test_a_label_map_is_told_from_a_scan() -> None:
    labels = np.zeros((64, 64, 64), np.uint8)
    labels[16:48, 16:48, 16:32], labels[16:48, 16:48, 32:48] = 2, 3
    assert "label map" in plausibility.check_values(labels)[0]
    assert "label map" in plausibility.check_values(labels.astype(np.float32))[0]
    noise = np.random.default_rng(0).integers(0, 20, labels.shape)
    assert plausibility.check_values(10 * labels + noise) == []
    assert plausibility.check_values(labels * np.float32(0.3)) == []
    assert plausibility.check_values(np.zeros((8, 8, 8))) == []


# Orientation


def test_sure_posteriors_of_usual_size_score_higher():
    values = anatomy.predicted_values()
    voxels = np.array([0.0, *(v / 8 for v in usual_volumes().values())]).astype(int)
    labels = torch.zeros(100 * 100 * 150, dtype=torch.long)
    labels[: voxels.sum()] = torch.repeat_interleave(torch.arange(33), torch.from_numpy(voxels))
    sure = torch.zeros(33, len(labels)).scatter_(0, labels[None], 1).view(33, 100, 100, 150)
    unsure = sure * 0.4 + 0.6 / 33
    assert orientation.score(sure, values) > 0.95
    assert orientation.score(unsure, values) < 0.5 * orientation.score(sure, values)
    assert orientation.score(sure, values, voxel_mm3=0.1) < 0.2


class Upright(FakeLocateRefine):
    """Sure of itself only where a bright spot lies on top."""

    def locate(self, image):
        out = super().locate(image)
        n = image.shape[-1]
        inside = image[0, 0, :, :, : n // 3].mean(), image[0, 0, :, :, -(n // 3) :].mean()
        return out if inside[1] > 1.1 * inside[0] else out * 0.2 + 0.1


def lopsided() -> np.ndarray:
    """The balls with a cone on top."""
    image = ball_scan()[0].data.copy()
    image[(ball_labels() == -1)] = 0
    image[22:34, 22:34, 48:] = 425
    return image


@pytest.mark.parametrize("turn", [reorientations()[0], reorientations()[7], reorientations()[18]])
def test_the_right_rotation_is_found(turn, monkeypatch):
    monkeypatch.setattr(orientation, "adult_range", lambda value: (1.0, 10.0))
    image = lopsided()
    undo = next(one for one in reorientations() if np.array_equal(one.apply(turn.apply(image)), image))
    scores = run(orientation.orientation_steps(Upright(), np.ascontiguousarray(turn.apply(image)), torch.device("cpu")))
    assert len(scores) == 24
    best, sentences = orientation.choose_reorientation(scores)
    turned = best.apply(turn.apply(image))
    assert turned[:, :, -6:].sum() == image[:, :, -6:].sum()
    if undo.is_identity:
        assert best.is_identity and not sentences
    else:
        assert "does not match the anatomy" in sentences[0]


def test_the_header_is_kept_when_nothing_is_clearly_better():
    scores = dict.fromkeys(reorientations(), 0.3) | {reorientations()[3]: 0.32}
    assert orientation.choose_reorientation(scores) == (Reorientation(), [])


def test_orientations_are_tried_where_the_scan_is_sent():
    model, moved = FakeLocateRefine(), []
    model.to = lambda device: moved.append(device) or model
    next(orientation.orientation_steps(model, lopsided(), torch.device("cpu")))
    assert moved == [torch.device("cpu")]


def test_a_sure_network_is_not_asked_about_other_orientations():
    model = FakeLocateRefine()
    coarse = torch.full((8, 40, 40, 40), 1 / 8)
    job = orientation.question_orientation(model, ball_scan()[0].data, coarse, torch.device("cpu"))
    assert next(job).stage == "Trying orientations"
    job.close()
    model.card["confident_score"] = 0.0
    assert run(orientation.question_orientation(model, ball_scan()[0].data, coarse, torch.device("cpu"))) == []
