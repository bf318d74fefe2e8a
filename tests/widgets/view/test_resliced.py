"""Oblique scans resliced along the patient's axes: two scans of one head overlay."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from napari.layers import Image, Labels, Layer
from scipy.ndimage import map_coordinates

from napari_synthseg.volume import Volume
from napari_synthseg.widgets.layers.geometry import layer_affine, layer_to_volume, volume_to_layer
from napari_synthseg.widgets.view.planes import Resliced, is_oblique, reslice
from tests.widgets.builders import scan_layer

SCANS = {
    "fine": ((0.3, -0.2, 0.15), (1.2, 1.1, 1.0), (60, 64, 70)),
    "thick": ((-0.2, 0.1, -0.25), (1.0, 1.3, 2.5), (70, 60, 30)),
}


def head(places: np.ndarray) -> np.ndarray:
    """Intensity of a smooth head that is not symmetric, at (3, N) RAS mm."""
    x, y, z = places
    return 100 * np.exp(-(((x - 5) / 20) ** 2) - ((y + 8) / 30) ** 2 - ((z - 3) / 15) ** 2)


def scanned(name: str) -> Volume:
    """A scan of the head on an oblique grid, its center at the origin."""
    angles, spacing, shape = SCANS[name]
    axes = nib.eulerangles.euler2mat(*angles) @ np.diag(spacing)
    affine = nib.affines.from_matvec(axes, -axes @ ((np.array(shape) - 1) / 2))
    places = axes @ np.indices(shape).reshape(3, -1) + affine[:3, 3:]
    return Volume(head(places).reshape(shape).astype(np.float32), affine)


def shown(name: str) -> Image:
    array, kwargs = volume_to_layer(scanned(name))
    return Image(np.ascontiguousarray(array), name=name, **kwargs)


def seen_at(layer: Layer, places: np.ndarray) -> np.ndarray:
    """What the layer shows at (N, 3) RAS mm."""
    index = np.array([layer.world_to_data(place[::-1]) for place in places])
    return map_coordinates(np.asarray(layer.data), index.T, order=1)


@pytest.mark.parametrize(("affine", "oblique"), [("RAS", False), ("LIA", False), ("thick", False), ("oblique", True),
                                                 ("oblique LIA", True)])  # fmt: skip
def test_which_layers_are_oblique(affine, oblique):
    assert is_oblique(scan_layer(affine)) is oblique


def test_two_scans_of_one_head_overlay_only_when_they_are_resliced():
    places = np.random.default_rng(0).uniform(-18, 18, (400, 3))
    truth = head(places.T)
    layers = [shown(name) for name in SCANS]
    assert all(np.abs(seen_at(layer, places) - truth).max() > 10 for layer in layers)
    for layer in map(reslice, layers):
        assert np.abs(seen_at(layer, places) - truth).max() < 1
        np.testing.assert_allclose(layer.scale, 1.0, atol=1e-6)


def test_the_scan_is_inside_and_its_geometry_exact():
    layer = shown("thick")
    made = reslice(layer)
    corners = layer_affine(layer) @ [[0, 69], [0, 59], [0, 29], [1, 1]]
    low, high = made.extent.world
    assert (low[::-1] - 0.01 <= corners[:3].T).all() and (high[::-1] + 0.01 >= corners[:3].T).all()
    volume = layer_to_volume(made)  # what another widget would take of it
    np.testing.assert_allclose(volume.affine[:3, :3], np.eye(3), atol=1e-6)
    assert not made.editable and not is_oblique(made)


def test_slices_are_those_of_the_whole_and_it_is_computed_in_parts(monkeypatch):
    scan = scanned("fine")
    array = Resliced(scan.data.transpose(2, 1, 0), scan.affine, 1)
    whole = np.asarray(array)
    assert whole.shape == array.shape and whole.dtype == array.dtype
    np.testing.assert_array_equal(array[40], whole[40])
    np.testing.assert_array_equal(array[:, 40], whole[:, 40])
    np.testing.assert_array_equal(array[10:20, :, 40], whole[10:20, :, 40])
    assert array[40, 41, 42] == whole[40, 41, 42]
    monkeypatch.setattr("napari_synthseg.widgets.view.planes.MOST_POINTS", 1000)
    np.testing.assert_array_equal(np.asarray(array), whole)


def test_labels_keep_their_values_and_follow_what_is_painted():
    volume = scanned("fine")
    array, kwargs = volume_to_layer(Volume((volume.data > 50).astype(np.uint8) * 17, volume.affine))
    labels = Labels(np.ascontiguousarray(array), name="labels", **kwargs)
    made = reslice(labels)
    assert set(np.unique(made.data[:])) == {0, 17}
    labels.paint((35, 32, 30), 53)
    assert 53 in np.asarray(made.data)
    labels.data = np.zeros_like(labels.data)
    assert not np.asarray(made.data).any()
