"""Through the slices: an object is followed, its end is found, and marked slices correct the way."""

from __future__ import annotations

import numpy as np
import pytest

from napari_synthseg.errors import InputError
from napari_synthseg.jobs import run
from napari_synthseg.prompting import Anchor, Answer, Prompts, Session, SliceAnswer
from napari_synthseg.prompting.options import PropagateOptions
from napari_synthseg.prompting.propagate import Look, propagate, reason_to_end
from tests.prompting.small import small_model
from tests.prompting.tracer import Tracer, disc

SHAPE = (30, 40)


def moving(first: int, last: int, count: int = 16) -> np.ndarray:
    """A disc that wanders through the slices `first` to `last` of `count`: (count, rows, columns) bool."""
    slices = [disc(SHAPE, 12 + 0.5 * i, 30 - i, 5) & (first <= i <= last) for i in range(count)]
    return np.stack(slices)


def follow(job) -> tuple[list[SliceAnswer], np.ndarray]:
    reports: list[SliceAnswer] = []
    return reports, run(job, reports.append)


class Copying(Tracer):
    """Answers with the mask it is given."""

    def answer(self, evidence=None):
        return Answer(self.given[-1].mask > 0.5, 0.9, None)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_moving_object_is_followed_to_both_of_its_ends(axis):
    truth = moving(3, 11)
    volume = np.moveaxis(truth.astype(np.float32), 0, axis)
    reports, found = follow(propagate(Tracer(), volume, axis, 6, truth[6]))
    np.testing.assert_array_equal(found, np.moveaxis(truth, 0, axis))
    assert [report.index for report in reports] == [7, 5, 8, 4, 9, 3, 10, 2, 11, 12]
    ended = "nothing of it is found there"
    assert {report.index: report.ended for report in reports if report.ended} == {2: ended, 12: ended}
    assert [report.done for report in reports] == list(range(1, len(reports) + 1))
    assert all(np.array_equal(report.mask, truth[report.index]) for report in reports)


@pytest.mark.parametrize(("direction", "slices"), [("up", [6, 7, 8]), ("down", [4, 5, 6]), ("both", [4, 5, 6, 7, 8])])
def test_how_far_and_which_way_can_be_chosen(direction, slices):
    truth = moving(0, 15)
    options = PropagateOptions(direction=direction, most_slices=2)
    _, found = follow(propagate(Tracer(), truth.astype(np.float32), 0, 6, truth[6], options=options))
    assert np.flatnonzero(found.any((1, 2))).tolist() == slices


def test_both_branches_of_an_object_that_splits_are_followed_and_what_lies_apart_is_not():
    truth = np.stack([disc(SHAPE, 10, 20 - i, 4) | disc(SHAPE, 10, 20 + i, 4) for i in range(12)])
    volume = truth.astype(np.float32)
    volume[4:, 24:, :6] = 1
    volume[:, 0, 0] = 1
    _, found = follow(propagate(Tracer(), volume, 0, 0, truth[0]))
    np.testing.assert_array_equal(found, truth)


def test_new_parts_of_an_answer_that_touch_nothing_are_left_out():
    truth = moving(0, 15)

    class Generous(Tracer):
        def answer(self, evidence=None):
            found = super().answer()
            found.mask[-3:, -3:] = True
            return found

    _, found = follow(propagate(Generous(), truth.astype(np.float32), 0, 6, truth[6]))
    np.testing.assert_array_equal(found, truth)


def test_it_ends_where_the_model_is_unsure():
    truth = moving(0, 15)
    volume = truth.astype(np.float32)
    volume[9] *= 2
    reports, found = follow(propagate(Tracer({2.0: 0.2}), volume, 0, 6, truth[6]))
    assert np.flatnonzero(found.any((1, 2))).tolist() == list(range(9))
    assert [report.ended for report in reports if report.index == 9] == ["the model is unsure (score 0.20)"]
    assert not next(report for report in reports if report.index == 9).mask.any()


