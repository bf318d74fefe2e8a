"""Files and sample data open as layers that lie where they are, with names and colors where they are label maps."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer, _layer_actions

from benchmarks.phantom import head_phantom
from napari_synthseg.errors import InputError
from napari_synthseg.io import LabelName, write_labels, write_volume
from napari_synthseg.volume import Volume, to_canonical
from napari_synthseg.widgets.layers import reader as samples
from napari_synthseg.widgets.layers.geometry import (
    MEASURED,
    METADATA_KEY,
    SOFT,
    VOXELS,
    layer_to_volume,
    volume_to_layer,
)
from napari_synthseg.widgets.layers.labels_layer import (
    QUALITY,
    VOLUME,
    label_features,
    labels_array,
    labels_kwargs,
)
from napari_synthseg.widgets.layers.reader import contrast_limits, get_reader
from napari_synthseg.widgets.layers.writer import save_labels
from tests.widgets.builders import AFFINES, half_labels, volume


def opened(path) -> list[Layer]:
    reader = get_reader(str(path))
    return [Layer.create(*data) for data in reader(str(path))]


def test_label_maps_open_as_labels_with_names_and_volumes(tmp_path):
    labels = half_labels(volume("thick", (12, 12, 12)))
    write_volume(tmp_path / "seg.nii.gz", labels)
    (layer,) = opened(tmp_path / "seg.nii.gz")
    assert isinstance(layer, Labels)
    row = layer.features[layer.features["index"] == 17].iloc[0]
    assert row["name"] == "Left-Hippocampus"
    assert row["volume (mL)"] == pytest.approx((labels.data == 17).sum() * 5 / 1000)


@pytest.mark.parametrize("wanted", ["image", "labels"])
def test_a_layer_that_was_taken_for_the_wrong_kind_is_converted_in_its_place(tmp_path, wanted):
    """By napari's own commands (a right click in the layer list)."""
    labels = half_labels(volume("thick", (12, 12, 12)))
    write_volume(tmp_path / "a.nii.gz", labels if wanted == "image" else volume("thick"))
    viewer = ViewerModel()
    (layer,) = opened(tmp_path / "a.nii.gz")
    viewer.add_layer(layer)
    before = layer_to_volume(layer)
    {"image": _layer_actions._convert_to_image, "labels": _layer_actions._convert_to_labels}[wanted](viewer.layers)
    made = viewer.layers[-1]
    after = layer_to_volume(made)
    assert made._type_string == wanted and np.array_equal(after.data, before.data.astype(int))
    assert np.array_equal(after.affine, before.affine)


def series(path, step=2.2, unit="sec", kind="LIA", **options) -> np.ndarray:
    data = np.stack([volume().data + 1000 * t for t in range(3)], axis=3)
    image = nib.Nifti1Image(data, AFFINES[kind], **options)
    image.header.set_xyzt_units("mm", unit)
    image.header["pixdim"][4] = step
    nib.save(image, path)
    return data


@pytest.mark.parametrize(("step", "unit", "seconds"), [(2.2, "sec", 2.2), (720, "msec", 0.72)])
def test_a_series_opens_with_a_time_axis_in_seconds(tmp_path, step, unit, seconds):
    data = series(tmp_path / "bold.nii.gz", step, unit)
    (layer,) = opened(tmp_path / "bold.nii.gz")
    assert layer.axis_labels == ("time", "S", "A", "R")
    assert [str(unit) for unit in layer.units] == ["second", *["millimeter"] * 3]
    assert layer.scale[0] == pytest.approx(seconds)
    viewer = ViewerModel()
    viewer.add_layer(layer)
    got = layer_to_volume(layer, step=1)
    expected = to_canonical(Volume(data[..., 1], AFFINES["LIA"]))
    assert np.array_equal(got.data, expected.data)
    assert np.array_equal(got.affine, expected.affine)


@pytest.mark.parametrize(("step", "unit"), [(1.0, "unknown"), (0.0, "sec")])
def test_a_series_without_repetition_time_counts_its_volumes(tmp_path, step, unit):
    series(tmp_path / "probseg.nii.gz", step, unit)
    (layer,) = opened(tmp_path / "probseg.nii.gz")
    assert str(layer.units[0]) == "pixel"
    assert layer.scale[0] == 1


def test_a_series_of_label_maps_opens_as_labels(tmp_path):
    labels = half_labels(volume("LIA", (12, 12, 12))).data
    nib.save(nib.Nifti1Image(np.stack([labels, np.roll(labels, 1, 0)], -1), AFFINES["LIA"]), tmp_path / "runs.nii.gz")
    (layer,) = opened(tmp_path / "runs.nii.gz")
    assert isinstance(layer, Labels)
    assert layer.data.shape[0] == 2


def test_an_empty_mask_opens_as_labels_to_paint_in(tmp_path):
    nib.save(nib.Nifti1Image(np.zeros((5, 6, 7), np.uint8), AFFINES["LAS"]), tmp_path / "lesions.nii.gz")
    (layer,) = opened(tmp_path / "lesions.nii.gz")
    assert isinstance(layer, Labels)
    assert not layer.data.any()


def test_values_that_are_not_finite_stay(tmp_path):
    """A statistical map is NaN outside the brain."""
    data = np.full((6, 6, 6), np.nan, np.float32)
    data[2, 2, 2], data[3, 3, 3] = 1.5, 4
    nib.save(nib.Nifti1Image(data, AFFINES["RAS"]), tmp_path / "zstat.nii.gz")
    (layer,) = opened(tmp_path / "zstat.nii.gz")
    assert np.isnan(layer.data).sum() == 214
    assert tuple(layer.contrast_limits) == pytest.approx((1.5, 4), abs=0.02)


