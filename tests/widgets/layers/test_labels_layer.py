"""Label maps have our colours, and hovering shows structure and volume."""

from __future__ import annotations

import numpy as np
from napari.components import ViewerModel
from napari.layers import Labels

from napari_synthseg import anatomy
from napari_synthseg.widgets.layers.labels_layer import (
    VOLUME,
    counted_volumes,
    label_colormap,
    label_features,
    labels_array,
    labels_kwargs,
)


def test_colours_are_those_of_the_table():
    colors = label_colormap()
    for value in (2, 17, 53):
        assert np.allclose(colors.map(value)[:3] * 255, anatomy.color(value), atol=0.51)
        assert colors.map(value)[3] == 1


def test_background_is_transparent_and_a_new_label_is_not():
    colors = label_colormap()
    assert colors.map(0)[3] == 0
    assert colors.map(1234)[3] == 1


def test_features_tie_values_to_names_and_volumes():
    table = label_features([17, 53], {17: 3912.34})
    assert list(table["index"]) == [0, 17, 53]
    assert list(table["name"]) == ["Background", "Left-Hippocampus", "Right-Hippocampus"]
    assert list(table["side"]) == ["", "left", "right"]
    assert table[VOLUME][1] == 3.912
    assert np.isnan(table[VOLUME][2])


def test_hovering_shows_structure_and_volume():
    data = np.zeros((4, 5, 6), np.uint16)
    data[2, 3, 4] = 17
    viewer = ViewerModel()
    layer = viewer.add_layer(Labels(data, **labels_kwargs([17], {17: 3912.34})))
    viewer.dims.set_current_step(0, 2)
    shown = layer.get_status((2, 3, 4), view_direction=None, dims_displayed=[1, 2], world=True)["value"]
    assert "Left-Hippocampus" in shown
    assert "3.91" in shown


def test_volumes_are_voxels_times_their_size():
    assert counted_volumes(np.array([0, 17, 17, 53]), 0.5) == {0: 0.5, 17: 1.0, 53: 0.5}


def test_label_arrays_have_room_for_new_labels():
    assert labels_array(np.array([[0, 60]], np.uint8)).dtype == np.uint16
    assert labels_array(np.array([[0, 70_000]])).dtype == np.int32
    assert labels_array(np.array([[0.0, 2.0]])).tolist() == [[0, 2]]