def test_it_ends_where_an_object_creeps_into_its_surroundings_unless_more_is_marked():
    truth = np.stack([disc(SHAPE, 15, 20, 4 + i) for i in range(11)])
    volume = truth.astype(np.float32)
    reports, found = follow(propagate(Tracer(), volume, 0, 0, truth[0]))
    last = int(np.flatnonzero(found.any((1, 2))).max())
    assert truth[last].sum() <= 3 * truth[0].sum() < truth[last + 1].sum()
    assert "as large as on any marked slice" in reports[-1].ended
    _, found = follow(propagate(Tracer(), volume, 0, 10, truth[10], anchors={0: Anchor(truth[0])}))
    np.testing.assert_array_equal(found, truth)


def test_it_ends_where_the_object_looks_different():
    truth = moving(0, 15)
    volume = truth * np.linspace(1, 1.1, 16, dtype=np.float32)[:, None, None]
    volume[10:] *= 1.3
    reports, found = follow(propagate(Tracer(), volume, 0, 6, truth[6], window=(0, 2)))
    assert np.flatnonzero(found.any((1, 2))).tolist() == list(range(10))
    assert any(report.ended.startswith("it looks different") for report in reports)


def test_slices_may_each_have_their_own_black_and_white():
    truth = moving(0, 15)
    volume = truth * 2.0 ** np.arange(16)[:, None, None]
    _, found = follow(propagate(Tracer(), volume, 0, 6, truth[6], window=(0, 2**15)))
    assert not found[12:].any()
    tracer = Tracer()
    _, found = follow(propagate(tracer, volume, 0, 6, truth[6], window="each"))
    np.testing.assert_array_equal(found, truth)
    assert set(tracer.windows) == {None}  # the session then takes percentiles of each


# Marked slices


def test_a_marked_slice_is_taken_as_it_is_and_gone_on_from():
    truth = moving(0, 15)
    volume = truth.astype(np.float32)
    volume[8] = 0  # nothing to see there
    _, alone = follow(propagate(Tracer(), volume, 0, 4, truth[4]))
    assert np.flatnonzero(alone.any((1, 2))).tolist() == list(range(8))
    _, corrected = follow(propagate(Tracer(), volume, 0, 8, truth[8], anchors={4: Anchor(truth[4])}))
    np.testing.assert_array_equal(corrected, truth)


def test_between_two_marked_slices_each_is_answered_from_the_nearer_one():
    one, other = disc(SHAPE, 10, 10, 4), disc(SHAPE, 20, 30, 4)
    volume = np.zeros((12, *SHAPE), np.float32)
    _, found = follow(propagate(Copying(), volume, 0, 2, one, anchors={9: Anchor(other)}))
    assert [bool((mask == one).all()) for mask in found] == [True] * 6 + [False] * 6
    assert all((mask == other).all() for mask in found[6:])


def test_where_one_way_ends_the_other_marked_slice_takes_over():
    truth = moving(0, 15)
    volume = truth.astype(np.float32)
    volume[4] *= 2  # where the way from slice 2 breaks off, and the one from slice 10 ends too
    tracer = Tracer({2.0: 0.1})
    _, found = follow(propagate(tracer, volume, 0, 2, truth[2], anchors={10: Anchor(truth[10])}))
    assert np.flatnonzero(~found.any((1, 2))).tolist() == [4]


def test_nothing_goes_past_a_slice_where_the_object_is_said_not_to_be():
    truth = moving(0, 15)
    gone = Anchor(np.zeros(SHAPE, bool))
    _, found = follow(propagate(Tracer(), truth.astype(np.float32), 0, 6, truth[6], anchors={10: gone}))
    assert np.flatnonzero(found.any((1, 2))).tolist() == list(range(10))


# Stopping


def test_nothing_is_encoded_ahead_any_more_once_it_has_ended():
    truth = moving(3, 11)
    tracer = Tracer()
    follow(propagate(tracer, truth.astype(np.float32), 0, 6, truth[6]))
    assert tracer.asked[-1] == []
    job = propagate(tracer, truth.astype(np.float32), 0, 6, truth[6])
    next(job)
    job.close()
    assert tracer.asked[-2] != [] and tracer.asked[-1] == []


# With a session


