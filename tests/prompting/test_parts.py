"""Specks that nobody pointed at leave the answer; what was pointed at stays."""

from __future__ import annotations

import numpy as np

from napari_synthseg.prompting.parts import pointed_at
from napari_synthseg.prompting.prompts import Prompts
from napari_synthseg.prompting.session import Session
from tests.prompting.small import SIZE, small_model


def two_squares_and_a_speck() -> np.ndarray:
    mask = np.zeros((40, 50), bool)
    mask[5:15, 5:15] = mask[20:35, 20:35] = mask[2:4, 45:47] = True
    return mask


def kept(prompts: Prompts) -> list[bool]:
    mask = two_squares_and_a_speck()
    answer = pointed_at(mask, prompts)
    assert not (answer & ~mask).any()
    found = []
    for part in (np.s_[5:15, 5:15], np.s_[20:35, 20:35], np.s_[2:4, 45:47]):
        assert answer[part].all() or not answer[part].any()
        found.append(bool(answer[part].any()))
    return found


def test_parts_under_points_inside_stay() -> None:
    assert kept(Prompts(points=((10, 10),), positive=(True,))) == [True, False, False]
    assert kept(Prompts(points=((10, 10), (3, 46)), positive=(True, True))) == [True, False, True]


def test_a_point_outside_keeps_nothing() -> None:
    assert kept(Prompts(points=((10, 10), (30, 30)), positive=(True, False))) == [True, False, False]


def test_a_point_may_miss_its_part_by_a_pixel_or_two() -> None:
    assert kept(Prompts(points=((16, 16),), positive=(True,))) == [True, False, False]


def test_parts_in_the_box_stay() -> None:
    assert kept(Prompts(box=(4, 4, 22, 22))) == [True, True, False]


def test_parts_of_the_mask_prompt_stay() -> None:
    given = np.zeros((40, 50), bool)
    given[3, 46] = given[8, 8] = True
    assert kept(Prompts(points=((30, 30),), positive=(True,), mask=given)) == [True, True, True]


def test_the_largest_part_stays_where_none_is_meant() -> None:
    assert kept(Prompts(points=((38, 2),), positive=(True,))) == [False, True, False]


def test_noise_of_many_parts_keeps_the_one_that_is_pointed_at() -> None:
    for seed in range(30):
        mask = np.random.default_rng(seed).random((24, 19)) < 0.3
        position = tuple(np.argwhere(mask)[0])
        answer = pointed_at(mask, Prompts(points=(position,), positive=(True,)))
        assert answer[position]
        assert not (answer & ~mask).any()


def test_an_empty_answer_stays_empty() -> None:
    assert not pointed_at(np.zeros((8, 9), bool), Prompts(points=((1, 1),), positive=(True,))).any()


def test_a_session_does_so_where_the_card_or_its_user_says_so() -> None:
    model = small_model()
    model.card = {"connected": True}
    assert Session(model).connected
    assert not Session(model, connected=False).connected
    assert not Session(small_model()).connected
    answers = {}
    for connected in (False, True):
        session = Session(small_model(), connected=connected)
        session.set_image(np.random.default_rng(1).integers(0, 255, (SIZE, SIZE), np.uint8))
        session.add_point((SIZE // 2, SIZE // 2))
        answers[connected] = session.predict()
        assert np.array_equal(
            answers[connected], pointed_at(answers[False], session.prompts) if connected else answers[False]
        )
