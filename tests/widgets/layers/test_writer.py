"""Layers are saved in the voxel order and with the affine of the file they came from, value for value."""

from __future__ import annotations

import dask.array as da
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from napari.layers import Image, Labels, Layer

from napari_synthseg.io import read_volume
from napari_synthseg.volume import to_canonical
from napari_synthseg.widgets.layers.geometry import copied_geometry
from napari_synthseg.widgets.layers.labels_layer import labels_array
from napari_synthseg.widgets.layers.reader import read_layers
from napari_synthseg.widgets.layers.writer import SaveError, write_image, write_labels, write_layers
from tests.widgets.builders import AFFINES, half_labels, scan_layer, volume


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


def written(tmp_path, layer, name="out.nii.gz"):
    data, meta, kind = layer.as_layer_data_tuple()
    (write_image if kind == "image" else write_labels)(str(tmp_path / name), data, meta)
    return nib.load(tmp_path / name)


def opened(path):
    return [Layer.create(*data) for data in read_layers(str(path))]


@pytest.mark.parametrize(("sform", "qform"), [(4, 1), (0, 1), (2, 0)])
def test_forms_codes_and_units_stay_those_of_the_file(tmp_path, sform, qform):
    source = nib.Nifti1Image(volume().data, None)
    source.header.set_sform(AFFINES["oblique"], code=sform)
    source.header.set_qform(AFFINES["oblique LIA"], code=qform)
    source.header.set_xyzt_units("mm", "sec")
    source.header["descrip"] = b"TE=3"
    nib.save(source, tmp_path / "scan.nii")
    (layer,) = opened(tmp_path / "scan.nii")
    before, after = nib.load(tmp_path / "scan.nii").header, written(tmp_path, layer).header
    for name in ("sform_code", "qform_code", "xyzt_units", "descrip", "srow_x", "srow_z", "quatern_b", "qoffset_y"):
        assert np.array_equal(before[name], after[name]), name


def test_codes_stay_where_the_layer_was_moved(tmp_path):
    source = nib.Nifti1Image(volume().data, AFFINES["LIA"])
    source.set_sform(AFFINES["LIA"], code=4)
    nib.save(source, tmp_path / "scan.nii")
    (layer,) = opened(tmp_path / "scan.nii")
    layer.translate = layer.translate + np.array([3.0, 0, 0])
    header = written(tmp_path, layer).header
    assert (int(header["sform_code"]), int(header["qform_code"])) == (4, 4)
    expected = AFFINES["LIA"] + np.array([[0] * 4, [0] * 4, [0, 0, 0, 3], [0] * 4])
    np.testing.assert_allclose(header.get_sform(), expected, atol=1e-6)
    np.testing.assert_allclose(header.get_qform(), expected, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.float32, np.float64])
def test_types_stay_those_of_the_file(tmp_path, dtype):
    data = (volume("RAS", (12, 12, 12)).data % 251 + (0.1 if np.dtype(dtype).kind == "f" else 0)).astype(dtype)
    nib.save(nib.Nifti1Image(data, AFFINES["RAS"]), tmp_path / "scan.nii")
    (layer,) = opened(tmp_path / "scan.nii")
    out = written(tmp_path, layer)
    assert out.get_data_dtype() == dtype
    assert np.array_equal(np.asarray(out.dataobj), data)


def test_an_edited_label_map_keeps_type_and_grid(tmp_path):
    nib.save(nib.Nifti1Image(half_labels(volume("LIA")).data.astype(np.int32), AFFINES["LIA"]), tmp_path / "a.nii")
    (layer,) = opened(tmp_path / "a.nii")
    layer.data[2, 2, 2] = 999
    out = written(tmp_path, layer)
    assert out.get_data_dtype() == np.int32
    assert int((np.asarray(out.dataobj) == 999).sum()) == 1
    assert np.array_equal(out.affine, AFFINES["LIA"])
    assert "999" in (tmp_path / "out.tsv").read_text()


def test_labels_are_written_with_the_names_of_their_layer(tmp_path):
    layer = Labels(
        np.full((3, 4, 5), 7, np.uint8), features=pd.DataFrame({"index": [0, 7], "name": ["none", "My area"]})
    )
    written(tmp_path, layer)
    assert "7\tMy area\t#" in (tmp_path / "out.tsv").read_text()


