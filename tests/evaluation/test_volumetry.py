"""Volumes of label maps and their agreement over scans."""

from __future__ import annotations

import numpy as np
import pytest

from napari_synthseg.evaluation import compare_volumes, label_volumes
from napari_synthseg.evaluation.volumetry import relative_difference
from napari_synthseg.volume import Volume


def test_a_volume_is_voxels_times_voxel_size():
    labels = np.zeros((5, 5, 5), np.int16)
    labels[:2, 0, 0] = 17
    labels[0, 4, :3] = 53
    volume = Volume(labels, np.diag([-1.0, 0.5, 3.0, 1.0]))
    assert label_volumes(volume) == pytest.approx({17: 3.0, 53: 4.5})
    assert label_volumes(volume, [53, 60]) == pytest.approx({53: 4.5, 60: 0.0})


def test_agreement_over_scans():
    truth = [{17: 100.0, 53: 50.0}, {17: 200.0, 53: 50.0}, {17: 400.0, 53: 0.0}]
    pred = [{17: 110.0, 53: 40.0}, {17: 220.0, 53: 60.0}, {17: 440.0}]
    agreement = compare_volumes(pred, truth)
    assert agreement[17] == pytest.approx(
        {"scans": 3, "difference_percent": 10.0, "absolute_difference_percent": 10.0, "correlation": 1.0}
    )
    assert agreement[53]["scans"] == 2
    assert agreement[53]["difference_percent"] == pytest.approx(0)
    assert agreement[53]["absolute_difference_percent"] == pytest.approx(20)
    assert agreement[53]["correlation"] is None


def test_a_constant_volume_has_no_correlation():
    assert compare_volumes([{17: 1.0}] * 3, [{17: 2.0}] * 3)[17]["correlation"] is None


def test_lists_of_different_length_are_refused():
    with pytest.raises(ValueError, match="2 scans"):
        compare_volumes([{}, {}], [{}])


def test_relative_difference():
    assert relative_difference(90, 100) == pytest.approx(-10)
    assert relative_difference(90, 0) is None
