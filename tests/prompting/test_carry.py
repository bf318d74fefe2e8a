"""What a slice's mask says about the next slice."""

from __future__ import annotations

import numpy as np

from napari_synthseg.prompting.carry import MOST_POINTS, carried, connected, deep_points
from tests.prompting.tracer import disc

SHAPE = (30, 40)


def test_a_point_lies_deep_inside():
    assert deep_points(disc(SHAPE, 12, 20, 6)) == ((12, 20),)


def test_parts_each_have_their_point_the_largest_first():
    mask = disc(SHAPE, 20, 10, 3) | disc(SHAPE, 10, 25, 6)
    assert deep_points(mask) == ((10, 25), (20, 10))


def test_there_are_only_a_few_points_however_many_parts():
    mask = np.zeros(SHAPE, bool)
    mask[::3, ::3] = True
    assert len(deep_points(mask)) == MOST_POINTS


def test_depth_is_measured_in_true_lengths():
    mask = np.zeros(SHAPE, bool)
    mask[10:13, 5:35] = True  # three rows of 5 mm are deeper than what the columns have
    mask[8:15, 20:24] = True
    (row, column), *_ = deep_points(mask, (5.0, 1.0))
    assert mask[int(row), int(column)] and row == 11


def test_the_mask_itself_is_a_prompt():
    mask = disc(SHAPE, 12, 20, 6)
    given = carried(mask)
    assert given.mask is mask and given.ask and all(given.positive)


def test_only_what_touches_the_slice_before_goes_on():
    before = disc(SHAPE, 12, 20, 6)
    touching, apart = disc(SHAPE, 18, 24, 4), disc(SHAPE, 25, 4, 3)
    np.testing.assert_array_equal(connected(touching | apart, before), touching)
    assert not connected(apart, before).any()
