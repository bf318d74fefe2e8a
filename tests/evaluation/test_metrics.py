"""Dice and surface distance: analytic cases, brute force, and what happens to structures that are not there."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from napari_synthseg import resampling
from napari_synthseg.errors import InputError
from napari_synthseg.evaluation import asymmetry_index, compare_volumes, dice, evaluate, surface_distance
from napari_synthseg.evaluation.locations import ADDED, MISSED, OTHER, error_map, middle_voxel, worst_voxels
from napari_synthseg.evaluation.metrics import count_labels, lacking, side_pairs, surface_distances
from napari_synthseg.jobs import run
from napari_synthseg.volume import Volume
from tests.conftest import examples


def cube(start=(4, 4, 4), size=6, shape=(18, 18, 18), value=17):
    labels = np.zeros(shape, np.int16)
    labels[tuple(slice(s, s + size) for s in start)] = value
    return labels


def volume(labels, spacing=(1.0, 1.0, 1.0)):
    return Volume(labels, np.diag([*spacing, 1.0]))


def brute_force(a, b, spacing, percentile):
    """Distances between all pairs of surface voxels, found one by one."""
    steps = [sign * step for step in np.eye(3, dtype=int) for sign in (-1, 1)]
    padded = [np.pad(mask, 1) for mask in (a, b)]
    surfaces = [[p for p in np.argwhere(m) if not all(m[tuple(p + step)] for step in steps)] for m in padded]
    between = cdist(*(np.array(points) * spacing for points in surfaces))
    return np.percentile(np.concatenate([between.min(1), between.min(0)]), percentile)


masks = st.integers(0, 2**32 - 1).map(lambda seed: np.random.default_rng(seed).random((5, 4, 6)) < 0.35)
spacings = st.tuples(*[st.floats(0.4, 5.0)] * 3)


@given(masks, masks, spacings, st.sampled_from([50.0, 95.0, 100.0]))
@settings(max_examples=examples(40), deadline=None)
def test_surface_distance_is_that_of_brute_force(a, b, spacing, percentile):
    if a.any() and b.any():
        expected = brute_force(a, b, np.array(spacing), percentile)
        assert surface_distance(a, b, spacing, percentile) == pytest.approx(expected, rel=1e-5)


@given(masks, masks, spacings)
@settings(max_examples=examples(30), deadline=None)
def test_both_scores_are_symmetric_and_bounded_and_equal_masks_are_perfect(a, b, spacing):
    assert dice(a, b) == dice(b, a) and 0 <= dice(a, b) <= 1 == dice(a, a)
    if a.any() and b.any():
        assert surface_distance(a, b, spacing) == surface_distance(b, a, spacing)
        assert surface_distance(a, a, spacing) == 0


@pytest.mark.parametrize("shift", [1, 2, 3])
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (1.5, 1.0, 0.8)])
def test_a_shifted_cube_has_analytic_scores(shift, spacing):
    a, b = cube() > 0, cube((4 + shift, 4, 4)) > 0
    assert dice(a, b) == pytest.approx((6 - shift) / 6)
    # The outer faces (36 of 152 surface voxels) lie `shift` voxels away, which is more than 5%; nothing lies further.
    assert surface_distance(a, b, spacing) == pytest.approx(shift * spacing[0])
    assert surface_distance(a, b, spacing, 100) == pytest.approx(shift * spacing[0])


def test_the_mean_distance_is_over_both_surfaces():
    """A cube one voxel further along x: only the faces across x lie apart, 36 voxels of each cube on either end."""
    result = evaluate(volume(cube((5, 4, 4))), volume(cube()))["structures"]["17"]
    distances = surface_distances(cube((5, 4, 4)) > 0, cube() > 0)
    assert len(distances) == 2 * 152
    assert result["msd_mm"] == pytest.approx(distances.mean())
    assert 0 < result["msd_mm"] < result["sd95_mm"]


def test_the_volume_difference_is_a_share_of_the_truth():
    larger = np.maximum(cube(), cube((4, 4, 10), 3))  # 27 voxels more than 216
    structure = evaluate(volume(larger), volume(cube()))["structures"]["17"]
    assert structure["difference_percent"] == pytest.approx(100 * 27 / 216)
    assert evaluate(volume(cube(value=53)), volume(cube()))["structures"]["53"]["difference_percent"] is None


def test_the_edge_of_the_field_of_view_is_a_surface():
    whole = np.ones((4, 4, 4), bool)
    half = whole.copy()
    half[2:] = False
    assert surface_distance(whole, half, percentile=100) == 2


def test_the_distance_to_an_empty_mask_is_refused():
    with pytest.raises(ValueError, match="not empty"):
        surface_distance(cube() > 0, np.zeros((18, 18, 18), bool))


def test_evaluate_scores_every_structure_and_averages_the_scored_ones():
    truth = np.maximum(cube(), cube((11, 11, 11), 4, value=26))
    pred = np.maximum(cube((5, 4, 4)), cube((11, 11, 11), 2, value=26))
    result = evaluate(volume(pred, (1, 1, 2)), volume(truth, (1, 1, 2)))
    hippocampus, accumbens = result["structures"]["17"], result["structures"]["26"]
    assert hippocampus["name"] == "Left-Hippocampus"
    assert hippocampus["dice"] == pytest.approx(5 / 6)
    assert hippocampus["truth_volume_mm3"] == 216 * 2
    assert accumbens["dice"] == pytest.approx(2 * 8 / (8 + 64))
    assert not accumbens["scored"]
    scores = {key: hippocampus[key] for key in ("dice", "sd95_mm", "msd_mm")}
    more = {"absolute_difference_percent": 0.0, "structures": 1, "missing": [], "extra": []}
    assert result["mean"] == {**scores, **more}


def test_a_missing_structure_costs_dice_and_is_named():
    truth = np.maximum(cube(), cube((11, 11, 11), 4, value=53))
    result = evaluate(volume(cube()), volume(truth))
    assert result["structures"]["53"]["dice"] == 0
    assert result["structures"]["53"]["sd95_mm"] is None
    assert result["mean"] == {
        "dice": 0.5, "sd95_mm": 0.0, "msd_mm": 0.0, "absolute_difference_percent": 50.0, "structures": 2,
        "missing": [53], "extra": [],
    }  # fmt: skip


def test_a_structure_in_neither_enters_no_mean():
    result = evaluate(volume(cube()), volume(cube()))
    assert result["structures"]["53"]["dice"] is None and result["mean"]["structures"] == 1
    empty = volume(np.zeros((4, 4, 4), np.int16))
    assert evaluate(empty, empty)["mean"]["dice"] is None


def test_given_values_are_all_scored():
    labels = volume(cube(value=507))
    mean = evaluate(labels, labels, [507, 26])["mean"]
    assert (mean["dice"], mean["sd95_mm"], mean["structures"], mean["missing"]) == (1.0, 0.0, 1, [])


def test_axis_swaps_and_flips_do_not_matter():
    rng = np.random.default_rng(0)
    labels = rng.choice([0, 17, 53], (6, 7, 8)).astype(np.int16)
    truth = volume(labels, (1, 1.5, 2))
    matrix = np.zeros((4, 4))
    matrix[3, 3] = 1
    matrix[:3, 0], matrix[:3, 1], matrix[:3, 2] = (0, 0, 2), (-1, 0, 0), (0, 1.5, 0)
    matrix[0, 3] = 5  # x runs from 5 down to 0
    turned = Volume(np.ascontiguousarray(labels.transpose(2, 0, 1)[:, ::-1]), matrix)
    assert evaluate(turned, truth)["mean"]["dice"] == 1


@pytest.mark.parametrize(
    "pred",
    [
        volume(cube(shape=(18, 18, 19))),
        volume(cube(), (1, 1, 1.1)),
        Volume(cube(), np.eye(4) + 0.5 * np.outer(np.eye(4)[0], np.eye(4)[3])),
    ],
    ids=["shape", "spacing", "origin"],
)
def test_different_grids_are_refused_in_one_sentence(pred):
    with pytest.raises(InputError, match=r"p\.nii and t\.nii lie on different grids .*--grid input"):
        evaluate(pred, volume(cube()), names=("p.nii", "t.nii"))


def test_an_image_is_no_label_map_but_whole_numbers_stored_as_floats_are():
    image = cube().astype(np.float32)
    assert evaluate(volume(image), volume(cube()))["mean"]["dice"] == 1
    with pytest.raises(InputError, match=r"t\.nii holds values that are not whole"):
        evaluate(volume(cube()), volume(image + 0.5), names=("p.nii", "t.nii"))


@pytest.mark.parametrize("far", [2_000_000_000, -2_000_000_000])
def test_label_values_may_be_anything(far):
    """A table of every value up to the largest would take gigabytes."""
    data = np.zeros((12, 12, 12), np.int32)
    data[2:6, 2:6, 2:6], data[7:10, 7:10, 7:10] = far, 17
    tracemalloc.start()
    result = evaluate(Volume(data, np.eye(4)), Volume(data, np.eye(4)), [far, 17, 53])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [s["dice"] for s in result["structures"].values()] == [1.0, 1.0, None]
    assert [s["volume_mm3"] for s in result["structures"].values()] == [64.0, 27.0, 0.0]
    assert peak < 10_000_000


def test_ranks_agree_with_and_without_a_table(rng, monkeypatch):
    labels = rng.integers(-3, 40, (9, 8, 7)).astype(np.int32)
    values = [17, -2, 0, 39, 500]
    expected = sum((place + 1) * (labels == value) for place, value in enumerate(values))
    assert np.array_equal(resampling.ranks(labels, values), expected)
    monkeypatch.setattr(resampling, "_LARGEST_TABLE", 0)
    assert np.array_equal(resampling.ranks(labels, values), expected)


def test_agreement_over_scans():
    truth = [{17: 100.0, 53: 50.0}, {17: 200.0, 53: 50.0}, {17: 400.0, 53: 0.0}]
    pred = [{17: 110.0, 53: 40.0}, {17: 220.0, 53: 60.0}, {17: 440.0}]
    agreement = compare_volumes(pred, truth)
    assert agreement[17] == pytest.approx(
        {"scans": 3, "difference_percent": 10.0, "absolute_difference_percent": 10.0, "correlation": 1.0}
    )
    assert agreement[53] == pytest.approx(
        {"scans": 2, "difference_percent": 0.0, "absolute_difference_percent": 20.0, "correlation": None}
    )
    with pytest.raises(ValueError, match="2 scans"):
        compare_volumes([{}, {}], [{}])


def test_voxels_are_counted_and_great_values_need_no_great_table():
    labels = np.zeros((4, 4, 4), np.int32)
    labels[0], labels[1, 0, 0] = 30, 17
    assert count_labels(labels) == {0: 47, 17: 1, 30: 16}
    labels[0] = 2_000_000_000
    assert count_labels(labels) == {0: 47, 17: 1, 2_000_000_000: 16}


def test_asymmetry_is_positive_where_the_left_is_larger():
    assert asymmetry_index(4.4, 3.6) == pytest.approx(20.0)
    assert asymmetry_index(3.6, 4.4) == pytest.approx(-20.0)
    assert asymmetry_index(0.0, 0.0) is None


def test_pairs_need_both_sides():
    assert side_pairs({17: 4.4, 53: 3.6, 18: 1.0, 16: 20.0, 12: 0.0, 51: 0.0, 9_999: 1.0}) == [(12, 51), (17, 53)]


# Values of other programs


def test_an_aparc_is_scored_by_what_a_network_predicts():
    truth = np.zeros((10, 8, 8), np.int16)
    truth[1:5, 1:7, 1:7], truth[5:9, 1:7, 1:7] = 3, 42
    parts = truth.copy()
    parts[truth == 3], parts[truth == 42] = 1005, 2005
    parts[1:3][truth[1:3] == 3] = 1034
    found = evaluate(Volume(truth, np.eye(4)), Volume(parts, np.eye(4)), names=("pred.nii", "aparc.nii"))
    assert found["mean"]["dice"] == 1 and found["structures"]["3"]["dice"] == 1
    assert any("aparc.nii holds values of FreeSurfer" in note and "1005" in note for note in found["notes"])
    asked = evaluate(Volume(parts, np.eye(4)), Volume(parts, np.eye(4)), [1005])
    assert asked["structures"]["1005"]["dice"] == 1 and asked["notes"] == []


def test_a_structure_that_one_side_lacks_is_named_with_how_it_counts():
    truth = np.zeros((10, 8, 8), np.int16)
    truth[1:5, 1:7, 1:7] = 17
    pred = truth.copy()
    pred[6:9] = 53
    found = evaluate(Volume(pred, np.eye(4)), Volume(truth, np.eye(4)), names=("pred.nii", "truth.nii"))
    counted = "a Dice of 0 each in the mean, none of the distances (--values chooses structures)."
    assert found["lacking"] == [f"truth.nii lacks Right-Hippocampus: {counted}"]
    assert found["mean"]["dice"] == 0.5 and found["mean"]["extra"] == [53]
    several = lacking([found["structures"], found["structures"], {}], ("pred", "the truth"))
    assert several == [f"the truth lacks Right-Hippocampus (2 of 3 scans): {counted}"]


# Where two label maps differ


def maps():
    truth = np.zeros((8, 9, 10), np.int32)
    truth[1:5, 1:5, 1:5] = 17
    pred = truth.copy()
    pred[2, 1:5, 1:5] = 0  # 16 voxels of one slice across the first axis
    pred[1, 1, 5:9] = 17  # 4 more than there should be, in a row
    truth[6:8, 6:8, 6:8] = pred[6:8, 6:8, 6:8] = 53
    pred[7, 7, 7] = 17
    return pred, truth


def test_every_kind_of_error_has_its_label():
    pred, truth = maps()
    errors = error_map(pred, truth)
    assert errors.dtype == np.uint8
    assert {value: int((errors == value).sum()) for value in (MISSED, ADDED, OTHER)} == {MISSED: 16, ADDED: 4, OTHER: 1}
    assert not error_map(truth, truth).any()
    assert np.array_equal(errors != 0, pred != truth)


def test_the_voxel_lies_in_the_slice_with_most_errors_and_on_one():
    pred, truth = maps()
    worst = run(worst_voxels(pred, truth, [17, 53]))
    wrong = (pred == 17) != (truth == 17)
    for axis, voxel in enumerate(worst[17]):
        counts = wrong.sum(axis=tuple(other for other in range(3) if other != axis))
        assert counts[voxel[axis]] == counts.max()
        assert wrong[voxel]
    assert worst[17][0][0] == 2
    assert worst[53] == ((7, 7, 7),) * 3


def test_a_perfect_structure_is_shown_where_it_is_largest():
    truth = np.zeros((6, 6, 6), np.int32)
    truth[1:4, 2, 2] = truth[3, 2, 1:5] = 8
    worst = run(worst_voxels(truth, truth, [8, 99]))
    assert set(worst) == {8}
    assert worst[8][0][0] == 3 and all(truth[voxel] == 8 for voxel in worst[8])


def test_the_middle_of_a_ring_lies_on_it():
    labels = np.zeros((1, 11, 11), np.uint16)
    labels[0, 1:-1, 1:-1] = 4
    labels[0, 3:-3, 3:-3] = 0
    assert labels[middle_voxel(labels, [4])] == 4


def test_labels_are_taken_together_and_what_is_not_there_is_nowhere():
    labels = np.zeros((3, 3, 9), np.uint16)
    labels[1, 1, [0, 1]], labels[1, 1, [5, 8]] = 17, 53
    assert middle_voxel(labels, [17, 53]) == (1, 1, 5)
    assert middle_voxel(labels, [4]) is None