def test_the_sessions_own_image_and_prompts_stay():
    session = Session(small_model())
    session.set_image(np.zeros((5, 7)))
    session.add_point((1, 2))
    volume = np.random.default_rng(0).random((4, *SHAPE))
    options = PropagateOptions(least_score=0, least_overlap=0, most_growth=1e6)
    follow(propagate(session, volume, 0, 1, disc(SHAPE, 10, 10, 5), options=options))
    assert session.prompts == Prompts(((1, 2),), (True,))
    assert session.predict().shape == (5, 7)


def test_the_next_slices_are_encoded_ahead():
    truth = moving(0, 15)
    volume = truth.astype(np.float32)
    tracer = Tracer()
    follow(propagate(tracer, volume, 0, 6, truth[6]))
    asked = [index for index in range(16) for image in tracer.asked[0] if np.shares_memory(image, volume[index])]
    assert asked == [5, 7, 8, 9]


def test_slices_are_seen_in_true_proportions():
    truth = moving(0, 15)
    tracer = Tracer()
    follow(propagate(tracer, np.moveaxis(truth.astype(np.float32), 0, 1), 1, 6, truth[6], spacing=(0.5, 4, 3)))
    assert set(tracer.pixels) == {(0.5, 3.0)}


# What cannot be used


def test_what_does_not_fit_is_refused_in_a_sentence():
    volume, mask = np.zeros((4, *SHAPE)), np.ones(SHAPE, bool)
    for arguments, sentence in (
        ((np.zeros(SHAPE), 0, 1, mask), "no slices"),
        ((volume, 3, 1, mask), "axes 0, 1 and 2"),
        ((volume, 0, 4, mask), "slices 0 to 3"),
        ((volume, 1, 1, mask), "give one of"),
        ((volume, 0, 1, ~mask), "Nothing is marked"),
    ):
        with pytest.raises(InputError, match=sentence):
            next(propagate(Tracer(), *arguments))


# Corrections and votes


def test_a_correction_goes_half_way_to_the_next_anchor_and_leaves_the_rest():
    truth = moving(0, 15)
    known = truth.copy()
    known[:, 0, 0] = True  # tells the slices of the earlier run
    known[3:8, 16:20] = True
    known[8:] = False
    volume = truth.astype(np.float32)
    job = propagate(Tracer(), volume, 0, 8, truth[8], anchors={2: Anchor(known[2])}, known=known, corrected=[8])
    reports, found = follow(job)
    assert sorted(report.index for report in reports) == [5, 6, 7, *range(9, 16)]
    assert np.flatnonzero(found[:, 0, 0]).tolist() == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(found[5:], truth[5:])


def test_a_correction_ends_where_nothing_changes_any_more():
    truth = moving(0, 15)
    anchors = {2: Anchor(truth[2])}
    job = propagate(Tracer(), truth.astype(np.float32), 0, 12, truth[12], anchors=anchors, known=truth, corrected=[12])
    reports, found = follow(job)
    assert sorted(report.index for report in reports) == [11, 13]
    np.testing.assert_array_equal(found, truth)


def test_what_an_earlier_run_left_beyond_the_end_is_dropped():
    truth, volume = moving(0, 15), moving(0, 10).astype(np.float32)
    _, found = follow(propagate(Tracer(), volume, 0, 6, truth[6], known=truth))
    np.testing.assert_array_equal(found, moving(0, 10))
    gone = np.zeros(SHAPE, bool)
    anchors = {2: Anchor(truth[2])}
    _, found = follow(propagate(Tracer(), volume, 0, 9, gone, anchors=anchors, known=truth, corrected=[9]))
    assert np.flatnonzero(found.any((1, 2))).tolist() == list(range(9))


def test_between_anchors_the_expected_shape_changes_steadily():
    volume = np.zeros((9, *SHAPE), np.float32)
    small, large = disc(SHAPE, 15, 20, 4), disc(SHAPE, 15, 20, 8)
    _, found = follow(propagate(Copying(), volume, 0, 0, small, anchors={8: Anchor(large)}))
    areas = found.sum((1, 2))
    assert (np.diff(areas) >= 0).all() and small.sum() < areas[4] < large.sum()


