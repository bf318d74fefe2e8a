"""Every format gives the same volume; the right affine, the right one of several volumes, usable types."""

from __future__ import annotations

import bz2
import gzip
import logging

import nibabel as nib
import nrrd
import numpy as np
import pytest
from scipy import ndimage

from napari_synthseg.errors import InputError
from napari_synthseg.io import (
    is_label_like,
    read_labels,
    read_scans,
    read_volume,
    stem,
    suffix,
    write_exactly,
    write_labels,
    write_volume,
)
from napari_synthseg.io import scan as scan_module
from napari_synthseg.volume import Volume, same_grid
from tests.io.builders import AFFINE, image_data, nifti
from tests.shared_data import shared


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.mgz", "a.mgh", "a.nrrd"])
@pytest.mark.parametrize("dtype", [np.float32, np.uint8, np.int16])
def test_what_is_written_is_read(tmp_path, name, dtype):
    v = Volume(image_data(dtype), AFFINE)
    write_volume(tmp_path / name, v)
    out = read_volume(tmp_path / name)
    assert np.array_equal(out.data, v.data) and out.data.dtype == dtype and same_grid(out, v, tolerance=1e-5)


def test_upper_case_endings_are_known(tmp_path):
    path = nifti(tmp_path / "a.nii.gz")
    assert read_volume(path.rename(tmp_path / "A.NII.GZ")).shape == (6, 7, 8)


def test_scaled_integers_become_floats(tmp_path):
    image = nib.Nifti1Image(image_data(), AFFINE)
    image.header.set_data_dtype(np.int16)
    image.header.set_slope_inter(0.5, 10)
    nib.save(image, tmp_path / "a.nii")
    out = read_volume(tmp_path / "a.nii")
    assert out.data.dtype == np.float32 and np.allclose(out.data, 0.5 * image_data() + 10)


@pytest.mark.parametrize(
    ("stored", "expected"),
    [(">i2", np.int16), (">f4", np.float32), ("f8", np.float32), ("i8", np.int32), ("u4", np.int32), ("u2", np.uint16)],
)
def test_types_become_plain_ones(tmp_path, stored, expected):
    order = ">" if stored.startswith(">") else "<"
    header = nib.Nifti1Header(endianness=order)
    header.set_data_dtype(stored)
    nib.save(nib.Nifti1Image(image_data(stored), AFFINE, header), tmp_path / "a.nii")
    out = read_volume(tmp_path / "a.nii")
    assert out.data.dtype == expected and out.data.dtype.isnative and np.array_equal(out.data, image_data())


def test_data_can_be_changed_without_changing_the_file(tmp_path):
    path = nifti(tmp_path / "a.nii")
    read_volume(path).data[:] = 0
    assert read_volume(path).data.max() == 120


# Affines


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ({}, ""),
        ({"quatern_b": 0, "quatern_c": 0, "quatern_d": 0}, "a.nii has an sform and a qform that differ"),
        ({"qoffset_x": 500}, "a.nii has an sform and a qform that differ"),
        ({"sform_code": 0, "srow_x": [9, 9, 9, 9]}, ""),
    ],
    ids=["both", "another turn", "another place", "no sform"],
)
def test_the_sform_goes_first_and_a_qform_that_differs_is_reported(tmp_path, caplog, header, said):
    with caplog.at_level(logging.WARNING):
        assert np.allclose(read_volume(nifti(tmp_path / "a.nii", **header)).affine, AFFINE, atol=1e-5)
    assert said in caplog.text and bool(said) == bool(caplog.text)


@pytest.mark.parametrize(("code", "factor"), [(0, 1), (1, 1000), (2, 1), (3, 0.001)])
def test_units_of_length(tmp_path, code, factor):
    affine = np.diag([1, 1, 1, factor]) @ AFFINE / factor
    path = nifti(tmp_path / "a.nii", affine=affine, xyzt_units=code)
    assert np.allclose(read_volume(path).affine, AFFINE)


def write_nrrd(path, data, **header):
    nrrd.write(str(path), data, {"space": "left-posterior-superior", **header})
    return path