@pytest.mark.parametrize(
    ("data", "options", "words"),
    [
        (np.zeros((5, 6, 7, 3), np.uint8), {"rgb": True}, "color"),
        (np.zeros((5, 6)), {}, "2D"),
        (np.zeros((2, 2, 2, 5, 6)), {}, "5 dimensions"),
        ([np.zeros((8, 8, 8)), np.zeros((4, 4, 4))], {"multiscale": True}, "multiscale"),
    ],
)
def test_what_has_no_file_is_refused_in_one_sentence(tmp_path, data, options, words):
    with pytest.raises(SaveError, match=words) as refusal:
        written(tmp_path, Image(data, name="odd", **options))
    assert "\n" not in str(refusal.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.filterwarnings("ignore:Non-orthogonal slicing")
@pytest.mark.parametrize(
    "geometry",
    [
        {"scale": (-1.0, -2.0, 3.0), "translate": (4.0, 5.0, 6.0)},
        {"scale": (1, 2, 3), "rotate": (10, 20, 30), "shear": (0.1, 0.2, 0.3), "translate": (1, 2, 3)},
        {"affine": [[0, 0, 2, 1], [0, 1, 0, 2], [1, 0, 0, 3], [0, 0, 0, 1]]},
        {"scale": (1e-3, 1e-3, 2e-3), "units": "m"},
    ],
)
def test_layers_of_other_readers_are_saved_where_they_lie(tmp_path, geometry):
    layer = Image(da.random.default_rng(0).random((4, 5, 6), chunks=2).persist(), **geometry)
    out = written(tmp_path, layer)
    for index in ((0, 0, 0), (3, 2, 1)):
        world = np.array(layer.data_to_world(index)) * (1000 if "units" in geometry else 1)
        np.testing.assert_allclose((out.affine @ [*index[::-1], 1])[:3], world[::-1], atol=1e-5)
        assert out.get_fdata()[index[::-1]] == np.asarray(layer.data[index])


def test_several_layers_are_saved_beside_each_other(tmp_path):
    labels = Labels(np.ones((7, 6, 5), np.uint8), name="seg: left/right")
    layers = [layer.as_layer_data_tuple() for layer in (scan_layer(name="T1"), labels, scan_layer(name="T1"))]
    paths = write_layers(str(tmp_path / "sub-01.nii.gz"), layers)
    assert [path.rpartition("/")[2] for path in paths] == [
        "sub-01_T1.nii.gz",
        "sub-01_seg_left_right.nii.gz",
        "sub-01_seg_left_right.tsv",
        "sub-01_T1_2.nii.gz",
    ]
    assert all(read_volume(path).shape for path in (paths[0], paths[3]))


def test_several_layers_replace_no_file_that_nobody_was_asked_about(tmp_path):
    layers = [scan_layer(name=name).as_layer_data_tuple() for name in ("T1", "T2")]
    (tmp_path / "sub-01_T2.nii.gz").write_text("precious")
    with pytest.raises(SaveError, match=r"sub-01_T2\.nii\.gz exists"):
        write_layers(str(tmp_path / "sub-01.nii.gz"), layers)
    assert [path.name for path in tmp_path.iterdir()] == ["sub-01_T2.nii.gz"]


def test_several_layers_are_saved_all_or_none(tmp_path):
    layers = [layer.as_layer_data_tuple() for layer in (scan_layer(), Image(np.zeros((5, 6)), name="flat"))]
    with pytest.raises(SaveError, match="flat"):
        write_layers(str(tmp_path / "sub-01.nii.gz"), layers)
    assert list(tmp_path.iterdir()) == []


def test_a_name_without_ending_becomes_nifti(tmp_path):
    data, meta, _ = scan_layer().as_layer_data_tuple()
    assert write_image(str(tmp_path / "sub-01.v1.2"), data, meta) == [str(tmp_path / "sub-01.v1.2.nii.gz")]
    with pytest.raises(SaveError, match="exists"):
        write_image(str(tmp_path / "sub-01.v1.2"), data, meta)
    with pytest.raises(SaveError, match="must end with one of"):
        write_image(str(tmp_path / "photo.png"), data, meta)
