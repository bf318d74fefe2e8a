"""Formats: known by content before name, and registered in one place."""

from __future__ import annotations

import gzip

import nibabel as nib
import numpy as np
import pytest

from napari_synthseg.errors import InputError
from napari_synthseg.io import formats, read_scans, read_volume, write_volume
from napari_synthseg.volume import Volume
from tests.io.builders import AFFINE, SHAPE, image_data, nifti


@pytest.mark.parametrize("name", ["a.nii", "a.mgh", "a.nrrd", "a.nii.gz", "a.mgz"])
@pytest.mark.parametrize("wrong", ["b.nii.gz", "b.mgz", "b.nrrd", "b.scan", "b", "b.nii", "b.mgh"])
def test_content_goes_before_the_name(tmp_path, name, wrong):
    write_volume(tmp_path / name, Volume(image_data(np.int16), AFFINE))
    (tmp_path / name).rename(tmp_path / wrong)
    assert np.array_equal(read_volume(tmp_path / wrong).data, image_data())


@pytest.mark.parametrize(
    "more", [b"junk", bytes(100), gzip.compress(b"another", mtime=0)], ids=["junk", "zeros", "part"]
)
def test_what_follows_a_packed_file_does_not_matter(tmp_path, more):
    path = nifti(tmp_path / "a.nii.gz")
    path.write_bytes(path.read_bytes() + more)
    assert np.array_equal(read_volume(path).data, image_data())


@pytest.mark.parametrize("shape", [(40, 30), (40, 30, 1), (40, 1, 30, 1, 5), (1, 40, 30)])
def test_slices_are_read(tmp_path, shape):
    data = image_data(np.int16, shape)
    nib.save(nib.Nifti1Image(data, np.diag([0.025, 0.025, 8, 1])), tmp_path / "a.nii.gz")
    (scan,) = read_scans(tmp_path / "a.nii.gz")
    assert scan.data.shape[:3] == (*shape, 1)[:3] and scan.count == (5 if len(shape) > 4 else 1)
    assert np.array_equal(read_volume(tmp_path / "a.nii.gz", index=0).data.ravel(), data[..., 0].ravel()
                          if len(shape) > 3 else data.ravel())  # fmt: skip


@pytest.mark.parametrize(
    ("start", "says"),
    [
        (b"BZh91AY", "packed by bzip2"),
        (b"\xfd7zXZ\0\0", "packed by xz"),
        (b"PK\x03\x04", "zip archive: unpack"),
        (gzip.compress(b"BZh", mtime=0), "packed"),
        (b"<!DOCTYPE HTML><p>Log in", "a web page"),
        (b"\r\n\n<html>", "a web page"),
        (b"\x89HDF\r\n", "HDF5"),
    ],
    ids=["bzip2", "xz", "zip", "twice", "html", "empty lines", "hdf5"],
)
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_what_is_no_scan_is_called_what_it_is(tmp_path, start, says, pack):
    (path := tmp_path / "a.nii.gz").write_bytes(pack(start + bytes(400)))
    with pytest.raises(InputError, match=says):
        read_volume(path)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_voxels_begin_behind_the_header_also_if_it_says_0(tmp_path, pack):
    path = nifti(tmp_path / "a.nii", vox_offset=0)
    path.write_bytes(pack(path.read_bytes()))
    assert np.array_equal(read_volume(path).data, image_data())


def test_a_pair_consists_of_two_files(tmp_path):
    nib.save(nib.Nifti1Pair(image_data(), AFFINE), tmp_path / "a.hdr")
    assert formats.files_of(tmp_path / "a.hdr") == [tmp_path / "a.hdr", tmp_path / "a.img"]
    assert read_volume(tmp_path / "a.img").shape == SHAPE
    (tmp_path / "a.img").unlink()
    with pytest.raises(InputError, match=r"a\.hdr is not whole, .*a\.img is missing"):
        read_volume(tmp_path / "a.hdr")
