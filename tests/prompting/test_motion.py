"""A shape moves from slice to slice as the image does, and is evidence of where the object lies."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from napari_synthseg.prompting.prompts import moved, shape_evidence, signed_distance
from tests.prompting.tracer import disc


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