def test_nrrd_in_lps_turns_into_ras(tmp_path):
    path = write_nrrd(
        tmp_path / "a.nrrd", image_data(), **{"space directions": np.diag([1, 2, 3]), "space origin": [5, 6, 7]}
    )
    expected = [[-1, 0, 0, -5], [0, -2, 0, -6], [0, 0, 3, 7], [0, 0, 0, 1]]
    assert np.allclose(read_volume(path).affine, expected)


def test_nrrd_says_its_space(tmp_path):
    path = write_nrrd(
        tmp_path / "a.nrrd", image_data(), **{"space": "RAS", "space directions": np.eye(3), "space origin": [1, 2, 3]}
    )
    assert np.allclose(read_volume(path).affine[:3, 3], [1, 2, 3])


def test_nrrd_with_a_list_axis_needs_an_index(tmp_path):
    data = np.stack([image_data(), image_data() + 1000])
    directions = np.vstack([np.full(3, np.nan), np.eye(3)])
    path = write_nrrd(tmp_path / "a.nrrd", data, **{"space directions": directions, "space origin": [0, 0, 0]})
    with pytest.raises(InputError, match="2 volumes"):
        read_volume(path)
    assert np.array_equal(read_volume(path, index=1).data, image_data() + 1000)


@pytest.mark.parametrize("packer", [gzip, bz2])
@pytest.mark.parametrize(("lines", "skipped"), [(2, 0), (0, 7), (3, 5), (1, -1)])
@pytest.mark.parametrize("detached", [False, True])
def test_nrrd_skips_lines_of_what_is_packed_and_bytes_of_what_is_unpacked(tmp_path, packer, lines, skipped, detached):
    before = bytes(range(max(skipped, 13 * -skipped)))
    packed = b"a line\n" * lines + packer.compress(before + image_data(np.int16).tobytes("F"))
    header = (
        f"NRRD0004\ntype: short\nendian: little\ndimension: 3\nsizes: 6 7 8\nline skip: {lines}\n"
        f"byte skip: {skipped}\nencoding: {'gzip' if packer is gzip else 'bzip2'}\n"
        "space: RAS\nspace directions: (1,0,0) (0,1,0) (0,0,1)\n"
    )
    (tmp_path / "a.raw").write_bytes(packed)
    rest = b"data file: a.raw\n" if detached else b"\n" + packed
    (path := tmp_path / "a.nhdr").write_bytes(header.encode() + rest)
    assert np.array_equal(read_volume(path).data, image_data(np.int16))


# One of several volumes


def four_d(tmp_path):
    return nifti(tmp_path / "a.nii.gz", np.stack([image_data() + i for i in range(3)], axis=-1))


def test_the_chosen_volume_is_read(tmp_path):
    assert np.array_equal(read_volume(four_d(tmp_path), index=2).data, image_data() + 2)


@pytest.mark.parametrize("index", [3, -1])
def test_an_index_that_is_not_there(tmp_path, index):
    with pytest.raises(InputError, match=f"has no volume {index}: it holds volumes 0 to 2"):
        read_volume(four_d(tmp_path), index=index)


def test_axes_of_length_one_do_not_count(tmp_path):
    path = nifti(tmp_path / "a.nii", image_data()[..., None, None])
    assert read_volume(path).shape == (6, 7, 8) and read_volume(path, index=0).shape == (6, 7, 8)


def test_components_behind_an_axis_of_length_one(tmp_path):
    path = nifti(tmp_path / "a.nii", np.stack([image_data(), image_data() + 1], axis=-1)[:, :, :, None])
    assert np.array_equal(read_volume(path, index=1).data, image_data() + 1)


def test_a_thin_volume_is_a_volume(tmp_path):
    """The reference takes a last axis of up to 10 voxels for channels."""
    assert read_volume(nifti(tmp_path / "a.nii", image_data(shape=(30, 30, 2)))).shape == (30, 30, 2)


# Voxels


def test_a_few_non_finite_voxels_become_zero_with_a_warning(tmp_path, caplog):
    data = image_data()
    data[0, 0, :3] = np.nan, np.inf, -np.inf
    with caplog.at_level(logging.WARNING):
        out = read_volume(nifti(tmp_path / "a.nii", data))
    assert (out.data[0, 0, :3] == 0).all() and np.isfinite(out.data).all()
    assert "a.nii has NaN or infinity in 3 voxels" in caplog.text


