"""A session: prompts, their history, and answers; with the real MobileSAM, that the thing under the click is found."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_synthseg.errors import InputError
from napari_synthseg.prompting import Prompts, Session
from tests.prompting.small import slow_decoding, small_model

SHAPE = (40, 60)


@pytest.fixture
def session() -> Session:
    """With an image, before any prompt."""
    made = Session(small_model())
    made.set_image(np.random.default_rng(0).integers(0, 255, SHAPE, np.uint8))
    return made


def decide(monkeypatch, session: Session, answer) -> None:
    """Let the model answer with the logits that `answer(points, labels, boxes, masks)` gives."""

    def decode(embedding, points, labels, boxes, masks):
        return answer(points, labels, boxes, masks), torch.full((1, 4), 0.75)

    monkeypatch.setattr(session.model, "decode", decode)
    slow_decoding(monkeypatch)


def around(points, *_) -> torch.Tensor:
    """Inside within 3 steps of the last point."""
    y, x = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    px, py = points[0, -1] / 4
    return (3 - ((x - px) ** 2 + (y - py) ** 2).sqrt()).expand(1, 4, 16, 16)


def test_the_mask_lies_where_the_click_was(session, monkeypatch):
    decide(monkeypatch, session, around)
    session.add_point((10, 45))
    mask = session.predict()
    assert mask[10, 45] and not mask[10, 15] and not mask[35, 45]


def test_an_answer_says_its_score_and_what_changed(session, monkeypatch):
    decide(monkeypatch, session, around)
    session.add_point((10, 45))
    first = session.answer()
    rows, columns = np.nonzero(first.mask)
    assert first.score == 0.75
    assert first.changed == (rows.min(), columns.min(), rows.max() + 1, columns.max() + 1)
    assert session.answer().changed is None


def test_the_prompts_reach_the_model_in_its_own_frame(session, monkeypatch):
    given = {}

    def answer(points, labels, boxes, masks):
        given.update(points=points, labels=labels, boxes=boxes, masks=masks)
        return torch.zeros(1, 4, 16, 16)

    decide(monkeypatch, session, answer)
    scale = 64 / 60
    session.add_point((10, 20))
    session.add_point((30, 5), positive=False)
    session.add_box((30, 40, 2, 3))
    mask = np.zeros(SHAPE, bool)
    mask[:, :30] = True
    session.set_mask(mask)
    session.predict()
    torch.testing.assert_close(given["points"], torch.tensor([[[20.0, 10], [5, 30]]]) * scale, atol=0.3, rtol=0)
    assert given["labels"].tolist() == [[1, 0]]
    torch.testing.assert_close(given["boxes"], torch.tensor([[3.0, 2, 40, 30]]) * scale, atol=0.3, rtol=0)
    assert given["masks"].shape == (1, 1, 16, 16)
    assert given["masks"][0, 0, 5, 2] > 0 > given["masks"][0, 0, 5, 14]


def test_a_mask_may_say_how_probable_inside_is(session, monkeypatch):
    given = {}

    def answer(points, labels, boxes, masks):
        given.update(masks=masks)
        return torch.zeros(1, 4, 16, 16)

    decide(monkeypatch, session, answer)
    session.set_mask(np.full(SHAPE, 0.75))
    session.predict()
    assert given["masks"][0, 0, 4, 4].item() == pytest.approx(5)


def test_points_outside_alone_ask_for_nothing(session):
    assert not session.predict().any()
    session.add_point((10, 20), positive=False)
    assert not session.predict().any()


def test_everything_can_be_undone_and_redone(session):
    mask = np.ones(SHAPE, bool)
    session.add_point((10, 20))
    session.add_box((1, 2, 30, 40))
    session.set_mask(mask)
    session.reset()
    seen = [session.prompts]
    while session.undo():
        seen.append(session.prompts)
    assert len(seen) == 5 and seen[-1] == Prompts()
    assert seen[1].mask is not None and seen[2].mask is None and seen[3].box is None
    back = [session.prompts]
    while session.redo():
        back.append(session.prompts)
    assert [id(p) for p in back] == [id(p) for p in reversed(seen)]


def test_a_new_prompt_ends_what_could_be_redone_and_at_the_ends_nothing_happens(session):
    assert not session.undo() and not session.redo()
    session.reset()
    assert not session.can_undo
    session.add_point((1, 1))
    session.undo()
    session.add_point((2, 2))
    assert not session.can_redo
    assert session.prompts.points == ((2, 2),)


def test_a_new_image_begins_anew(session):
    session.add_point((1, 1))
    session.set_image(np.zeros((10, 10)))
    assert session.prompts == Prompts() and not session.can_undo
    assert session.predict().shape == (10, 10)


def test_what_is_no_image_leaves_the_session_as_it_was(session):
    session.add_point((1, 1))
    with pytest.raises(InputError, match="cannot be prompted"):
        session.set_image(np.zeros((2, 3, 4, 5)))
    assert session.prompts.points == ((1, 1),) and session.predict().shape == SHAPE


@pytest.mark.parametrize("position", [(-1, 5), (5, -0.6), (40, 5), (5, 60), (float("nan"), 5)])
def test_points_off_the_image_are_refused(session, position):
    with pytest.raises(InputError, match="not on the image of 40 x 60"):
        session.add_point(position)
    assert not session.can_undo


def test_a_box_is_cut_to_the_image_and_must_hold_some_of_it(session):
    session.add_box((-10, 50, 20, 100))
    assert session.prompts.box == (0, 50, 20, 59)
    for box in ((5, 5, 5, 20), (50, 0, 60, 10), (float("nan"), 0, 60, 10)):
        with pytest.raises(InputError, match="box"):
            session.add_box(box)


def test_masks_that_do_not_fit_are_refused(session):
    with pytest.raises(InputError, match=r"shape \(3, 3\)"):
        session.set_mask(np.ones((3, 3)))
    with pytest.raises(InputError, match="empty"):
        session.set_mask(np.zeros(SHAPE))


@pytest.mark.parametrize(
    ("job", "says"),
    [
        (lambda: Session(small_model()).predict(), "no image to prompt"),
        (lambda: Session(small_model()).add_point((0, 0)), "no image to prompt"),
        (lambda: Session(small_model()).add_box((0, 0, 1, 1)), "no image to prompt"),
        (lambda: Session(small_model(), device="abacus"), "no device called"),
    ],
)
def test_without_an_image_or_a_device_there_is_a_sentence(job, says):
    with pytest.raises(InputError, match=says):
        job()


def test_an_image_encoded_ahead_is_there_at_once(session, monkeypatch):
    other = np.random.default_rng(1).random((30, 30))
    session.encode_ahead([other])
    session._encodings.wait()
    monkeypatch.setattr(session.model, "encode", None)  # to encode again would fail
    session.set_image(other)
    assert session.predict().shape == (30, 30)


def test_all_prompts_can_be_given_at_once_and_taken_back_one_by_one(session):
    mask = np.ones(SHAPE, bool)
    given = Prompts(((1, 2), (3, 4)), (True, False), (1, 2, 30, 40), mask)
    session.point_at(given)
    assert session.prompts == given and session.prompts.mask is not None
    session.undo()
    assert session.prompts.points == ((1, 2),)


def test_a_session_beside_another_has_its_own_prompts_and_the_same_embeddings(session, monkeypatch):
    session.add_point((1, 2))
    monkeypatch.setattr(session.model, "encode", None)  # to encode again would fail
    other = session.beside()
    other.set_image(np.random.default_rng(0).integers(0, 255, SHAPE, np.uint8))
    other.add_point((3, 4))
    assert session.prompts.points == ((1, 2),) and other.prompts.points == ((3, 4),)
    assert session.predict().shape == other.predict().shape == SHAPE


def test_a_pixel_that_is_not_square_is_seen_as_it_is(session, monkeypatch):
    given = {}

    def answer(points, labels, boxes, masks):
        given.update(points=points, masks=masks)
        return masks.expand(1, 4, 16, 16)

    decide(monkeypatch, session, answer)
    session.set_image(np.zeros((20, 60)), pixel=(3.0, 1.0))  # as high as it is wide
    mask = np.zeros((20, 60), bool)
    mask[10:15, 15:45] = True
    session.set_mask(mask)
    session.add_point((10, 30))
    mask[np.ix_([10, 14], [15, 44])] = False  # edges are smooth, so corners are round
    np.testing.assert_array_equal(session.predict(), mask)
    torch.testing.assert_close(given["points"], torch.tensor([[[32.0, 32]]]), atol=0.1, rtol=0)
    assert given["masks"][0, 0, 9, 8] > 0 > given["masks"][0, 0, 3, 8]
