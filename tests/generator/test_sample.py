"""Samples as volumes: where they lie, and the quick look at another voxel size."""

from __future__ import annotations

import numpy as np
import pytest

from napari_synthseg.errors import InputError
from napari_synthseg.generator.model import GenerativeModel
from napari_synthseg.generator.sample import prepared, replay
from napari_synthseg.jobs import Stopped, stoppable
from napari_synthseg.volume import Volume
from tests.generator.builders import PAPER, STILL, boxes

AFFINE = np.array([[1.0, 0, 0, -50], [0, 1, 0, -8], [0, 0, 1, 12], [0, 0, 0, 1]])


@pytest.fixture(scope="module")
def source() -> tuple:
    return prepared(Volume(boxes(), AFFINE))


@pytest.fixture(scope="module")
def large() -> tuple:
    return prepared(Volume(boxes(side=48), AFFINE))


def drawn(source, priors: GenerativeModel = STILL, seed: int = 0):
    return priors.sample(source[0], seed)


def test_a_still_sample_lies_on_its_map(source) -> None:
    made = replay(drawn(source), *source)
    assert np.allclose(made.image.affine, AFFINE)
    brain = np.isin(boxes(), (2, 41))
    assert np.array_equal(made.labels.data[brain], boxes()[brain])


@pytest.mark.parametrize("shape", [None, (40, 16, 12)])
def test_a_quick_look_has_the_same_field_of_view(source, shape) -> None:
    record = drawn(source, PAPER)
    full, half = replay(record, *source, shape), replay(record, *source, shape, spacing=2.0)
    assert half.image.shape == tuple(round(n / 2) for n in full.image.shape)
    assert np.allclose(half.image.spacing, 2)
    outer = [v.affine @ [-0.5, -0.5, -0.5, 1] for v in (full.image, half.image)]
    assert np.allclose(*outer)


@pytest.mark.parametrize("seed", range(4))
def test_a_quick_look_shows_the_same_head_as_bright(large, seed) -> None:
    record = drawn(large, PAPER, seed)
    full, half = replay(record, *large), replay(record, *large, spacing=2.0)
    pooled = full.labels.data[: 2 * half.labels.shape[0] : 2, ::2, ::2]
    assert (pooled == half.labels.data).mean() > 0.85
    assert abs(full.image.data.mean() - half.image.data.mean()) < 0.06


def test_a_voxel_size_must_be_positive(source) -> None:
    with pytest.raises(InputError, match="positive"):
        replay(drawn(source), *source, spacing=-1.0)


def test_a_redraw_that_nobody_waits_for_stops_in_the_middle(source) -> None:
    with stoppable(lambda: True), pytest.raises(Stopped):
        replay(drawn(source), *source)
