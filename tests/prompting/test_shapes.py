"""Prompts from shapes: the mask of a slice before, scribbles, lassos."""

from __future__ import annotations

import numpy as np
import pytest

from napari_synthseg.errors import InputError
from napari_synthseg.prompting import Prompts, Session
from napari_synthseg.prompting.prompts import (
    ALONG,
    AROUND,
    connected,
    deep_points,
    mask_prompts,
    points_along,
    spread_points,
    with_lasso,
    with_scribble,
)
from tests.prompting.small import small_model
from tests.prompting.tracer import disc

SHAPE = (30, 40)


def test_parts_each_have_their_point_the_largest_first():
    mask = disc(SHAPE, 20, 10, 3) | disc(SHAPE, 10, 25, 6)
    assert deep_points(mask) == ((10, 25), (20, 10))


def test_depth_is_measured_in_true_lengths():
    mask = np.zeros(SHAPE, bool)
    mask[10:13, 5:35] = True  # three rows of 5 mm are deeper than what the columns have
    mask[8:15, 20:24] = True
    (row, column), *_ = deep_points(mask, (5.0, 1.0))
    assert mask[int(row), int(column)] and row == 11


def outside(given: Prompts) -> np.ndarray:
    return np.array([point for point, positive in zip(given.points, given.positive, strict=True) if not positive])


def test_the_mask_itself_is_a_prompt_with_points_inside_and_all_around():
    mask = disc(SHAPE, 12, 20, 6)
    given = mask_prompts(mask)
    assert given.points[0] == (12, 20) and given.positive == (True,) + (False,) * AROUND
    np.testing.assert_array_equal(given.mask > 0.5, mask)
    assert given.mask[12, 20] == 1 and given.mask[12, 35] == 0 and 0.5 < given.mask[12, 25] < 0.9
    offsets = outside(given) - (12, 20)
    assert (np.linalg.norm(offsets, axis=1) > 9).all() and (np.linalg.norm(offsets, axis=1) < 12).all()
    assert len({tuple(np.sign(np.round(offset / 8))) for offset in offsets}) == AROUND


@pytest.mark.parametrize(("step", "least"), [(1, 9), (7, 13)])
def test_points_outside_lie_further_off_where_slices_do(step, least):
    offsets = outside(mask_prompts(disc((60, 60), 30, 30, 6), (1, 1), step)) - 30
    assert (np.linalg.norm(offsets, axis=1) >= least - 0.5).all()


def test_a_users_points_outside_are_kept_until_the_mask_comes_close():
    mask = disc(SHAPE, 12, 20, 6)
    assert mask_prompts(mask, outside=[(12, 35), (12, 28)]).points[-1] == (12, 35)


def test_points_are_spread_over_a_mask():
    line = np.zeros(SHAPE, bool)
    line[5, 3:34] = True
    columns = sorted(column for _, column in spread_points(line, count=3))
    assert columns == [3, 18, 33]
    assert spread_points(np.zeros(SHAPE, bool)) == () and len(spread_points(disc(SHAPE, 5, 5, 0))) == 1


def test_only_what_touches_the_slice_before_goes_on():
    before = disc(SHAPE, 12, 20, 6)
    touching, apart = disc(SHAPE, 18, 24, 4), disc(SHAPE, 25, 4, 3)
    np.testing.assert_array_equal(connected(touching | apart, before), touching)
    assert not connected(apart, before).any()


# Scribbles and lassos


def test_points_lie_evenly_along_a_scribble():
    path = [(2.0, 3.0), (2.0, 13.0), (12.0, 13.0)]
    points = points_along(path, 5)
    assert points == ((2, 3), (2, 8), (2, 13), (7, 13), (12, 13))
    assert points_along([(4.0, 5.0), (4.0, 5.0)]) == ((4, 5),)


def test_a_scribble_adds_points_and_is_drawn_into_a_mask_prompt():
    path = [(12.0, 5.0), (12.0, 35.0)]
    plain = with_scribble(Prompts(), path, True)
    assert len(plain.points) == ALONG and all(plain.positive) and plain.mask is None
    mask = disc(SHAPE, 12, 20, 6)
    assert with_scribble(Prompts(mask=mask), path, True).mask[12, 30] == 1
    erased = with_scribble(Prompts(mask=mask), path, False)
    assert erased.mask[12, 20] == 0 and erased.mask[8, 20] == 1 and not any(erased.positive)


RING = [(6.0, 14.0), (6.0, 26.0), (18.0, 26.0), (18.0, 14.0)]


def test_a_lasso_is_a_mask_prompt_that_is_unsure_of_its_edge():
    given = with_lasso(Prompts(), RING, True, SHAPE)
    assert given.mask[12, 20] > 0.9 and abs(given.mask[6, 20] - 0.5) < 0.2 and given.mask[12, 38] == 0
    assert given.positive[0] and not all(given.positive) and given.mask is not None


def test_a_lasso_outside_takes_its_part_away():
    given = with_lasso(Prompts(mask=disc(SHAPE, 12, 20, 9)), RING, False, SHAPE)
    assert given.mask[12, 20] == 0 and given.mask[12, 12] == 1
    assert given.points and not any(given.positive)
    assert with_lasso(Prompts(), RING, False, SHAPE).mask is None


def test_a_session_takes_drawings_and_undoes_each_at_once():
    session = Session(small_model())
    session.set_image(np.zeros(SHAPE))
    session.add_lasso(RING)
    session.add_scribble([(12, 15), (12, 25)], positive=False)
    assert session.prompts.mask is not None and session.undo() and session.undo() and session.prompts == Prompts()
    for draw, corners in ((session.add_lasso, RING[:2]), (session.add_scribble, []), (session.add_scribble, [(99, 0)])):
        with pytest.raises(InputError):
            draw(corners)
