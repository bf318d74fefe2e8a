"""Scans lying in any way: labels come back to the scan's own voxels, in their place, and none is invented."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from napari_synthseg.errors import InputError
from napari_synthseg.inference.pipeline import segment
from napari_synthseg.volume import Volume
from tests.conftest import examples
from tests.test_volume import ORIENTATIONS

BRIGHT, DARK = 2, 41
"""FreeSurfer values (white matter, left and right) that the network below gives to the halves of the ball."""
RADIUS = 28.0  # mm


class Halves(nn.Module):
    """Tells the bright half of a ball from its dark half, and both from the air."""

    labels = (0, BRIGHT, DARK)

    def __init__(self) -> None:
        super().__init__()
        self.card = {"network": "unet", "name": "halves"}

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        levels = torch.tensor([0.0, 1.0, 0.5]).view(1, -1, 1, 1, 1)
        return (-((image - levels) ** 2) * 1000).softmax(1)


geometries = st.fixed_dictionaries(
    {
        "orientation": st.sampled_from(ORIENTATIONS),
        "spacing": st.tuples(*[st.floats(0.3, 9.0)] * 3).filter(lambda s: np.prod(s) > 0.1),
        "angles": st.tuples(*[st.floats(-0.6, 0.6)] * 3),
        "shears": st.tuples(*[st.floats(-0.1, 0.1)] * 3),
        "origin": st.tuples(*[st.floats(-150, 150)] * 3),
        "direction": st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda u: np.linalg.norm(u) > 0.3),
    }
)


def halved_ball(orientation, spacing, angles, shears, origin, direction) -> tuple[Volume, np.ndarray, np.ndarray]:
    """A scan of the ball, how far (mm) each voxel lies on its bright side, and how far inside the ball."""
    axes, signs = orientation
    matrix = np.zeros((3, 3))
    matrix[list(axes), range(3)] = np.multiply(signs, spacing)
    shear = np.eye(3)
    shear[[0, 0, 1], [1, 2, 2]] = shears
    matrix = nib.eulerangles.euler2mat(*angles) @ shear @ matrix
    shape = tuple(max(2, round(2.6 * RADIUS / step)) for step in np.linalg.norm(matrix, axis=0))
    middle = matrix @ (np.array(shape) - 1) / 2
    affine = nib.affines.from_matvec(matrix, np.array(origin) - middle)
    index = np.indices(shape).reshape(3, -1)
    place = (matrix @ index - middle[:, None]).T  # mm from the ball's middle
    u = np.array(direction) / np.linalg.norm(direction)
    bright, inside = (place @ u).reshape(shape), (RADIUS - np.linalg.norm(place, axis=1)).reshape(shape)
    image = np.where(inside > 0, np.where(bright > 0, 500.0, 250.0), 0.0).astype(np.float32)
    return Volume(image, affine), bright, inside


@given(geometries)
@settings(max_examples=examples(25), deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_labels_come_back_to_their_voxels(geometry):
    scan, bright, inside = halved_ball(**geometry)
    result = segment(scan, network=Halves(), flip=False)
    assert result.labels.shape == scan.shape
    np.testing.assert_array_equal(result.labels.affine, scan.affine)
    assert set(np.unique(result.labels.data)) <= {0, BRIGHT, DARK}
    half = np.sqrt(3) / 2  # of the network's voxels of 1 mm, from their middle to a corner
    sure = (inside > half + np.max(scan.spacing)) & (np.abs(bright) > half)
    expected = np.where(bright > 0, BRIGHT, DARK)
    wrong = (result.labels.data != expected)[sure]
    assert not wrong.any(), f"{wrong.sum()} of {wrong.size}"
    air = inside < -half - np.max(scan.spacing)
    assert (result.labels.data[air] == 0).all()


@pytest.mark.parametrize(
    "shape", [(1, 64, 64), (64, 1, 64), (64, 64, 1), (1, 1, 64), (1, 1, 1), (2, 2, 2), (512, 40, 3), (5, 512, 512)]
)
def test_sizes_from_one_voxel_to_many(shape):
    """Labels on the same voxels, or one sentence why there are none."""
    place = np.indices(shape).reshape(3, -1) - (np.array(shape)[:, None] - 1) / 2
    inside = np.linalg.norm(place, axis=0).reshape(shape) < 24
    image = np.where(inside, np.where(place[1].reshape(shape) > 0, 500.0, 250.0), 0.0).astype(np.float32)
    try:
        result = segment(Volume(image, np.eye(4)), network=Halves(), flip=False)
    except InputError as error:
        assert str(error).endswith(".") and "\n" not in str(error)
        assert min(shape) < 3
        return
    assert result.labels.shape == shape
    assert (result.labels.data[~inside] == 0).all()
