"""The analytic head: complete, plausible, symmetric in its labels, the same head on every grid."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from scipy import ndimage

from benchmarks.phantom import FIELD_OF_VIEW_MM, dress, head_phantom, phantom_image
from napari_synthseg import anatomy


@cache
def head(spacing=1.0, seed=0):
    return head_phantom(spacing=spacing, seed=seed)


def sizes(volume):
    values, counts = np.unique(volume.data, return_counts=True)
    voxel = float(np.prod(volume.spacing))
    return dict(zip(values.tolist(), (counts * voxel).tolist(), strict=True))


def world_centers(volume, values):
    index = np.array(ndimage.center_of_mass(volume.data > 0, volume.data, values))
    return index @ volume.affine[:3, :3].T + volume.affine[:3, 3]


def test_it_holds_every_value_of_the_label_table_at_1_mm():
    assert set(np.unique(head().data).tolist()) == {s.value for s in anatomy.table()}


def test_it_covers_the_field_of_view():
    assert np.allclose(np.multiply(head().shape, head().spacing), FIELD_OF_VIEW_MM)
    faces = [np.take(head().data, end, axis) for axis, end in ((0, 0), (0, -1), (1, 0), (1, -1), (2, -1))]
    assert not any(face.any() for face in faces)


@pytest.mark.parametrize(
    ("value", "smallest", "largest"),
    [
        # mm^3 of adult brains, generously.
        (2, 170_000, 330_000), (3, 170_000, 330_000), (4, 5_000, 25_000), (7, 9_000, 22_000), (8, 40_000, 70_000),
        (10, 4_000, 10_000), (11, 2_000, 5_000), (12, 3_500, 7_000), (13, 1_000, 2_500), (14, 600, 2_500),
        (15, 1_000, 3_000), (16, 15_000, 30_000), (17, 2_500, 5_500), (18, 900, 2_400), (24, 200_000, 600_000),
        (26, 300, 900), (28, 2_500, 5_500),
    ],
)  # fmt: skip
def test_volumes_are_plausible(value, smallest, largest):
    for side in {value, anatomy.structure(value).contralateral}:
        assert smallest < sizes(head())[side] < largest


def test_sides_are_mirrored():
    paired = [s for s in anatomy.table() if s.side == "left"]
    left = world_centers(head(), [s.value for s in paired])
    right = world_centers(head(), [s.contralateral for s in paired])
    assert (left[:, 0] < -3).all()
    assert np.allclose(left * (-1, 1, 1), right, atol=8)


def test_the_same_seed_is_the_same_head_on_every_grid():
    coarse = head(4.0)
    # Voxel centers of the 4 mm grid fall between four 1 mm voxels: take one of the neighbors.
    index = np.round(np.indices(coarse.shape).reshape(3, -1).T * 4 + 1.5).astype(int)
    fine = head().data[tuple(index.T)].reshape(coarse.shape)
    assert (fine == coarse.data).mean() > 0.85
    assert np.array_equal(head_phantom(spacing=4.0).data, coarse.data)


def test_its_image_has_t1_contrast():
    labels = head(4.0)
    image = phantom_image(labels, noise=2.0)
    means = [image.data[labels.data == value].mean() for value in (24, 3, 2)]
    assert means == sorted(means)
    assert image.data[labels.data == 0].max() == 0
    assert np.array_equal(image.affine, labels.affine)


def test_a_brain_is_dressed_in_a_head():
    whole = head_phantom(spacing=4.0, deform=False)
    brain = whole.with_data(np.where(np.isin(whole.data, (2, 3, 41, 42)), whole.data, 0))
    outside = ndimage.distance_transform_edt(brain.data == 0, 4.0) - 4
    dressed = dress(brain, outside.astype(np.float32))
    assert np.array_equal(dressed.data[brain.data > 0], brain.data[brain.data > 0])
    assert {24, 506, 507, 511, 515, 516} <= set(np.unique(dressed.data).tolist())
    assert np.array_equal(dressed.affine, brain.affine)
