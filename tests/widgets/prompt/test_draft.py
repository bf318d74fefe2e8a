"""A draft: prompts become voxels, and everything can be taken back and done again."""

from __future__ import annotations

import numpy as np
import pytest

from napari_synthseg.widgets.prompt.model import Draft

PLACE = (2, None, None)
CROSSING = (None, 3, None)


def square(rows=6, columns=8) -> np.ndarray:
    mask = np.zeros((rows, columns), bool)
    mask[1:4, 2:5] = True
    return mask


@pytest.fixture
def draft():
    return Draft((5, 6, 8))


def clicked(draft, place=PLACE, mask=None, position=(2.0, 3.0), positive=True):
    step = draft.add_point(place, position, positive)
    shape = draft.mask(place).shape
    draft.answer(step, square(*shape) if mask is None else mask)
    return step


def test_an_answer_fills_its_slice_alone(draft):
    clicked(draft)
    np.testing.assert_array_equal(draft.mask(PLACE), square())
    assert draft.voxels.sum() == square().sum()


def test_undo_and_redo_of_several_steps_on_crossing_slices(draft):
    states = [draft.voxels.copy()]
    clicked(draft)
    states.append(draft.voxels.copy())
    clicked(draft, CROSSING)
    states.append(draft.voxels.copy())
    clicked(draft, PLACE, ~square(), positive=False)
    states.append(draft.voxels.copy())
    for state in states[-2::-1]:
        assert draft.undo() is not None
        np.testing.assert_array_equal(draft.voxels, state)
    assert draft.undo() is None
    assert draft.prompted() == ()
    for state in states[1:]:
        assert draft.redo() is not None
        np.testing.assert_array_equal(draft.voxels, state)
    assert draft.redo() is None
    assert draft.prompts(PLACE).positive == (True, False)


def test_what_is_done_after_an_undo_replaces_what_was_undone(draft):
    clicked(draft)
    draft.undo()
    clicked(draft, CROSSING)
    assert not draft.can_redo
    assert draft.prompted() == (CROSSING,)


def test_an_answer_to_what_was_taken_back_does_not_count(draft):
    step = draft.add_point(PLACE, (2, 3), True)
    draft.undo()
    assert not draft.answer(step, square())
    assert not draft.voxels.any()
    assert draft.redo() is step
    assert not step.answered
    assert draft.answer(step, square())


def test_points_and_boxes_of_a_slice_add_up(draft):
    draft.add_point(PLACE, (1.0, 2.0), True)
    draft.add_box(PLACE, (0, 0, 3, 3))
    draft.add_point(PLACE, (4.0, 5.0), False)
    prompts = draft.prompts(PLACE)
    assert prompts.points == ((1.0, 2.0), (4.0, 5.0))
    assert prompts.positive == (True, False)
    assert prompts.box == (0, 0, 3, 3)
    assert prompts.mask is None


def test_a_structure_that_is_refined_is_what_clicks_repair(draft):
    mask = np.zeros(draft.shape, bool)
    mask[1:4] = square()
    draft.take(mask)
    step = draft.add_point(PLACE, (2, 3), False)
    np.testing.assert_array_equal(step.after[PLACE].mask, square())
    elsewhere = draft.add_point((0, None, None), (2, 3), True)
    assert elsewhere.after[(0, None, None)].mask is None  # nothing is there to be repaired
    draft.undo()
    draft.undo()
    draft.undo()
    assert not draft.voxels.any()


def test_what_other_slices_leave_on_a_slice_is_no_mask_to_repair(draft):
    clicked(draft)
    step = draft.add_point(CROSSING, (2, 3), True)
    assert draft.mask(CROSSING).any()
    assert step.after[CROSSING].mask is None


def test_following_leaves_slices_alone_that_were_pointed_at(draft):
    clicked(draft)
    step = draft.begin_carrying()
    assert draft.carry(step, (3, None, None), ~square())
    assert not draft.carry(step, PLACE, ~square())
    np.testing.assert_array_equal(draft.mask((3, None, None)), ~square())
    np.testing.assert_array_equal(draft.mask(PLACE), square())
    draft.undo()
    assert draft.voxels.sum() == square().sum()
    assert not draft.carry(step, (4, None, None), square())  # it was taken back while it went on


def test_a_click_while_following_is_undone_alone(draft):
    clicked(draft)
    step = draft.begin_carrying()
    draft.carry(step, (3, None, None), square())
    clicked(draft, (3, None, None), ~square())
    draft.carry(step, (4, None, None), square())
    draft.undo()
    np.testing.assert_array_equal(draft.mask((3, None, None)), square())
    np.testing.assert_array_equal(draft.mask((4, None, None)), square())


def test_beginning_anew_can_be_taken_back(draft):
    clicked(draft)
    draft.clear()
    assert not draft.voxels.any() and draft.prompted() == ()
    draft.undo()
    np.testing.assert_array_equal(draft.mask(PLACE), square())
    assert draft.prompts(PLACE).points == ((2.0, 3.0),)


def test_steps_that_will_never_be_answered_are_dropped(draft):
    clicked(draft)
    draft.add_point(PLACE, (0, 0), True)
    draft.add_point(CROSSING, (0, 0), True)
    draft.drop_unanswered()
    assert len(draft.steps) == 1 and not draft.can_redo
    assert draft.prompts(PLACE).points == ((2.0, 3.0),)
