"""Through the real viewer, by the manifest: a file that is opened and saved holds the same values and affine."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Labels
from napari.layers.utils.stack_utils import stack_to_images
from npe2 import PluginManifest

from napari_synthseg.io import read_scans, write_exactly
from napari_synthseg.io import scan as scan_module
from napari_synthseg.io.formats import nifti
from napari_synthseg.widgets.layers.writer import SaveError
from tests.widgets.builders import AFFINES, half_labels, volume

PLUGIN = "napari-synthseg"


@pytest.fixture
def viewer(npe2pm):
    """A viewer with no plugin but ours."""
    npe2pm.register(PluginManifest.from_distribution(PLUGIN))
    return ViewerModel()


def grey(kind: str, dtype=np.int16) -> np.ndarray:
    """Rough grey values, hardly any like its neighbour."""
    return (volume(kind).data * 37 % 211).astype(dtype)


def assert_same_file(before, after, tolerance: float = 0.0) -> None:
    (a,), (b,) = read_scans(before), read_scans(after)
    assert a.data.dtype == b.data.dtype
    assert np.array_equal(a.data, b.data)
    assert np.abs(a.affine - b.affine).max() <= tolerance
    assert a.step == b.step


@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".nrrd", ".mgz"])
@pytest.mark.parametrize("kind", AFFINES)
def test_an_image_comes_back_as_it_was(viewer, tmp_path, kind, ending):
    before, after = tmp_path / f"scan{ending}", tmp_path / f"saved{ending}"
    write_exactly(before, grey(kind), AFFINES[kind])
    (layer,) = viewer.open(before, plugin=PLUGIN)
    assert isinstance(layer, Image)
    assert viewer.layers.save(after, plugin=PLUGIN) == [str(after)]
    assert_same_file(before, after)


@pytest.mark.parametrize(
    ("kind", "ending"), [*((kind, ".nii.gz") for kind in AFFINES), ("LIA", ".mgz"), ("oblique", ".nrrd")]
)
def test_labels_come_back_as_they_were(viewer, tmp_path, kind, ending):
    before, after = tmp_path / f"seg{ending}", tmp_path / f"saved{ending}"
    write_exactly(before, half_labels(volume(kind)).data, AFFINES[kind])
    (layer,) = viewer.open(before, plugin=PLUGIN)
    assert isinstance(layer, Labels)
    assert layer.save(after, plugin=PLUGIN) == [str(after), str(tmp_path / "saved.tsv")]
    assert_same_file(before, after)


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mgz"])
@pytest.mark.parametrize("kind", ["RAS", "LIA", "oblique"])
def test_a_series_comes_back_as_it_was(viewer, tmp_path, kind, ending):
    before, after = tmp_path / f"bold{ending}", tmp_path / f"saved{ending}"
    data = np.stack([grey(kind) + t for t in range(4)], axis=-1)
    write_exactly(before, data, AFFINES[kind], step=0.72)
    (layer,) = viewer.open(before, plugin=PLUGIN)
    assert layer.data.shape[0] == 4
    assert layer.scale[0] == pytest.approx(0.72)
    layer.save(after, plugin=PLUGIN)
    assert_same_file(before, after)


def test_a_series_read_when_needed_comes_back_too(viewer, tmp_path, monkeypatch):
    monkeypatch.setattr(scan_module, "MOST_AT_ONCE", 0)
    data = np.stack([grey("LIA") + t for t in range(3)], axis=-1)
    write_exactly(tmp_path / "bold.nii", data, AFFINES["LIA"], step=2.0)
    (layer,) = viewer.open(tmp_path / "bold.nii", plugin=PLUGIN)
    assert not isinstance(layer.data, np.ndarray)
    layer.save(tmp_path / "bold.nii", plugin=PLUGIN)  # over itself
    (scan,) = read_scans(tmp_path / "bold.nii")
    assert np.array_equal(np.stack([scan.data.volume(t) for t in range(3)], -1), data)


@pytest.mark.parametrize("code", [1, 3])
def test_a_file_in_other_units_comes_back_as_it_was(viewer, tmp_path, code):
    factor = {1: 1000, 3: 0.001}[code]
    image = nib.Nifti1Image(grey("thick"), np.diag([1, 1, 1, factor]) @ AFFINES["thick"] / factor)
    image.header["xyzt_units"] = code
    nib.save(image, tmp_path / "scan.nii")
    (layer,) = viewer.open(tmp_path / "scan.nii", plugin=PLUGIN)
    np.testing.assert_allclose(layer.scale, [5, 1, 1], rtol=1e-6)
    layer.save(tmp_path / "saved.nii", plugin=PLUGIN)
    assert (tmp_path / "saved.nii").read_bytes()[40:348] == (tmp_path / "scan.nii").read_bytes()[40:348]


@pytest.mark.parametrize(("first", "second"), [(".nii.gz", ".nrrd"), (".nrrd", ".nii"), (".mgz", ".nii.gz")])
def test_a_scan_goes_from_format_to_format(viewer, tmp_path, first, second):
    write_exactly(tmp_path / f"scan{first}", grey("oblique LIA"), AFFINES["oblique LIA"])
    (layer,) = viewer.open(tmp_path / f"scan{first}", plugin=PLUGIN)
    layer.save(tmp_path / f"saved{second}", plugin=PLUGIN)
    assert_same_file(tmp_path / f"scan{first}", tmp_path / f"saved{second}", tolerance=1e-6)


def test_a_dicom_folder_becomes_nifti(viewer, tmp_path):
    pytest.importorskip("pydicom")
    from tests.io.test_dicom import series

    folder = series(tmp_path / "T1 1.2.840", step=(3.0, 0.0, 0.2))
    (layer,) = viewer.open(folder, plugin=PLUGIN)
    assert layer.name == "T1 1.2.840"
    layer.save(tmp_path / "saved.nii", plugin=PLUGIN)
    assert_same_file(folder, tmp_path / "saved.nii", tolerance=1e-6)


def test_files_opened_as_a_stack_are_saved_as_a_series(viewer, tmp_path):
    files = [tmp_path / f"{number}.nii" for number in range(3)]
    for number, file in enumerate(files):
        write_exactly(file, grey("LIA") + number, AFFINES["LIA"])
    (layer,) = viewer.open(files, stack=True, plugin=PLUGIN)
    layer.save(tmp_path / "saved.nii", plugin=PLUGIN)
    (scan,) = read_scans(tmp_path / "saved.nii")
    assert np.array_equal(scan.data, np.stack([grey("LIA") + t for t in range(3)], -1))
    assert np.array_equal(scan.affine, AFFINES["LIA"])


def test_one_volume_split_from_a_series_is_saved_where_it_lies(viewer, tmp_path):
    write_exactly(tmp_path / "bold.nii", np.stack([grey("oblique") + t for t in range(3)], -1), AFFINES["oblique"])
    (layer,) = viewer.open(tmp_path / "bold.nii", plugin=PLUGIN)
    last = stack_to_images(layer, 0)[-1]
    last.save(tmp_path / "saved.nii", plugin=PLUGIN)
    (scan,) = read_scans(tmp_path / "saved.nii")
    assert np.array_equal(scan.data, grey("oblique") + 2)
    np.testing.assert_allclose(scan.affine, AFFINES["oblique"], atol=1e-6)


@pytest.mark.filterwarnings("ignore:Non-orthogonal slicing")
def test_a_layer_turned_in_napari_is_saved_turned(viewer, tmp_path):
    write_exactly(tmp_path / "scan.nrrd", grey("LIA"), AFFINES["LIA"])
    (layer,) = viewer.open(tmp_path / "scan.nrrd", plugin=PLUGIN)
    layer.rotate = (5, -8, 12)
    layer.save(tmp_path / "saved.nrrd", plugin=PLUGIN)
    (scan,) = read_scans(tmp_path / "saved.nrrd")
    assert np.array_equal(scan.data, grey("LIA"))
    for place in ((0, 0, 0), (3, 2, 1)):
        index = [int(i) for i in np.argwhere(np.asarray(layer.data) == grey("LIA")[place])[0]]
        np.testing.assert_allclose((scan.affine @ [*place, 1])[:3], layer.data_to_world(index)[::-1], atol=1e-9)


def test_a_file_is_replaced_whole_or_not_at_all(viewer, tmp_path, monkeypatch):
    path = tmp_path / "scan.nii"
    write_exactly(path, grey("LAS"), AFFINES["LAS"])
    (layer,) = viewer.open(path, plugin=PLUGIN)
    before = path.read_bytes()
    layer.data = layer.data + 1

    def full(self, file, *_):
        file.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(nifti.NIfTI, "write", full)
        with pytest.raises(SaveError, match="No space left"):
            layer.save(path, plugin=PLUGIN)
    assert path.read_bytes() == before
    layer.save(path, plugin=PLUGIN)
    assert np.array_equal(read_scans(path)[0].data, grey("LAS") + 1)
    assert [file.name for file in tmp_path.iterdir()] == ["scan.nii"]
