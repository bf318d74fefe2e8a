"""The objects of an image that resemble one of them."""

from __future__ import annotations

import numpy as np
import pytest

from napari_synthseg.errors import InputError
from napari_synthseg.jobs import run
from napari_synthseg.prompting import Session
from napari_synthseg.prompting.options import SimilarOptions
from napari_synthseg.prompting.similar import MOST, log_odds, similar_objects
from tests.prompting.small import small_model
from tests.prompting.tracer import Tracer, disc

SHAPE = (40, 60)


def bright(*discs: np.ndarray, seed: int = 0) -> np.ndarray:
    image = np.random.default_rng(seed).normal(0.2, 0.03, SHAPE)
    for mask in discs:
        image[mask] += 0.6
    return image.astype(np.float32)


def shown(image: np.ndarray) -> Tracer:
    tracer = Tracer()
    tracer.set_image(image)
    return tracer


def test_log_odds_tell_objects_like_one_from_their_surroundings():
    first, other = disc(SHAPE, 20, 15, 5), disc(SHAPE, 20, 50, 5)
    image = bright(first, other)
    odds = log_odds(shown(image), image, first, (0, 1))
    both = first | other
    assert (odds[both] > 0).mean() > 0.95 and (odds[~both] < 0).mean() > 0.95 and abs(odds).max() == MOST


def test_a_sessions_features_and_their_projection_agree():
    session = Session(small_model())
    session.set_image(bright(disc(SHAPE, 20, 20, 6)), (0, 1))
    pixels = np.array([[0, 0], [20, 20], [39, 59]])
    features = session.features(pixels)
    weights = np.random.default_rng(0).normal(size=features.shape[1])
    projected = session.projected(weights)
    assert projected.shape == SHAPE
    np.testing.assert_allclose(projected[tuple(pixels.T)], features @ weights, rtol=1e-3, atol=1e-4)
    plain, helped = session, np.where(disc(SHAPE, 10, 40, 5), 99.0, -99.0).astype(np.float32)
    plain.add_point((10, 40))
    np.testing.assert_array_equal(plain.answer(helped).mask, helped > 0)


CELLS = [disc(SHAPE, 10, 10, 4), disc(SHAPE, 10, 40, 4), disc(SHAPE, 30, 20, 5)]
LARGE = disc(SHAPE, 27, 46, 11)


def test_all_objects_like_one_are_found_and_nothing_else():
    image = bright(*CELLS, LARGE)
    session = Tracer()
    found = run(similar_objects(session, image, CELLS[0], window=(0, 1)))
    assert len(found) == 2
    for cell in CELLS[1:]:
        assert any(np.array_equal(mask, cell) for mask in found)
    with_large = run(similar_objects(session, image, CELLS[0], SimilarOptions(most_area_ratio=12), (0, 1)))
    assert any(np.array_equal(mask, LARGE) for mask in with_large)


def test_objects_do_not_overlap_and_unsure_answers_are_left_out():
    image = bright(*CELLS)
    assert not run(similar_objects(Tracer({float(image.max()): 0.1}), image, CELLS[0], window=(0, 1)))


@pytest.mark.parametrize("mask", [np.zeros(SHAPE, bool), np.ones(SHAPE, bool), np.ones((3, 3), bool)])
def test_an_object_to_compare_with_is_needed(mask):
    with pytest.raises(InputError, match="compare with"):
        run(similar_objects(Tracer(), bright(), mask))