def test_two_of_three_axes_decide():
    rows, columns, slices = np.indices((20, 30, 24))
    truth = ((rows - 9) / 6) ** 2 + ((columns - 14) / 9) ** 2 + ((slices - 11) / 7) ** 2 <= 1
    volume = truth.astype(np.float32)
    volume[13, 2:6, 2:6] = 1  # apart: reached along no axis
    anchor = truth[:, 14].copy()
    anchor[9, 11] = False  # as the user has it
    reports, found = follow(
        propagate(Tracer(), volume, 1, 14, anchor, options=PropagateOptions(vote=True, most_area=9))
    )
    expected = truth.copy()
    expected[9, 14, 11] = False
    np.testing.assert_array_equal(found, expected)
    assert {report.voting for report in reports} == {False, True}
    assert [report.done for report in reports] == list(range(1, len(reports) + 1))


class Noting(Tracer):
    """Keeps the evidence of each answer; its answer on the marked slice is too large by log-odds of 3."""

    def __init__(self) -> None:
        super().__init__()
        self.evidence: list[np.ndarray] = []
        self.offsets: list[tuple[np.ndarray, np.ndarray]] = []

    def offset(self, mask, where):
        self.offsets.append((mask, where))
        return -3.0

    def answer(self, evidence=None):
        self.evidence.append(evidence)
        return super().answer(evidence)


def test_the_shape_before_and_the_excess_on_the_marked_slice_are_evidence():
    truth = moving(0, 15)
    tracer = Noting()
    _, found = follow(propagate(tracer, truth.astype(np.float32), 0, 6, truth[6], window=(0, 1)))
    np.testing.assert_array_equal(found, truth)
    ((mask, where),) = tracer.offsets  # once for each marked slice
    assert (mask == truth[6]).all() and where[mask].all() and where.sum() > mask.sum()
    first = tracer.evidence[0] + 3.0
    assert (first[truth[7]] > 0).mean() > 0.95 and (first[~truth[7]] < 0).mean() > 0.98
    assert first.max() <= 8 and first.min() == -8


def test_an_object_that_fills_its_slice_has_no_surroundings_to_compare_with():
    tracer, whole = Noting(), np.ones((4, *SHAPE), bool)
    _, found = follow(propagate(tracer, whole.astype(np.float32), 0, 1, whole[1], window=(0, 1)))
    assert found.all() and not tracer.offsets


# Where an object ends


def test_a_look_is_that_of_what_the_mask_covers():
    image = np.full(SHAPE, 1000.0)
    mask = disc(SHAPE, 10, 10, 6)
    image[mask] = np.random.default_rng(0).normal(50, 5, mask.sum())
    image[10, 10] = np.nan
    look = Look.of(image, mask, (0, 100))
    assert look.middle == pytest.approx(0.5, abs=0.02) and look.spread == pytest.approx(0.05, abs=0.01)
    assert look.change(Look(0.6, 0.02)) == pytest.approx(2, abs=0.6)


def test_flat_images_and_colours_have_a_look_too():
    mask = disc(SHAPE, 10, 10, 6)
    assert Look.of(np.full(SHAPE, 7.0), mask, (0, 100)) == Look(0.07, 0.02)
    assert Look.of(np.full((*SHAPE, 4), (10, 20, 60, 255), np.uint8), mask, None) == Look(30 / 255, 0.02)
    assert Look.of(np.full(SHAPE, np.nan), mask, None).spread > 0


@pytest.mark.parametrize(
    ("found", "reason"),
    [({}, ""), ({"growth": 0}, "nothing of it"), ({"score": 0.4}, "unsure"), ({"growth": 3}, "grows"),
     ({"size": 4}, "4.0 times as large"), ({"overlap": 0.1}, "overlaps little"), ({"change": 3}, "looks different")],
)  # fmt: skip
def test_the_reason_of_an_end_is_said(found, reason):
    alike = {"score": 0.9, "growth": 1.1, "overlap": 0.9, "size": 1, "change": 0.5}
    ended = reason_to_end(PropagateOptions(), **(alike | found))
    assert reason in ended and bool(reason) == bool(ended)
