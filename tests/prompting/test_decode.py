"""Answers obey every click, have no islets and no block edges."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from napari_synthseg.prompting.decode import answer_mask, at_image_resolution, clicked_pixels, meant_parts, obedient
from napari_synthseg.prompting.encodings import Frame
from napari_synthseg.prompting.prompts import Prompts
from napari_synthseg.prompting.session import Session
from tests.conftest import examples
from tests.prompting.small import SIZE, small_model

SHAPES = ((40, 50), (7, 90), (300, 260), (1, 1))
CLICKS = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.booleans()), min_size=1, max_size=8)


def prompts_on(shape, clicks, **others) -> Prompts:
    points = tuple((row * (shape[0] - 1), column * (shape[1] - 1)) for row, column, _ in clicks)
    return Prompts(points, tuple(inside for *_, inside in clicks), **others)


@settings(max_examples=examples(60), deadline=None)
@given(st.sampled_from(SHAPES), CLICKS, st.integers(0, 9), st.sampled_from([0.0, 0.5, 30.0]), st.booleans())
def test_every_click_is_obeyed_whatever_the_decoder_says(shape, clicks, seed, size, connected) -> None:
    logits = torch.from_numpy(np.random.default_rng(seed).normal(0, size, (16, 16)).astype(np.float32)) - seed % 3
    prompts = prompts_on(shape, clicks)
    mask = answer_mask(logits, Frame(shape, SIZE), prompts, connected)
    for pixel, inside in clicked_pixels(prompts, shape).items():
        assert mask[pixel] == inside


@settings(max_examples=examples(30), deadline=None)
@given(CLICKS, st.integers(0, 9))
def test_every_part_of_an_answer_to_clicks_has_a_click(clicks, seed) -> None:
    prompts = prompts_on((60, 80), [*clicks, (0.5, 0.5, True)])
    logits = torch.from_numpy(np.random.default_rng(seed).normal(size=(16, 16)).astype(np.float32))
    numbers, count = ndimage.label(answer_mask(logits, Frame((60, 80), SIZE), prompts), np.ones((3, 3)))
    clicked = {numbers[at] for at, inside in clicked_pixels(prompts, (60, 80)).items() if inside}
    assert clicked == set(range(1, count + 1))


def test_of_two_clicks_on_one_pixel_the_last_one_counts() -> None:
    assert clicked_pixels(Prompts(((3.2, 4), (2.9, 4.1)), (True, False)), (9, 9)) == {(3, 4): False}


def test_obeyed_clicks_change_nothing() -> None:
    values = np.where(np.indices((20, 20))[0] < 10, 3.0, -3.0)
    assert obedient(values, {(3, 3): True, (15, 15): False}, 2.0) is values


def test_a_correction_is_local_and_leaves_obeyed_clicks_alone() -> None:
    values = np.full((60, 60), -2.0, np.float32)
    values[:, :30] = 2.0
    out = obedient(values, {(30, 50): True, (30, 44): False, (30, 5): True}, 3.0)
    assert out[30, 50] > 0 > out[30, 44] and out[30, 5] == pytest.approx(2, abs=0.05)
    assert ((out > 0) != (values > 0)).sum() < 300 and ((out > 0) & (values < 0))[:, :40].sum() == 0


def test_a_point_outside_cuts_a_part_off() -> None:
    """Two discs joined by a bridge; a click outside on the bridge leaves the disc with the click inside."""
    rows, columns = np.indices((64, 64))
    discs = ((rows - 32) ** 2 + (columns - 14) ** 2 < 81) | ((rows - 32) ** 2 + (columns - 50) ** 2 < 81)
    logits = torch.from_numpy(np.where(discs | ((abs(rows - 32) < 2) & (abs(columns - 32) < 20)), 2.0, -6).astype("f"))
    prompts = Prompts(((32, 14), (32, 32)), (True, False))
    mask = answer_mask(logits, Frame((64, 64), 256), prompts)
    assert mask[32, 14] and not mask[32, 50]


def test_edges_are_smooth_at_the_resolution_of_the_image() -> None:
    """A disc on a coarse grid comes back as one on the image: its outline is hardly longer than the circle's."""
    rows, columns = np.indices((16, 16))
    logits = torch.from_numpy((20 - (rows - 7.5) ** 2 - (columns - 7.5) ** 2).clip(-3, 3).astype(np.float32))
    values = at_image_resolution(logits, Frame((256, 256), 64))
    mask = values > 0
    outline = sum(np.abs(np.diff(mask.astype(int), axis=axis)).sum() for axis in (0, 1))
    diameter = 2 * np.sqrt(mask.sum() / np.pi)
    assert outline <= 1.05 * 4 * diameter  # the steps of a digital disc add up to its bounding box
    assert np.abs(np.diff(values, 2, axis=0)).max() < 0.1


@pytest.mark.parametrize("shape", [(30, 47), (8, 8), (512, 300)])
def test_constant_logits_stay_constant_and_a_slope_is_kept(shape) -> None:
    frame = Frame(shape, 64)
    assert at_image_resolution(torch.full((16, 16), 2.5), frame) == pytest.approx(np.full(shape, 2.5), rel=1e-5)
    slope = at_image_resolution(torch.arange(16.0).expand(16, 16), frame)
    middle = slope[shape[0] // 2, shape[1] // 4 : shape[1] // 2]
    step = frame.resized[1] / shape[1] / 4
    assert np.diff(middle) == pytest.approx(np.full(len(middle) - 1, step), rel=1e-3)


# Parts


def kept(prompts: Prompts) -> list[bool]:
    mask = np.zeros((40, 50), bool)
    mask[5:15, 5:15] = mask[20:35, 20:35] = mask[2:4, 45:47] = True
    answer = meant_parts(mask, prompts)
    assert not (answer & ~mask).any()
    parts = (np.s_[5:15, 5:15], np.s_[20:35, 20:35], np.s_[2:4, 45:47])
    assert all(answer[part].all() or not answer[part].any() for part in parts)
    return [bool(answer[part].any()) for part in parts]


def test_parts_under_points_inside_stay() -> None:
    assert kept(Prompts(points=((10, 10),), positive=(True,))) == [True, False, False]
    assert kept(Prompts(points=((10, 10), (3, 46)), positive=(True, True))) == [True, False, True]
    assert kept(Prompts(points=((10, 10), (30, 30)), positive=(True, False))) == [True, False, False]


def test_parts_in_the_box_stay_unless_they_are_specks_there() -> None:
    assert kept(Prompts(box=(4, 4, 34, 34))) == [True, True, False]
    assert kept(Prompts(box=(0, 4, 34, 49))) == [True, True, False]
    assert kept(Prompts(box=(0, 40, 10, 49))) == [False, False, True]


def test_parts_of_the_mask_prompt_stay() -> None:
    given = np.zeros((40, 50), bool)
    given[3, 46] = given[8, 8] = True
    assert kept(Prompts(points=((30, 30),), positive=(True,), mask=given)) == [True, True, True]


def test_the_largest_part_stays_if_none_is_meant() -> None:
    assert kept(Prompts(points=((38, 2),), positive=(True,))) == [False, True, False]
    assert not meant_parts(np.zeros((8, 9), bool), Prompts(points=((1, 1),), positive=(True,))).any()


def test_a_session_keeps_meant_parts_if_the_card_or_its_user_says_so() -> None:
    model = small_model()
    model.card = {"connected": True}
    assert Session(model).connected
    assert not Session(model, connected=False).connected
    assert not Session(small_model()).connected
