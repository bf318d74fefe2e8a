"""Standardized scans: size, place and intensities."""

from __future__ import annotations

import numpy as np
import pytest

from napari_synthseg.training.data.crops import standardize
from napari_synthseg.volume import Volume, resample_labels_to, resample_to
from tests.inference.fakes import ball_scan


def oblique(volume: Volume) -> Volume:
    """The same scan, stored with other axes and finer voxels along one of them."""
    data = np.repeat(volume.data, 2, axis=2)
    affine = volume.affine @ np.diag([1, 1, 0.5, 1])
    affine[:3, 3] += affine[:3, 2] * 0 - np.array([0, 0, 0.25])
    turned = data.transpose(2, 0, 1)[:, ::-1]
    swap = np.zeros((4, 4))
    swap[2, 0], swap[0, 1], swap[1, 2], swap[3, 3] = 1, -1, 1, 1
    swap[0, 3] = data.shape[0] - 1
    return Volume(np.ascontiguousarray(turned), affine @ swap)


def test_a_box_around_the_head_in_0_to_1() -> None:
    scan, labels = ball_scan()
    found = standardize(oblique(scan), field=80)
    assert found.data.shape == (80, 80, 80)
    assert found.data.min() == 0 and found.data.max() == 1
    np.testing.assert_allclose(np.abs(np.diag(found.affine)), 1)
    # The balls' middle, in the world, lies in the middle of the box.
    middle = np.linalg.solve(found.affine, scan.affine @ [27.5, 27.5, 27.5, 1])[:3]
    np.testing.assert_allclose(middle, 39.5, atol=3)


@pytest.mark.parametrize("spacing, least", [(1, 1.0), (2, 0.88)])
def test_labels_there_and_back(spacing, least) -> None:
    scan, labels = ball_scan()
    given = oblique(scan)
    truth = resample_labels_to(Volume(labels, scan.affine), given.shape, given.affine)
    found = standardize(given, field=80 // spacing, spacing=spacing)
    np.testing.assert_allclose(np.linalg.norm(found.affine[:3, :3], axis=0), spacing)
    there = resample_labels_to(truth, found.shape, found.affine)
    back = resample_labels_to(there, given.shape, given.affine)
    assert back.shape == given.shape
    np.testing.assert_allclose(back.affine, given.affine)
    inside = truth.data > 0
    assert (back.data[inside] == truth.data[inside]).mean() >= least
    assert (back.data[~inside] == 0).mean() >= least


def test_the_image_lies_where_the_labels_do() -> None:
    scan, labels = ball_scan()
    found = standardize(scan, field=64)
    there = resample_labels_to(Volume(labels, scan.affine), found.shape, found.affine).data
    means = {value: found.data[there == value].mean() for value in (2, 3, 24)}
    assert means[2] > 0.95 and abs(means[3] - 0.7) < 0.02 and abs(means[24] - 0.2) < 0.02
    np.testing.assert_allclose(resample_to(found, scan.shape, scan.affine).data, scan.data / scan.data.max(), atol=0.01)
