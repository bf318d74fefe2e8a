"""Broken and odd files: one `InputError` of one sentence that names the file, whatever is wrong with it."""

from __future__ import annotations

import gzip
import os
import struct

import nibabel as nib
import nrrd
import numpy as np
import pytest

from napari_synthseg.errors import InputError, printable
from napari_synthseg.io import checks, read_volume, write_volume
from napari_synthseg.volume import Volume
from tests.io.builders import AFFINE, image_data, nifti


def refusal(path) -> str:
    """The sentence with which reading is refused."""
    with pytest.raises(InputError) as caught:
        read_volume(path)
    message = str(caught.value)
    assert message.startswith(printable(str(path))) and message.endswith(".") and "\n" not in message
    assert ". " not in message.removeprefix(printable(str(path))), "one sentence"
    return message


def patched(tmp_path, **fields):
    return nifti(tmp_path / "scan.nii", **fields)


# Files


def test_missing(tmp_path):
    assert "does not exist" in refusal(tmp_path / "none.nii.gz")


def test_empty_file(tmp_path):
    path = tmp_path / "a.nii.gz"
    path.touch()
    assert "empty file" in refusal(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "scan.nii.gz")
    assert "pipe" in refusal(tmp_path / "scan.nii.gz")


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="there are no such devices")
@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".mgh", ".nrrd"])
def test_a_device_that_never_ends(tmp_path, ending):
    (tmp_path / f"scan{ending}").symlink_to("/dev/zero")
    assert "device" in refusal(tmp_path / f"scan{ending}")


def test_a_link_to_itself(tmp_path):
    (tmp_path / "scan.nii").symlink_to("scan.nii")
    assert "does not exist" in refusal(tmp_path / "scan.nii")


@pytest.mark.parametrize("name", ["x" * 300 + ".nii", "/".join(["y" * 200] * 30) + ".nii", "a\0b.nii"])
def test_names_that_no_file_can_have(tmp_path, name):
    assert "does not exist" in refusal(tmp_path / name)


@pytest.mark.parametrize("name", ["äö 脳 😀.nii.gz", "a b\tc.mgz", "-o.nii", "'$(x)`.nrrd", "z" * 240 + ".nii.gz"])
def test_names_of_any_letters(tmp_path, name):
    write_volume(tmp_path / name, Volume(image_data(np.int16), AFFINE))
    np.testing.assert_array_equal(read_volume(tmp_path / name).data, image_data(np.int16))


@pytest.mark.parametrize("name", ["a.txt", "a.nii.bz2", "noending"])
def test_unknown_ending(tmp_path, name):
    (tmp_path / name).write_text("x")
    assert "no known ending" in refusal(tmp_path / name)


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.9])
def test_truncated_gzip(tmp_path, keep):
    path = nifti(tmp_path / "a.nii.gz", np.random.default_rng(0).normal(size=(20, 20, 20)).astype(np.float32))
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
    assert "damaged or incomplete" in refusal(path)


@pytest.mark.parametrize("name", ["a.nii", "a.mgh", "a.mgz", "a.nrrd"])
def test_truncated(tmp_path, name):
    path = tmp_path / name
    write_volume(path, Volume(np.random.default_rng(0).normal(size=(20, 20, 20)).astype(np.float32), AFFINE))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert "damaged or incomplete" in refusal(path)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.mgz", "a.mgh", "a.nrrd", "a.hdr"])
def test_garbage(tmp_path, name):
    (tmp_path / name).write_bytes(bytes(range(256)) * 8)
    refusal(tmp_path / name)


def test_corrupted_gzip(tmp_path):
    path = nifti(tmp_path / "a.nii.gz", np.random.default_rng(0).normal(size=(20, 20, 20)).astype(np.float32))
    raw = bytearray(path.read_bytes())
    raw[2000:2400] = bytes(400)
    path.write_bytes(bytes(raw))
    refusal(path)


@pytest.mark.parametrize("text", ["version https://git-lfs.github.com/spec/v1\n", "/annex/objects/MD5E-s9--a.nii.gz\n"])
def test_a_pointer_is_no_file(tmp_path, text):
    (tmp_path / "a.nii.gz").write_text(text)
    assert "datalad get" in refusal(tmp_path / "a.nii.gz")


def test_a_link_to_nowhere(tmp_path):
    (tmp_path / "a.nii.gz").symlink_to(".git/annex/objects/x/y.nii.gz")
    assert "datalad get" in refusal(tmp_path / "a.nii.gz")


def test_a_small_file_that_claims_more_voxels_than_there_is_memory(tmp_path, monkeypatch):
    """Such as a packed file of zeros."""
    monkeypatch.setattr(checks, "free_host_memory", lambda: 1000)
    for name in ("a.nii.gz", "a.mgz", "a.nrrd"):
        write_volume(tmp_path / name, Volume(image_data(), AFFINE))
        assert "of memory" in refusal(tmp_path / name)


def test_a_header_that_claims_more_than_there_is(tmp_path):
    path = patched(tmp_path, dim=[3, 30000, 30000, 30000, 1, 1, 1, 1])
    assert "no scan has" in refusal(path)


