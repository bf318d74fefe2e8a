from __future__ import annotations

import numpy as np
import pytest

from napari_synthseg.errors import InputError
from napari_synthseg.inference import preprocess
from napari_synthseg.volume import Volume
from tests.inference.fakes import ball_scan


def test_the_crop_holds_the_head_and_not_much_more():
    volume, labels = ball_scan()
    wide = Volume(np.pad(volume.data, 60), volume.affine)
    shape = np.array(preprocess.prepare(wide).image.shape)
    assert (shape >= 52).all() and (shape <= 52 + 2 * (preprocess.HEAD_MARGIN_MM + 4)).all()
    assert labels.any()


def test_noise_in_the_air_does_not_widen_the_crop(rng):
    volume, _ = ball_scan()
    wide = np.pad(volume.data, 40)
    wide += np.abs(rng.normal(0, 25, wide.shape)).astype(np.float32)
    shape = preprocess.prepare(Volume(wide, volume.affine)).image.shape
    assert max(shape) <= 52 + 2 * (preprocess.HEAD_MARGIN_MM + 4)


def test_ct_is_clipped_to_the_brain_window():
    volume, _ = ball_scan()
    hounsfield = Volume(volume.data * 4 - 1000, volume.affine)
    image = preprocess.prepare(hounsfield, ct=True).image
    assert image.min() == 0 and image.max() == 80


def test_voxels_that_are_not_finite_count_as_air():
    volume, _ = ball_scan()
    data = volume.data.copy()
    data[:2] = np.nan
    data[-1, -1] = np.inf
    assert np.isfinite(preprocess.prepare(Volume(data, volume.affine)).image).all()


def test_a_constant_image_is_refused_by_name():
    flat = Volume(np.full((8, 8, 8), 3.0), np.eye(4))
    with pytest.raises(InputError, match="scan.nii has the same value everywhere"):
        preprocess.prepare(flat, name="scan.nii")


@pytest.mark.parametrize(
    ("shape", "spacing", "text"),
    [
        ((40, 40, 1), 1.0, "single slice"),
        ((20, 20, 20), 0.039, "absurd spacing"),
        ((20, 20, 20), 20_000, "absurd spacing"),
        ((83, 113, 84), 18.0, "extends over 1.49 x 2.03 x 1.51 m"),
    ],
)
def test_what_is_no_head_is_refused_before_anything_is_resampled(shape, spacing, text):
    data = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    with pytest.raises(InputError, match=text):
        preprocess.check_scan(Volume(data, np.diag([spacing, spacing, spacing, 1])), "scan.nii")


def test_rescaling_clips_at_the_percentiles():
    image = np.arange(101, dtype=np.float32).reshape(101, 1, 1)
    out = preprocess.rescale(image, 10, 90)
    assert out.min() == 0 and out.max() == 1
    assert out[50, 0, 0] == pytest.approx(0.5)


def test_the_first_guess_is_below_the_top_and_ignores_the_neck():
    head = np.zeros((180, 200, 260), np.float32)
    x, y, z = np.meshgrid(*(np.arange(n) for n in head.shape), indexing="ij")
    head[((x - 90) / 75) ** 2 + ((y - 110) / 90) ** 2 + ((z - 150) / 100) ** 2 < 1] = 1
    head[(abs(x - 90) < 80) & (abs(y - 60) < 58) & (z < 20)] = 1
    head[(abs(x - 90) < 40) & (abs(y - 80) < 40) & (z < 80)] = 1
    guess = preprocess.brain_center(head)
    np.testing.assert_allclose(guess, [90, 110, 165], atol=6)


def test_the_1mm_grid_covers_the_whole_scan():
    volume, _ = ball_scan()
    affine = volume.affine.copy()
    affine[:3, :3] *= 0.8
    wide = Volume(np.pad(volume.data, ((30, 31), (20, 33), (40, 8))), affine)
    grid = preprocess.prepare(wide).working_grid()
    extent = np.array(wide.shape) * 0.8
    assert (np.abs(np.array(grid.shape) - extent) <= 2).all()
    first = wide.affine[:3, 3] - 0.4
    ours = grid.affine[:3, 3] - 0.5
    assert (np.abs(first - ours) <= 1).all()
