"""Where an object ends."""

from __future__ import annotations

import numpy as np
import pytest

from napari_synthseg.prompting.options import PropagateOptions
from napari_synthseg.prompting.propagate import Look, reason_to_end
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


@pytest.mark.parametrize(
    ("found", "reason"),
    [({}, ""), ({"growth": 0}, "nothing of it"), ({"score": 0.4}, "unsure"), ({"growth": 3}, "grows"),
     ({"size": 4}, "4.0 times as large"), ({"overlap": 0.1}, "overlaps little"), ({"change": 3}, "looks different")],
)  # fmt: skip
def test_the_reason_of_an_end_is_said(found, reason):
    alike = {"score": 0.9, "growth": 1.1, "overlap": 0.9, "size": 1, "change": 0.5}
    ended = reason_to_end(PropagateOptions(), **(alike | found))
    assert reason in ended and bool(reason) == bool(ended)