def test_labels_may_be_all_background(tmp_path):
    path = nifti(tmp_path / "a.nii", np.zeros((4, 4, 4), np.uint8))
    assert read_labels(path).data.max() == 0


def test_labels_stored_as_floats_are_integers(tmp_path):
    out = read_labels(nifti(tmp_path / "a.nii", image_data(np.float64)))
    assert out.data.dtype == np.int32 and np.array_equal(out.data, image_data(np.int32))


def test_several_label_maps_in_a_file_are_refused_with_what_helps(tmp_path):
    path = nifti(tmp_path / "a.nii", np.stack([image_data(np.uint8)] * 2, -1))
    with pytest.raises(InputError, match=r"holds 2 volumes: give one label map"):
        read_labels(path)


def test_grey_values_are_no_labels(tmp_path):
    with pytest.raises(InputError, match=r"a\.nii is no label map"):
        read_labels(nifti(tmp_path / "a.nii", image_data() / 3))


# Labels or image


def boxes(dtype=np.uint8) -> Volume:
    data = np.zeros((24, 24, 24), dtype)
    data[4:12, 4:20, 4:20] = 17
    data[12:20, 4:20, 4:20] = 53
    return Volume(data, np.eye(4))


def ball(radius: int, size: int = 64) -> np.ndarray:
    """Distances from the middle of a cube, as a smooth image with structure inside a radius."""
    axes = np.meshgrid(*[np.arange(size) - size / 2 + 0.5] * 3, indexing="ij")
    r = np.sqrt(sum(axis**2 for axis in axes))
    return np.where(r < radius, 120 + 60 * np.sin(r / 3), 0)


RNG = np.random.default_rng(20230707)
INSIDE = boxes().data > 0
NOISE, HEAD = RNG.normal(100, 20, INSIDE.shape) * INSIDE, (ball(24) > 0) * (ball(24) + RNG.normal(0, 15, (64, 64, 64)))
SMOOTH = ndimage.gaussian_filter(ball(24), 4)
SPOTS, POINTS = np.zeros((10, 10, 128), np.float32), np.zeros((64, 64, 64), np.uint8)
SPOTS[4:6, 4:6, 65:67], POINTS[tuple(RNG.integers(0, 64, (3, 12)))] = 1, np.arange(1, 13)
LABELS = {
    "bytes": boxes().data,
    "whole numbers": boxes(np.int32).data,
    "whole numbers as floats": boxes(np.float32).data,
    "a mask": INSIDE,
    "a mask as 255 times 1/255, which need not be 1": INSIDE * np.nextafter(np.float32(1), np.float32(2)),
    "spots between the slices looked at": SPOTS,
    "numbered points": POINTS,
    "an atlas of many": np.kron(np.arange(216).reshape(6, 6, 6), np.ones((8, 8, 8), int)).astype(np.uint8),
    "without any background": boxes().data + 5,
}
IMAGES = {
    "noise": NOISE,
    "noise as bytes": np.clip(NOISE, 0, 255).astype(np.uint8),
    "noise around 0": (NOISE - 100).astype(np.int16),
    "small units": (RNG.random((8, 8, 8)) * 1e-9).astype(np.float32),
    **{f"air of {air}": (np.clip(HEAD, 0, None) + air).astype(np.uint16) for air in (24, 1000)},
    "few values in a head": np.where(HEAD > 0, RNG.integers(1, 12, HEAD.shape), 0).astype(np.uint8),
    "few values": RNG.integers(0, 7, HEAD.shape).astype(np.uint8),
    **{f"smooth, {n} levels": np.rint(SMOOTH * n / SMOOTH.max()).astype(np.uint8) for n in (10, 20, 60, 200)},
}


@pytest.mark.parametrize("name", LABELS)
def test_labels_look_like_labels(name):
    assert is_label_like(LABELS[name])


