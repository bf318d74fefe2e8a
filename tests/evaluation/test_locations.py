"""Where two label maps differ, and the slices in which a structure is worst."""

from __future__ import annotations

import numpy as np

from napari_synthseg.evaluation.locations import ADDED, MISSED, OTHER, error_map, middle_voxel, worst_voxels
from napari_synthseg.jobs import run


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


def test_the_middle_of_a_block():
    labels = np.zeros((9, 9, 9), np.uint16)
    labels[2:5, 3:6, 4:7] = 17
    assert middle_voxel(labels, [17]) == (3, 4, 5)


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