# Affines


def test_no_affine(tmp_path):
    assert "left and right are unknown" in refusal(patched(tmp_path, sform_code=0, qform_code=0))


def test_a_singular_affine(tmp_path):
    assert "singular" in refusal(patched(tmp_path, srow_z=[-1, 0, 0, 0]))


def test_a_zero_affine(tmp_path):
    assert "spacing of 0 mm" in refusal(patched(tmp_path, srow_x=[0] * 4, srow_y=[0] * 4, srow_z=[0] * 4))


def test_a_non_finite_affine(tmp_path):
    assert "NaN or infinite" in refusal(patched(tmp_path, srow_x=[np.nan, 0, 0, 0]))


def test_a_non_finite_quaternion(tmp_path):
    refusal(patched(tmp_path, sform_code=0, quatern_b=np.nan))


def test_an_impossible_quaternion(tmp_path):
    refusal(patched(tmp_path, sform_code=0, quatern_b=3.0))


@pytest.mark.parametrize("size", [0.0, np.nan])
def test_a_voxel_size_of_zero(tmp_path, size):
    message = refusal(patched(tmp_path, pixdim=[1, 1, size, 1, 0, 0, 0, 0]))
    assert "spacing" in message


def test_analyze(tmp_path):
    image = nib.AnalyzeImage(image_data(), np.eye(4))
    nib.save(image, tmp_path / "a.hdr")
    assert "Analyze" in refusal(tmp_path / "a.hdr")


def test_mgh_without_orientation(tmp_path):
    path = tmp_path / "a.mgh"
    write_volume(path, Volume(image_data(), AFFINE))
    raw = bytearray(path.read_bytes())
    raw[28:30] = struct.pack(">h", 0)
    path.write_bytes(bytes(raw))
    assert "no orientation" in refusal(path)
    packed = tmp_path / "b.mgz"
    packed.write_bytes(gzip.compress(bytes(raw)))
    assert "no orientation" in refusal(packed)


@pytest.mark.parametrize(
    ("header", "text"),
    [
        ({}, "left and right are unknown"),
        ({"spacings": [1, 1, 1]}, "left and right are unknown"),
        ({"space dimension": 3, "space directions": np.eye(3)}, "left from right"),
        ({"space": "scanner-xyz", "space directions": np.eye(3)}, "left from right"),
        ({"space": "LPS", "space directions": np.zeros((3, 3))}, "spacing of 0 mm"),
    ],
)
def test_nrrd_without_a_place(tmp_path, header, text):
    nrrd.write(str(tmp_path / "a.nrrd"), image_data(), header)
    assert text in refusal(tmp_path / "a.nrrd")


def test_nrrd_whose_data_file_is_missing(tmp_path):
    path = tmp_path / "a.nhdr"
    nrrd.write(str(path), image_data(), {"space": "LPS", "space directions": np.eye(3)})
    next(p for p in tmp_path.iterdir() if p != path).unlink()
    refusal(path)


# Shapes


def test_too_many_dimensions(tmp_path):
    assert "5 dimensions" in refusal(nifti(tmp_path / "a.nii", image_data(shape=(6, 6, 6, 2, 2))))


@pytest.mark.parametrize("dim", [[3, 0, 5, 5, 1, 1, 1, 1], [3, -6, 7, 8, 1, 1, 1, 1], [9, 6, 7, 8, 1, 1, 1, 1]])
def test_impossible_dimensions(tmp_path, dim):
    refusal(patched(tmp_path, dim=dim))


# Voxels


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_all_or_most_voxels_non_finite(tmp_path, bad):
    data = image_data()
    data[:4] = bad
    assert "67% of its voxels" in refusal(nifti(tmp_path / "a.nii", data))
    data[:] = bad
    assert "100% of its voxels" in refusal(nifti(tmp_path / "b.nii", data))


@pytest.mark.parametrize("value", [0, 42])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_constant_image(tmp_path, value, dtype):
    message = refusal(nifti(tmp_path / "a.nii", np.full((6, 6, 6), value, dtype)))
    assert f"all its voxels are {value}" in message


def test_colors(tmp_path):
    data = np.zeros((4, 4, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    assert "colors" in refusal(nifti(tmp_path / "a.nii", data))


def test_complex_numbers(tmp_path):
    assert "complex" in refusal(nifti(tmp_path / "a.nii", image_data().astype(np.complex64)))


def test_errors_are_value_errors(tmp_path):
    with pytest.raises(ValueError, match="does not exist"):
        read_volume(tmp_path / "none.nii")


def test_a_header_without_its_voxels_is_no_bomb(tmp_path, monkeypatch):
    header, packed = tmp_path / "scan.nhdr", tmp_path / "scan.nii.gz"
    header.write_bytes(b"NRRD0004")
    packed.write_bytes(gzip.compress(b"\0" * 2000))
    monkeypatch.setattr(checks, "free_host_memory", lambda: None)  # not known on every system
    checks.check_shape(header, (1400, 1400, 1400))
    with pytest.raises(InputError, match="which no scan has"):
        checks.check_shape(packed, (1400, 1400, 1400))
