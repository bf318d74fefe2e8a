"""An image as the model sees it: sizes, positions, masks, windows."""

from __future__ import annotations

import numpy as np
import pytest

from napari_synthseg.errors import InputError
from napari_synthseg.prompting.decode import at_image_resolution
from napari_synthseg.prompting.encodings import Frame, to_rgb, to_tensor


@pytest.mark.parametrize("shape", [(512, 512), (100, 333), (2000, 7), (1, 1)])
def test_the_longer_side_fills_the_square(shape):
    frame = Frame(shape)
    assert max(frame.resized) == 1024
    assert to_tensor(np.zeros((*shape, 3), np.uint8), frame).shape == (1, 3, *frame.resized)


def test_it_resizes_and_moves_points_as_sam_does():
    from segment_anything.utils.transforms import ResizeLongestSide

    rgb = np.random.default_rng(0).integers(0, 255, (60, 91, 3), np.uint8)
    sam, frame = ResizeLongestSide(1024), Frame((60, 91))
    np.testing.assert_array_equal(to_tensor(rgb, frame)[0].permute(1, 2, 0).numpy(), sam.apply_image(rgb))
    xy = np.array([[3.0, 5.0], [90.0, 59.0]])
    np.testing.assert_allclose(frame.to_model(xy[:, ::-1]), sam.apply_coords(xy, (60, 91)), rtol=1e-6)


def test_things_are_seen_in_true_proportions():
    frame = Frame((50, 200), pixel=(5.0, 1.0))
    assert frame.resized == (1024, 819)
    assert frame.to_model(np.array([10.0, 50.0])).tolist() == pytest.approx([50 * 819 / 200, 10 * 1024 / 50])


def test_a_mask_goes_there_and_back():
    frame = Frame((150, 200))
    mask = np.zeros((150, 200), bool)
    mask[40:90, 60:130] = True
    back = at_image_resolution(frame.mask_to_model(mask)[0, 0], frame) > 0
    assert 2 * (mask & back).sum() / (mask.sum() + back.sum()) > 0.98


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.float32, np.float64, np.int64])
def test_other_numbers_are_windowed_to_black_and_white(dtype):
    image = np.arange(100 * 100).reshape(100, 100).astype(dtype)
    rgb = to_rgb(image)
    assert rgb.dtype == np.uint8
    assert (rgb[0, 0] == 0).all() and (rgb[-1, -1] == 255).all()
    assert abs(int(rgb[50, 0, 0]) - 127) <= 2


def test_a_window_can_be_given():
    rgb = to_rgb(np.array([[-1000.0, 0.0], [40.0, 80.0]]), window=(0, 80))
    assert rgb[..., 0].tolist() == [[0, 0], [128, 255]]


def test_what_is_not_finite_is_black():
    rgb = to_rgb(np.array([[np.nan, np.inf], [1.0, 2.0]]))
    assert (rgb[0] == 0).all() and rgb[1, 1, 0] == 255


@pytest.mark.parametrize("value", [0, 7.5, np.nan])
def test_an_image_without_contrast_has_none_afterwards(value):
    assert np.unique(to_rgb(np.full((5, 5), value, np.float32))).size == 1


def test_opacity_is_left_out():
    rgba = np.zeros((4, 4, 4), np.uint8)
    rgba[..., 3] = 255
    assert to_rgb(rgba).shape == (4, 4, 3) and not to_rgb(rgba).any()


@pytest.mark.parametrize("shape", [(3,), (4, 4, 4, 3), (4, 4, 2), (0, 5)])
def test_other_shapes_are_refused_in_a_sentence(shape):
    with pytest.raises(InputError, match="cannot be prompted"):
        to_rgb(np.zeros(shape))
