"""Volumes of label maps and their agreement over scans."""

from __future__ import annotations

import numpy as np
import pytest

from napari_synthseg.evaluation import asymmetries, asymmetry_index, compare_volumes, label_volumes
from napari_synthseg.evaluation.volumetry import side_pairs
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


def test_great_label_values_need_no_great_table():
    labels = np.zeros((4, 4, 4), np.int32)
    labels[0], labels[1, 0, 0] = 2_000_000_000, 17
    assert label_volumes(Volume(labels, np.eye(4))) == {17: 1.0, 2_000_000_000: 16.0}


def test_asymmetry_is_positive_where_the_left_is_larger():
    assert asymmetry_index(4.4, 3.6) == pytest.approx(20.0)
    assert asymmetry_index(3.6, 4.4) == pytest.approx(-20.0)
    assert asymmetry_index(0.0, 0.0) is None


def test_asymmetries_need_both_sides():
    volumes = {17: 4.4, 53: 3.6, 18: 1.0, 16: 20.0, 12: 0.0, 51: 0.0, 9_999: 1.0}
    assert asymmetries(volumes) == {17: pytest.approx(20.0)}
    assert side_pairs(volumes) == [(12, 51), (17, 53)]
