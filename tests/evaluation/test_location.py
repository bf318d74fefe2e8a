"""A structure is found at a voxel of its own."""

from __future__ import annotations

import numpy as np

from napari_synthseg.evaluation.location import middle_voxel


def test_the_middle_of_a_block():
    labels = np.zeros((9, 9, 9), np.uint16)
    labels[2:5, 3:6, 4:7] = 17
    assert middle_voxel(labels, [17]) == (3, 4, 5)


def test_the_middle_of_a_ring_lies_on_it():
    labels = np.zeros((1, 11, 11), np.uint16)
    labels[0, 1:-1, 1:-1] = 4
    labels[0, 3:-3, 3:-3] = 0
    assert labels[middle_voxel(labels, [4])] == 4


def test_labels_are_taken_together():
    labels = np.zeros((3, 3, 9), np.uint16)
    labels[1, 1, [0, 1]], labels[1, 1, [5, 8]] = 17, 53
    assert middle_voxel(labels, [17, 53]) == (1, 1, 5)


def test_what_is_not_there_is_nowhere():
    assert middle_voxel(np.zeros((3, 3, 3), np.uint16), [17]) is None
