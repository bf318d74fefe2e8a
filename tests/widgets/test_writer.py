"""Layers are saved in the voxel order and with the affine of the file they came from, value for value."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from napari.layers import Image, Layer

from napari_synthseg.errors import InputError
from napari_synthseg.files import read_volume
from napari_synthseg.volume import to_canonical
from napari_synthseg.widgets.geometry import copied_geometry
from napari_synthseg.widgets.labels_layer import labels_array
from napari_synthseg.widgets.reader import read_layers
from napari_synthseg.widgets.writer import write_image, write_labels
from tests.widgets.builders import AFFINES, half_labels, scan_layer, volume


@pytest.mark.parametrize("kind", AFFINES)
def test_an_image_comes_back_as_it_was(tmp_path, kind):
    nib.save(nib.Nifti1Image(volume(kind).data, AFFINES[kind]), tmp_path / "scan.nii.gz")
    array, kwargs, type_name = Layer.create(*read_layers(str(tmp_path / "scan.nii.gz"))[0]).as_layer_data_tuple()
    assert write_image(str(tmp_path / "saved.nii.gz"), array, kwargs) == [str(tmp_path / "saved.nii.gz")]
    before, after = read_volume(tmp_path / "scan.nii.gz"), read_volume(tmp_path / "saved.nii.gz")
    assert np.array_equal(after.data, before.data)
    assert np.array_equal(after.affine, before.affine)
    assert type_name == "image"


@pytest.mark.parametrize("kind", ["LIA", "oblique"])
def test_labels_made_on_a_scan_are_saved_on_its_grid(tmp_path, kind):
    expected = half_labels(volume(kind))
    image = scan_layer(kind)
    shown = labels_array(to_canonical(expected).data.transpose(2, 1, 0))
    layer = Layer.create(shown, copied_geometry(image), "labels")
    write_labels(str(tmp_path / "seg.nii.gz"), layer.data, layer.as_layer_data_tuple()[1])
    got = read_volume(tmp_path / "seg.nii.gz")
    assert np.array_equal(got.data, expected.data)
    np.testing.assert_allclose(got.affine, expected.affine, atol=1e-5)
    assert "Left-Hippocampus" in (tmp_path / "seg.tsv").read_text()


def test_what_is_no_scan_is_not_written(tmp_path):
    layer = Image(np.zeros((5, 6)))
    with pytest.raises(InputError, match="2D"):
        write_image(str(tmp_path / "flat.nii.gz"), layer.data, layer.as_layer_data_tuple()[1])
    assert list(tmp_path.iterdir()) == []
