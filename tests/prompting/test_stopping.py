"""Where an object ends."""

from __future__ import annotations

import numpy as np
import pytest

from napari_synthseg.prompting.options import PropagateOptions
from napari_synthseg.prompting.propagate import Look, SliceComparison, compare
from tests.prompting.tracer import disc

SHAPE = (20, 30)


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


def test_masks_are_compared_by_area_and_overlap():
    before, mask = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    before[:10], mask[:15] = True, True
    found = compare(mask, before, 600, 0.9, 1.0)
    assert (found.growth, found.overlap, found.size) == (1.5, 0.8, 0.75)


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (SliceComparison(0.9, 1.1, 0.9, 1, 0.5), ""),
        (SliceComparison(0.9, 0, 0, 0, 0), "nothing of it"),
        (SliceComparison(0.4, 1.1, 0.9, 1, 0.5), "unsure"),
        (SliceComparison(0.9, 3, 0.9, 1, 0.5), "grows"),
        (SliceComparison(0.9, 1.1, 0.9, 4, 0.5), "4.0 times as large"),
        (SliceComparison(0.9, 1.1, 0.1, 1, 0.5), "overlaps little"),
        (SliceComparison(0.9, 1.1, 0.9, 1, 3), "looks different"),
    ],
)
def test_the_reason_of_an_end_is_said(found, reason):
    ended = found.ended(PropagateOptions())
    assert reason in ended and bool(reason) == bool(ended)