@pytest.mark.parametrize("name", IMAGES)
def test_images_do_not(name):
    assert not is_label_like(IMAGES[name])
    if name.startswith("smooth"):
        assert not is_label_like(IMAGES[name] * (255 // IMAGES[name].max()))


@pytest.mark.parametrize(("levels", "blur"), [(16, 0.5), (16, 1.5), (32, 1.5), (16, 0.0)])
def test_a_mask_with_soft_edges_is_no_label_map(levels, blur):
    mask = np.rint(ndimage.gaussian_filter(np.clip(ball(24), 0, 1), blur) * (levels - 1)).astype(np.uint8)
    for step in (1, 255 // (levels - 1)):
        assert is_label_like(mask * step) == (blur == 0)


def test_real_scans_and_labels_are_told_apart():
    folder = shared("data/real_t1/validation")
    assert not is_label_like(read_volume(folder / "1002_t1.nii.gz").data)
    assert is_label_like(read_volume(folder / "1002_labels.nii.gz").data)
    assert not is_label_like(read_volume(shared("data/scans/t1_crop.nii.gz")).data)


# Names


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("d/sub-01_T1w.nii.gz", ("sub-01_T1w", ".nii.gz")),
        ("A.NII", ("A", ".nii")),
        ("v1.2.mgz", ("v1.2", ".mgz")),
        ("x.y", ("x", ".y")),
        ("plain", ("plain", "")),
    ],
)
def test_names_and_endings(path, expected):
    assert (stem(path), suffix(path)) == expected


# All that is in a file


@pytest.mark.parametrize(
    ("stored", "expected"),
    [(">i2", "i2"), (">f4", "f4"), ("f8", "f8"), ("u4", "u4"), ("u2", "u2"), ("i8", "i8")],
)
def test_a_viewer_gets_the_values_of_the_file(tmp_path, stored, expected):
    header = nib.Nifti1Header(endianness=">" if stored.startswith(">") else "<")
    header.set_data_dtype(stored)
    data = image_data("f8") + (0.1 if "f" in stored else 0)
    nib.save(nib.Nifti1Image(data.astype(stored), AFFINE, header), tmp_path / "a.nii")
    (scan,) = read_scans(tmp_path / "a.nii")
    assert scan.data.dtype == np.dtype(expected) and np.array_equal(scan.data, data.astype(stored).astype(expected))


def test_nothing_is_changed_for_a_viewer(tmp_path):
    data = np.full((4, 5, 6), np.nan, np.float32)
    data[0, 0, 0] = np.inf
    (scan,) = read_scans(nifti(tmp_path / "a.nii", data))
    assert np.array_equal(scan.data, data, equal_nan=True)


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii", "a.mgz", "a.nrrd"])
@pytest.mark.parametrize("step", [0.72, None])
def test_a_series_is_read_as_it_was_written(tmp_path, name, step):
    data = np.stack([image_data(np.int16) + t for t in range(3)], axis=-1)
    write_exactly(tmp_path / name, data, AFFINE, step=step)
    (scan,) = read_scans(tmp_path / name)
    assert np.array_equal(scan.data, data) and scan.data.dtype == np.int16
    assert scan.step == (pytest.approx(step) if step else None)
    assert np.abs(scan.affine - AFFINE).max() < 1e-5


def test_a_long_series_gives_volumes_when_asked(tmp_path, monkeypatch):
    monkeypatch.setattr(scan_module, "MOST_AT_ONCE", 1000)
    (scan,) = read_scans(four_d(tmp_path))
    assert scan.data.shape == (6, 7, 8, 3)
    assert np.array_equal(scan.data.volume(2), image_data() + 2)


def test_coloured_nrrd_is_refused(tmp_path):
    data = np.stack([image_data(np.uint8)] * 3)
    directions = np.vstack([np.full(3, np.nan), np.eye(3)])
    kinds = ["RGB-color", "domain", "domain", "domain"]
    path = write_nrrd(tmp_path / "a.nrrd", data, **{"space directions": directions, "kinds": kinds})
    with pytest.raises(InputError, match="holds colors"):
        read_scans(path)


def test_the_header_says_that_voxels_are_labels(tmp_path):
    write_labels(tmp_path / "a.nii.gz", Volume(image_data(np.uint8), AFFINE))
    assert read_scans(tmp_path / "a.nii.gz")[0].is_labels
    assert not read_scans(nifti(tmp_path / "b.nii", image_data(np.uint8)))[0].is_labels
