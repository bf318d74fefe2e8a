"""Prompts from shapes: the mask of a slice before, scribbles, lassos."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from napari_synthseg.errors import InputError
from napari_synthseg.prompting import Planes, Prompts, Session
from napari_synthseg.prompting.prompts import (
    ALONG,
    AROUND,
    connected,
    deep_points,
    mask_prompts,
    moved,
    points_along,
    shape_evidence,
    signed_distance,
    spread_points,
    window_of,
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


# A shape moves as the image does


def textured(shape: tuple[int, int], mask: np.ndarray, seed: int = 0) -> np.ndarray:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 2)
    return (0.4 + 0.3 * mask + 0.5 * noise).astype(np.float32)


@pytest.mark.parametrize(("shape", "radius", "shift"), [((60, 80), 8, 2), ((400, 500), 60, 8)])
def test_a_mask_moves_with_the_image(shape, radius, shift) -> None:
    first = disc(shape, shape[0] / 2, shape[1] / 2, radius)
    second = np.roll(first, (shift, -shift), (0, 1))
    before = textured(shape, first)
    after = np.roll(before, (shift, -shift), (0, 1))
    found = moved(first, before, after) > 0
    score, copied = (2 * (one & second).sum() / (one.sum() + second.sum()) for one in (found, first))
    assert score > 0.95 > 0.92 > copied


def test_on_equal_slices_it_stays_and_distances_are_in_the_unit_of_the_pixels() -> None:
    mask = disc((30, 40), 15, 20, 6)
    image = textured((30, 40), mask)
    np.testing.assert_allclose(moved(mask, image, image, (0.5, 2.0)), signed_distance(mask, (0.5, 2.0)), atol=0.1)


@pytest.mark.parametrize("image", [np.full((30, 40), np.nan), np.zeros((30, 40))])
def test_where_nothing_is_seen_the_mask_stays(image) -> None:
    mask = disc((30, 40), 15, 20, 6)
    assert ((moved(mask, image, image) > 0) == mask).all()
    for odd in (np.zeros((30, 40), bool), np.ones((1, 40), bool), np.ones((2, 2), bool)):
        still = np.zeros(odd.shape)
        assert ((moved(odd, still, still) > 0) == odd).all()


def test_evidence_grows_with_the_distance_in_steps_up_to_a_limit() -> None:
    np.testing.assert_array_equal(shape_evidence(np.array([-50.0, -2.5, 0.0, 5.0, 50.0]), 2.5), [-8, -2, 0, 4, 8])


# Slices of a volume, and their black and white


@pytest.mark.parametrize(
    ("axis", "shape", "pixel", "step"), [(0, (3, 4), (2, 3), 1), (1, (2, 4), (1, 3), 2), (2, (2, 3), (1, 2), 3)]
)
def test_a_slice_has_the_two_other_axes_in_their_order(axis, shape, pixel, step):
    volume = np.arange(24).reshape(2, 3, 4)
    planes = Planes(volume, axis, (1, 2, 3))
    assert (planes.shape, planes.pixel, planes.step) == (shape, pixel, step)
    assert len(planes) == volume.shape[axis]
    np.testing.assert_array_equal(planes.image(1), volume.take(1, axis))
    assert np.shares_memory(planes.image(1), volume)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_masks_of_slices_make_an_object(axis):
    planes = Planes(np.zeros((2, 3, 4)), axis)
    mask = np.ones(planes.shape, bool)
    whole = planes.stack({1: mask})
    assert whole.sum() == mask.sum() and whole.take(1, axis).all()


def test_the_window_is_that_of_the_whole_volume():
    volume = np.zeros((10, 50, 50), np.float32)
    volume[7:] = np.linspace(0, 100, 50)
    assert Planes(volume, 0).window == window_of(volume) == (0, 100)


def test_slices_may_each_have_their_own_window():
    volume = np.random.default_rng(0).random((3, 40, 50)) * np.array([1, 10, 100])[:, None, None]
    planes = Planes(volume, 0, window="each")
    assert planes.common_window is None
    assert planes.window_at(1) == pytest.approx(tuple(np.percentile(volume[1], (0.5, 99.5))))
    assert Planes(volume, 0, window=(1, 2)).window_at(1) == Planes(volume, 0, window=(1, 2)).common_window == (1, 2)
    assert Planes((volume > 1).astype(np.uint8), 0, window="each").window_at(1) is None


def test_bytes_have_no_window_and_what_is_not_finite_does_not_count():
    assert window_of(np.zeros((2, 2, 2), np.uint8)) is None
    assert window_of(np.full((2, 2, 2), np.nan)) is None
    assert window_of(np.array([[[np.inf, 1.0, 2.0]]]))[1] <= 2


def test_what_has_no_slices_is_refused():
    for volume, axis in (
        (np.zeros((3, 4)), 0),
        (np.zeros((3, 4, 5, 2)), 0),
        (np.zeros((3, 0, 5)), 0),
        (np.zeros((3, 4, 5)), 3),
    ):
        with pytest.raises(InputError):
            Planes(volume, axis)
