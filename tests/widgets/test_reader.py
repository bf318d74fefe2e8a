"""Files open as layers that lie where they are, with names and colours where they are label maps."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Labels, Layer

from napari_synthseg.files import write_volume
from napari_synthseg.volume import Volume, to_canonical
from napari_synthseg.widgets.geometry import layer_to_volume
from napari_synthseg.widgets.reader import contrast_limits, get_reader
from tests.widgets.builders import AFFINES, half_labels, volume


def opened(path) -> list[Layer]:
    reader = get_reader(str(path))
    return [Layer.create(*data) for data in reader(str(path))]


@pytest.mark.parametrize("kind", AFFINES)
def test_a_file_opens_where_it_lies(tmp_path, kind):
    nib.save(nib.Nifti1Image(volume(kind).data, AFFINES[kind]), tmp_path / "scan.nii.gz")
    (layer,) = opened(tmp_path / "scan.nii.gz")
    expected = to_canonical(volume(kind))
    got = layer_to_volume(layer)
    assert layer.name == "scan"
    assert np.array_equal(got.data, expected.data)
    np.testing.assert_allclose(got.affine, expected.affine, atol=1e-5)  # NIfTI keeps 32 bits


@pytest.mark.parametrize("name", ["scan.nii", "scan.mgz", "scan.nrrd"])
def test_other_formats_open_too(tmp_path, name):
    write_volume(tmp_path / name, volume("LAS"))
    (layer,) = opened(tmp_path / name)
    assert np.array_equal(layer_to_volume(layer).data, to_canonical(volume("LAS")).data)


def test_label_maps_open_as_labels_with_names_and_volumes(tmp_path):
    labels = half_labels(volume("thick", (12, 12, 12)))
    write_volume(tmp_path / "seg.nii.gz", labels)
    (layer,) = opened(tmp_path / "seg.nii.gz")
    assert isinstance(layer, Labels)
    row = layer.features[layer.features["index"] == 17].iloc[0]
    assert row["name"] == "Left-Hippocampus"
    assert row["volume (mL)"] == pytest.approx((labels.data == 17).sum() * 5 / 1000)


def test_a_series_opens_as_a_stack_read_when_needed(tmp_path):
    data = np.stack([volume().data, volume().data + 1000], axis=3)
    nib.save(nib.Nifti1Image(data, AFFINES["LIA"]), tmp_path / "bold.nii.gz")
    (layer,) = opened(tmp_path / "bold.nii.gz")
    assert layer.data.shape[0] == 2
    assert not isinstance(layer.data, np.ndarray)
    viewer = ViewerModel()
    viewer.add_layer(layer)
    got = layer_to_volume(layer, step=1)
    expected = to_canonical(Volume(data[..., 1], AFFINES["LIA"]))
    assert np.array_equal(got.data, expected.data)
    assert np.array_equal(got.affine, expected.affine)


def test_several_files_give_several_layers(tmp_path):
    files = [str(tmp_path / "a.nii"), str(tmp_path / "b.nii")]
    for file in files:
        write_volume(file, volume())
    assert [kwargs["name"] for _, kwargs, _ in get_reader(files)(files)] == ["a", "b"]


def test_what_is_not_ours_is_left_to_others(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "text.txt").write_text("no DICOM")
    assert get_reader("photo.png") is None
    assert get_reader(["a.nii", "photo.png"]) is None
    assert get_reader(str(tmp_path / "folder")) is None


def test_a_folder_with_dicom_files_is_ours(tmp_path):
    (tmp_path / "1").write_bytes(bytes(128) + b"DICM")
    assert get_reader(str(tmp_path)) is not None


def test_contrast_limits_leave_the_brightest_voxels_out():
    array = np.zeros((20, 20, 20), np.float32)
    array[5:15] = np.linspace(0, 100, 20)
    array[0, 0, 0] = 1e6
    low, high = contrast_limits(array)
    assert low == 0
    assert 90 <= high <= 110
    assert contrast_limits(np.ones((3, 3, 3))) is None
