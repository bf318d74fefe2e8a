from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_synthseg.inference.grid import OutputGrid, Reorientation, inside, interpolate, reorientations
from napari_synthseg.volume import Volume, resample_image, to_canonical


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
