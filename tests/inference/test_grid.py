from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import torch

from napari_synthseg.inference.grid import OutputGrid, Reorientation, inside, interpolate, reorientations
from napari_synthseg.inference.posteriors import Posteriors
from napari_synthseg.volume import Volume, resample_image, resample_to, to_canonical


def odd_volume(rng, shape=(7, 8, 9)) -> Volume:
    affine = np.array([[0, 0, 1.5, 3], [-0.8, 0, 0, 10], [0, -1.1, 0, -4], [0, 0, 0, 1.0]])
    return Volume(rng.normal(size=shape), affine)


def test_there_are_24_different_rotations_and_no_reflection():
    every = reorientations()
    assert len(set(every)) == 24
    assert every[0].is_identity
    for turn in every:
        assert np.linalg.det(turn.affine(np.eye(4), (3, 4, 5))[:3, :3]) == pytest.approx(1)


@pytest.mark.parametrize("turn", reorientations())
def test_turned_voxels_keep_their_place(turn, rng):
    v = odd_volume(rng)
    turned = Volume(turn.apply(v.data), turn.affine(v.affine, v.shape))
    back, there = to_canonical(turned), to_canonical(v)
    np.testing.assert_array_equal(back.data, there.data)
    np.testing.assert_allclose(back.affine, there.affine)


@pytest.mark.parametrize("turn", [Reorientation(), *reorientations()[5:9]])
def test_labels_made_in_the_working_image_return_to_the_same_voxels(turn, rng):
    v = odd_volume(rng)
    working = to_canonical(v)
    grid = OutputGrid.between(working.affine, v.affine, v.shape).reoriented(turn, working.shape)
    array = turn.apply(working.data)
    index = [np.rint(grid.coordinates(axis)).astype(int) for axis in range(3)]
    out = grid.place(array[np.ix_(*index)], [slice(0, len(i)) for i in index], np.dtype(float))
    np.testing.assert_array_equal(out, v.data)


def test_resampled_grids_relate_by_spacing(rng):
    v = odd_volume(rng)
    working = to_canonical(resample_image(v, 1.0))
    grid = OutputGrid.between(working.affine, v.affine, v.shape)
    np.testing.assert_allclose(np.abs(grid.scale), v.spacing[list(grid.axes)])
    middle = np.array([grid.coordinates(axis)[1] for axis in range(3)])
    index = np.empty(3)
    index[list(grid.axes)] = 1
    world = v.affine[:3, :3] @ index + v.affine[:3, 3]
    np.testing.assert_allclose(working.affine[:3, :3] @ middle + working.affine[:3, 3], world, atol=1e-9)


def test_grids_that_are_not_parallel_are_refused():
    oblique = np.eye(4)
    oblique[:3, :3] = [[0.7, 0.7, 0], [0.7, -0.7, 0], [0.9, 0.1, 0.2]]
    with pytest.raises(ValueError, match="parallel"):
        OutputGrid.between(np.eye(4), oblique, (3, 3, 3))


def test_interpolation_is_linear_and_holds_the_ends():
    array = torch.tensor([[0.0, 10.0, 20.0]])
    out = interpolate(array, 1, np.array([-0.4, 0.5, 1.0, 2.4]))
    torch.testing.assert_close(out, torch.tensor([[0.0, 5.0, 10.0, 20.0]]))


def test_inside_finds_the_run_in_either_direction():
    assert inside(np.array([-2.0, -0.4, 1.0, 2.6]), 0, 3) == slice(1, 3)
    assert inside(np.array([9.0, 5.0, 2.0, 0.0, -3.0]), 0, 3) == slice(2, 4)
    assert inside(np.array([9.0]), 0, 3) == slice(0, 0)


# Posteriors on a grid


VALUES = (0, 2, 41, 17)


def soft(affine: np.ndarray, shape: tuple[int, int, int], start=(3, 2, 4)) -> tuple[Posteriors, np.ndarray]:
    """Random smooth posteriors in a box of a working image (identity affine), and their (K, 20, 20, 20) whole."""
    generator = torch.Generator().manual_seed(3)
    data = torch.randn(4, 5, 5, 5, generator=generator)
    data = torch.nn.functional.interpolate(data[None], size=(12, 13, 11), mode="trilinear")[0].mul(6).softmax(0).half()
    whole = np.zeros((4, 20, 20, 20), np.float32)
    whole[0] = 1
    box = tuple(slice(s, s + n) for s, n in zip(start, data.shape[1:], strict=True))
    whole[(slice(None), *box)] = data.float().numpy()
    return Posteriors(data, start, VALUES, OutputGrid.between(np.eye(4), affine, shape)), whole


def test_on_coinciding_voxels_labels_are_exact():
    affine = np.array([[0, 0, 1, 0], [-1, 0, 0, 19], [0, 1, 0, 0], [0, 0, 0, 1.0]])
    posteriors, whole = soft(affine, (20, 20, 20))
    expected = np.array(VALUES)[whole.argmax(0)]
    back = resample_to(Volume(expected, np.eye(4)), (20, 20, 20), affine, order=0)
    np.testing.assert_array_equal(posteriors.labels().data, back.data)


def test_elsewhere_they_are_the_argmax_of_interpolated_posteriors():
    affine = np.diag([-0.7, 0.9, 0.6, 1])
    affine[:3, 3] = (14.2, 3.1, 4.3)
    shape = (14, 12, 17)
    posteriors, whole = soft(affine, shape)
    inner = whole[:, 3:15, 2:15, 4:15]
    origin = np.eye(4)
    origin[:3, 3] = (3, 2, 4)
    sampled = np.stack([resample_to(Volume(one, origin), shape, affine, fill=-1).data for one in inner])
    expected = np.where(sampled[1] < 0, 0, np.array(VALUES)[sampled.argmax(0)])
    found = posteriors.labels().data
    assert np.mean(found != expected) < 1e-3
    assert (found > 0).any()


def test_channels_sum_to_one_everywhere():
    affine = np.diag([0.8, 0.8, 0.8, 1])
    posteriors, _ = soft(affine, (24, 24, 24))
    total = sum(posteriors.channel(value).data for value in VALUES)
    np.testing.assert_allclose(total, 1, atol=2e-3)
    with pytest.raises(ValueError, match="no posteriors of 99"):
        posteriors.channel(99)


@pytest.mark.parametrize("name", ["p.nii.gz", "p.nii"])
def test_written_posteriors_can_be_read(tmp_path, name):
    affine = np.diag([-0.8, 0.9, 0.8, 1])
    affine[:3, 3] = (15, 1, 2)
    posteriors, _ = soft(affine, (20, 18, 21))
    posteriors.write(tmp_path / name)
    image = nib.load(tmp_path / name)
    assert image.shape == posteriors.shape == (20, 18, 21, 4)
    np.testing.assert_allclose(image.affine, affine, atol=1e-6)
    for k, value in enumerate(VALUES):
        np.testing.assert_allclose(image.dataobj[..., k], posteriors.channel(value).data, atol=0.5 / 255 + 1e-6)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    posteriors, _ = soft(np.eye(4), (20, 20, 20))
    monkeypatch.setattr(Posteriors, "channel", lambda self, value: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        posteriors.write(tmp_path / "p.nii.gz")
    assert not list(tmp_path.iterdir())
