"""Slices of a volume along any axis, and the values that become black and white in all of them."""

from __future__ import annotations

import numpy as np
import pytest

from napari_synthseg.errors import InputError
from napari_synthseg.prompting import Planes
from napari_synthseg.prompting.prompts import window_of


@pytest.mark.parametrize(
    ("axis", "shape", "pixel", "step"), [(0, (3, 4), (2, 3), 1), (1, (2, 4), (1, 3), 2), (2, (2, 3), (1, 2), 3)]
)
def test_a_slice_has_the_two_other_axes_in_their_order(axis, shape, pixel, step):
    volume = np.arange(24).reshape(2, 3, 4)
    planes = Planes(volume, axis, (1, 2, 3))
    assert (planes.shape, planes.pixel, planes.step) == (shape, pixel, step)
    assert len(planes) == volume.shape[axis]
    np.testing.assert_array_equal(planes.image(1), volume.take(1, axis))
    assert np.shares_memory(planes.image(1), volume)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_masks_of_slices_make_an_object(axis):
    planes = Planes(np.zeros((2, 3, 4)), axis)
    mask = np.ones(planes.shape, bool)
    whole = planes.stack({1: mask})
    assert whole.sum() == mask.sum() and whole.take(1, axis).all()


def test_the_window_is_that_of_the_whole_volume():
    volume = np.zeros((10, 50, 50), np.float32)
    volume[7:] = np.linspace(0, 100, 50)
    assert Planes(volume, 0).window == window_of(volume) == (0, 100)


def test_slices_may_each_have_their_own_window():
    volume = np.random.default_rng(0).random((3, 40, 50)) * np.array([1, 10, 100])[:, None, None]
    planes = Planes(volume, 0, window="each")
    assert planes.common_window is None
    assert planes.window_at(1) == pytest.approx(tuple(np.percentile(volume[1], (0.5, 99.5))))
    assert Planes(volume, 0, window=(1, 2)).window_at(1) == Planes(volume, 0, window=(1, 2)).common_window == (1, 2)
    assert Planes((volume > 1).astype(np.uint8), 0, window="each").window_at(1) is None


def test_bytes_have_no_window_and_what_is_not_finite_does_not_count():
    assert window_of(np.zeros((2, 2, 2), np.uint8)) is None
    assert window_of(np.full((2, 2, 2), np.nan)) is None
    assert window_of(np.array([[[np.inf, 1.0, 2.0]]]))[1] <= 2


def test_what_has_no_slices_is_refused():
    for volume, axis in (
        (np.zeros((3, 4)), 0),
        (np.zeros((3, 4, 5, 2)), 0),
        (np.zeros((3, 0, 5)), 0),
        (np.zeros((3, 4, 5)), 3),
    ):
        with pytest.raises(InputError):
            Planes(volume, axis)