def test_the_table_beside_a_label_file_names_and_colours_its_labels(tmp_path):
    write_labels(
        tmp_path / "atlas.nii.gz",
        half_labels(volume("thick", (12, 12, 12))),
        names={17: LabelName("Area 17", (1, 2, 3))},
    )
    (layer,) = opened(tmp_path / "atlas.nii.gz")
    named = layer.features.set_index("index")["name"]
    assert (named[17], named[53]) == ("Area 17", "Right-Hippocampus")
    assert np.allclose(layer.get_color(17)[:3], np.array([1, 2, 3]) / 255)


def test_files_of_different_grids_are_not_stacked(tmp_path):
    files = [str(tmp_path / "a.nii"), str(tmp_path / "b.nii")]
    for kind, file in zip(("RAS", "LIA"), files, strict=True):
        write_volume(file, volume(kind))
    with pytest.raises(InputError, match=r"b\.nii has another grid than a\.nii"):
        get_reader(files)(files)


def test_both_files_of_a_pair_are_one_scan(tmp_path):
    nib.save(nib.Nifti1Pair(volume().data, AFFINES["RAS"]), tmp_path / "a.hdr")
    files = [str(tmp_path / "a.hdr"), str(tmp_path / "a.img")]
    assert [kwargs["name"] for _, kwargs, _ in get_reader(files)(files)] == ["a"]


def test_what_is_not_ours_is_left_to_others(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "text.txt").write_text("no DICOM")
    assert get_reader("photo.png") is None
    assert get_reader(["a.nii", "photo.png"]) is None
    assert get_reader(str(tmp_path / "folder")) is None


def test_contrast_limits_leave_the_brightest_voxels_out():
    array = np.zeros((20, 20, 20), np.float32)
    array[5:15] = np.linspace(0, 100, 20)
    array[0, 0, 0] = 1e6
    low, high = contrast_limits(array)
    assert low == 0
    assert 90 <= high <= 110
    assert contrast_limits(np.ones((3, 3, 3))) is None


def labelled(volumes, quality=None) -> Labels:
    """Two hippocampi of 2048 voxels of 1 mm, with these volumes."""
    array, kwargs = volume_to_layer(half_labels(volume("LIA", (18, 18, 18))))
    return Labels(np.ascontiguousarray(array), **kwargs, **labels_kwargs(volumes, volumes, quality))


def saved_and_opened(layer: Layer, path) -> list[Layer]:
    save_labels(str(path), *layer.as_layer_data_tuple()[:2])
    return opened(path)


def test_soft_volumes_and_quality_come_back_and_saving_again_keeps_them(tmp_path):
    volumes, quality = {17: 2100.4, 53: 1990.0}, {17: 0.91, 53: 0.42}
    (again,) = saved_and_opened(labelled(volumes, quality), tmp_path / "a.nii.gz")
    assert list(again.features[VOLUME][1:]) == [2.1, 1.99] and list(again.features[QUALITY][1:]) == [0.91, 0.42]
    assert again.metadata[METADATA_KEY][MEASURED] == SOFT
    (third,) = saved_and_opened(again, tmp_path / "b.nii.gz")
    assert (tmp_path / "a.tsv").read_text() == (tmp_path / "b.tsv").read_text()
    assert list(third.features[VOLUME][1:]) == [2.1, 1.99]


def test_volumes_of_a_table_that_is_no_longer_of_these_labels_are_counted(tmp_path):
    (again,) = saved_and_opened(labelled({17: 90_000.0, 53: 10.0}), tmp_path / "a.nii.gz")
    assert list(again.features[VOLUME][1:]) == [2.048, 2.048]
    assert again.metadata[METADATA_KEY][MEASURED] == VOXELS


@pytest.fixture
def small_head(monkeypatch):
    monkeypatch.setattr(samples, "bundled_label_map", lambda: head_phantom(spacing=6.0))


def test_mni152_without_nilearn_says_what_to_install(monkeypatch):
    monkeypatch.setattr(samples.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install"):
        samples.mni152()


def test_the_bundled_label_map_is_a_whole_head():
    values = set(np.unique(samples.bundled_label_map().data[::2, ::2, ::2]))
    assert {2, 3, 41, 42, 17, 53, 16} <= values


def test_a_synthetic_head_is_an_image_with_its_labels_hidden(small_head):
    labels, image = [Layer.create(*data) for data in samples.synthetic_head(seed=3)]
    assert isinstance(image, Image)
    assert image.name == "Synthetic head 3"
    assert not labels.visible
    assert labels.data.shape == image.data.shape
    assert np.ptp(image.data) > 0


def test_features_tie_values_to_names_and_volumes():
    table = label_features([17, 53], {17: 3912.34})
    assert list(table["index"]) == [0, 17, 53]
    assert list(table["name"]) == ["Background", "Left-Hippocampus", "Right-Hippocampus"]
    assert list(table["side"]) == ["", "left", "right"]
    assert table[VOLUME][1] == 3.912
    assert np.isnan(table[VOLUME][2])


def test_label_arrays_have_room_for_new_labels():
    assert labels_array(np.array([[0, 60]], np.uint8)).dtype == np.uint16
    assert labels_array(np.array([[0, 70_000]])).dtype == np.int32
    assert labels_array(np.array([[0.0, 2.0]])).tolist() == [[0, 2]]
