"""Writing: whole or not at all, the affine in both forms, labels small and with their table."""

from __future__ import annotations

import errno
import gzip

import nibabel as nib
import numpy as np
import pytest

from napari_synthseg import anatomy
from napari_synthseg.atomic_io import NotWritten, placed
from napari_synthseg.errors import InputError
from napari_synthseg.io import (
    LabelName,
    read_label_table,
    read_labels,
    read_scans,
    read_volume,
    write_exactly,
    write_labels,
    write_volume,
)
from napari_synthseg.io.formats.nifti import NIfTI
from napari_synthseg.io.labels import read_label_names
from napari_synthseg.volume import Volume
from tests.io.builders import AFFINE, image_data

SHEARED = AFFINE + 0.3 * np.outer(np.eye(4)[0], np.eye(4)[1])


def labels(values=(0, 17, 53), dtype=np.int32) -> Volume:
    return Volume(np.resize(np.array(values, dtype), (4, 5, 6)), AFFINE)


def test_both_forms_say_the_same(tmp_path):
    write_volume(tmp_path / "a.nii.gz", Volume(image_data(), AFFINE))
    header = nib.load(tmp_path / "a.nii.gz").header
    assert (int(header["sform_code"]), int(header["qform_code"])) == (1, 1)
    assert np.allclose(header.get_sform(), AFFINE) and np.allclose(header.get_qform(), AFFINE, atol=1e-5)
    assert header.get_xyzt_units()[0] == "mm"


def test_a_sheared_grid_has_no_qform(tmp_path):
    write_volume(tmp_path / "a.nii", Volume(image_data(), SHEARED))
    assert int(nib.load(tmp_path / "a.nii").header["qform_code"]) == 0
    assert np.allclose(read_volume(tmp_path / "a.nii").affine, SHEARED)


def test_an_mgh_file_whose_axes_are_askew_is_given_back_as_it_was(tmp_path):
    askew = np.array([[1, 0.3, 0, -5], [0, 1, 0, 2], [0, 0, 2, 7], [0, 0, 0, 1.0]])
    nib.save(nib.MGHImage(image_data(), askew), tmp_path / "a.mgh")
    (scan,) = read_scans(tmp_path / "a.mgh")
    write_exactly(tmp_path / "b.mgh", np.asarray(scan.data), scan.affine, header=scan.header)
    assert np.allclose(nib.load(tmp_path / "b.mgh").affine, askew, atol=1e-5)


@pytest.mark.parametrize(
    ("dtype", "expected"), [(np.float64, "f4"), (np.float16, "f4"), (np.int64, "u1"), (bool, "u1"), (np.uint16, "u2")]
)
def test_types_in_the_file(tmp_path, dtype, expected):
    write_volume(tmp_path / "a.nii", Volume(image_data().astype(dtype), AFFINE))
    assert nib.load(tmp_path / "a.nii").get_data_dtype() == np.dtype(expected)


def test_a_chosen_type_is_rounded_to(tmp_path):
    write_volume(tmp_path / "a.nii", Volume(image_data() + 0.6, AFFINE), dtype=np.int16)
    assert np.array_equal(read_volume(tmp_path / "a.nii").data, image_data(np.int16) + 1)


@pytest.mark.parametrize(
    ("write", "name", "says"),
    [
        (lambda path: write_volume(path, Volume(image_data(), SHEARED)), "a.mgz", "sheared"),
        (lambda path: write_volume(path, Volume(image_data() * 10, AFFINE), dtype=np.uint8), "a.nii", "a.nii was not"),
        (lambda path: write_volume(path, Volume(image_data(), AFFINE)), "a.png", "must end with one of"),
        (lambda path: write_exactly(path, image_data(complex), AFFINE), "a.nii", "complex"),
        (lambda path: write_labels(path, labels((0, -1), np.float32)), "a.nii", "negative"),
        (lambda path: write_labels(path, labels((0, 0.5), np.float32)), "a.nii", "whole"),
    ],
)
def test_what_does_not_fit_is_refused_and_leaves_nothing(tmp_path, write, name, says):
    with pytest.raises(InputError, match=says):
        write(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_folders_are_made_where_they_can_be(tmp_path):
    write_volume(tmp_path / "b" / "c" / "a.nii", Volume(image_data(), AFFINE))
    assert (tmp_path / "b" / "c" / "a.nii").is_file()
    with pytest.raises(InputError, match="cannot be written"):
        write_volume(tmp_path / "b" / "c" / "a.nii" / "a.nii", Volume(image_data(), AFFINE))


def test_an_error_of_another_file_is_not_said_of_the_one_that_is_written(tmp_path):
    path = tmp_path / "new" / "a.txt"
    with pytest.raises(FileNotFoundError, match="other.txt"), placed(path):
        (tmp_path / "new" / "other.txt").read_text()
    with pytest.raises(gzip.BadGzipFile), placed(path):
        gzip.decompress(b"no such thing")
    for reason in (OSError(errno.ENOSPC, "No space left"), OSError("encoder error -2")):
        with pytest.raises(NotWritten, match="a.txt cannot be written"), placed(path):
            raise reason
    with pytest.raises(NotWritten, match="a.txt cannot be written"), placed(path) as part:
        (part / "x").write_text("there is no such folder")
    assert not list(path.parent.iterdir())


def test_a_folder_of_that_name_is_not_replaced(tmp_path):
    (tmp_path / "a.nii").mkdir()
    with pytest.raises(InputError, match="cannot be written"):
        write_volume(tmp_path / "a.nii", Volume(image_data(), AFFINE))
    assert [p.name for p in tmp_path.iterdir()] == ["a.nii"]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "a.nii"
    write_volume(path, Volume(image_data(), AFFINE))
    before = path.read_bytes()

    def half(self, file, *_):
        file.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(NIfTI, "write", half)
    with pytest.raises(InputError, match="No space left on device"):
        write_labels(path, labels())
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["a.nii"]


# Labels


@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".mgz", ".nrrd"])
@pytest.mark.parametrize(("values", "expected"), [((0, 17), "u1"), ((0, 530), "i2"), ((0, 100000), "i4")])
def test_labels_in_the_smallest_type(tmp_path, ending, values, expected):
    path = tmp_path / f"sub-01_dseg{ending}"
    write_labels(path, labels(values))
    out = read_labels(path)
    assert out.data.dtype == np.dtype(expected) and np.array_equal(out.data, labels(values).data)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([path.name, "sub-01_dseg.tsv"])


def test_the_table_beside_labels(tmp_path):
    write_labels(tmp_path / "a.nii.gz", labels((0, 53, 17, 251)))
    rows = (tmp_path / "a.tsv").read_text().splitlines()
    assert rows[0] == "index\tname\tcolor"
    assert rows[1] == "17\tLeft-Hippocampus\t#dcd814"
    assert [row.split("\t")[0] for row in rows[1:]] == ["17", "53", "251"]
    assert all(len(row.split("\t")) == 3 for row in rows)


def test_every_known_label_has_its_row(tmp_path):
    write_labels(tmp_path / "a.nii", labels([s.value for s in anatomy.table()]))
    assert len((tmp_path / "a.tsv").read_text().splitlines()) == len(anatomy.table())


def test_names_and_colours_of_ones_own(tmp_path):
    names = {17: LabelName("My\tarea", (1, 2, 255))}
    write_labels(tmp_path / "a.nii.gz", labels(), names=names)
    assert read_label_table(tmp_path / "a.nii.gz")[17] == LabelName("My area", (1, 2, 255))
    assert read_label_table(tmp_path / "a.nii.gz")[53].name == "Right-Hippocampus"


@pytest.mark.parametrize("text", ["", "age\tsex\n7\tF\n", "index\tname\nx\ty\n", "\x00\xff"])
def test_a_table_that_is_none_names_nothing(tmp_path, text):
    (tmp_path / "a.tsv").write_text(text, encoding="latin-1")
    assert read_label_table(tmp_path / "a.nii.gz") == {}


# Exactly


@pytest.mark.parametrize(
    ("dtype", "ending", "expected"),
    [
        (np.float64, ".nii", "f8"),
        (np.float64, ".nrrd", "f8"),
        (np.float64, ".mgz", "f4"),
        (np.float16, ".nii", "f4"),
        (np.uint16, ".mgz", "u1"),
        (np.uint32, ".nii", "u4"),
        (np.int64, ".nii", "u1"),
        (bool, ".nii", "u1"),
    ],
)
def test_types_that_hold_every_value(tmp_path, dtype, ending, expected):
    path = tmp_path / f"a{ending}"
    write_exactly(path, image_data().astype(dtype), AFFINE)
    out = read_scans(path)[0].data
    assert out.dtype == np.dtype(expected) and np.array_equal(out, image_data().astype(dtype))


def test_whole_numbers_of_64_bits_stay(tmp_path):
    data = image_data(np.int64) * 2**40
    write_exactly(tmp_path / "a.nii", data, AFFINE)
    assert np.array_equal(read_scans(tmp_path / "a.nii")[0].data, data)


@pytest.mark.parametrize("ending", [".nii", ".mgz"])
def test_a_file_written_with_its_header_has_the_same_affine_to_the_bit(tmp_path, ending):
    turn = nib.eulerangles.euler2mat(0.1, -0.2, 0.15)
    affine = nib.affines.from_matvec(turn @ np.diag([0.9, 1.1, 2.0]), [-101.123, 77.7, -35.31])
    write_exactly(tmp_path / f"a{ending}", image_data(), affine)
    (scan,) = read_scans(tmp_path / f"a{ending}")
    write_exactly(tmp_path / f"b{ending}", scan.data, scan.affine, header=scan.header)
    assert np.array_equal(read_scans(tmp_path / f"b{ending}")[0].affine, scan.affine)


def test_a_repetition_time_in_milliseconds_stays_in_milliseconds(tmp_path):
    image = nib.Nifti1Image(np.stack([image_data()] * 2, -1), AFFINE)
    image.header.set_xyzt_units("mm", "msec")
    image.header["pixdim"][4] = 720
    nib.save(image, tmp_path / "a.nii")
    (scan,) = read_scans(tmp_path / "a.nii")
    write_exactly(tmp_path / "b.nii", scan.data, scan.affine, step=scan.step, header=scan.header)
    header = nib.load(tmp_path / "b.nii").header
    assert header.get_xyzt_units() == ("mm", "msec") and header["pixdim"][4] == 720


def test_nifti_2_stays_nifti_2(tmp_path):
    nib.save(nib.Nifti2Image(image_data(), AFFINE), tmp_path / "a.nii")
    (scan,) = read_scans(tmp_path / "a.nii")
    write_exactly(tmp_path / "b.nii", scan.data, scan.affine, header=scan.header)
    assert isinstance(nib.load(tmp_path / "b.nii"), nib.Nifti2Image)


def test_labels_on_the_grid_of_a_scan_keep_its_space_but_not_its_display_range(tmp_path):
    image = nib.Nifti1Image(image_data(), None)
    image.header.set_sform(AFFINE, code=4)
    image.header["cal_max"] = 500
    nib.save(image, tmp_path / "a.nii")
    (scan,) = read_scans(tmp_path / "a.nii")
    write_labels(tmp_path / "b.nii", Volume(image_data(np.uint8), scan.affine), header=scan.header)
    header = nib.load(tmp_path / "b.nii").header
    assert (int(header["sform_code"]), float(header["cal_max"])) == (4, 0)


# Names of labels from the files of other programs


FORMS = {
    "plain.txt": "# MMWHS\n0 background\n500 left ventricle\n205, myocardium\n",
    "freesurfer.txt": "#No. Name R G B A\n0 Unknown 0 0 0 0\n500 left-ventricle 10 20 30 0\n205 myocardium 1 2 3 0\n",
    "snap.label": '# ITK-SNAP\n0 0 0 0 0 0 0 "Clear Label"\n500 10 20 30 1 1 1 "left ventricle"\n'
    '205 1 2 3 0.5 1 1 "myocardium"\n',
    "bids.tsv": "index\tname\tcolor\n500\tleft ventricle\t#0a141e\n205\tmyocardium\t#010203\n",
    "a.json": '{"500": "left ventricle", "205": "myocardium"}',
    "dataset.json": '{"name": "x", "labels": {"background": 0, "left ventricle": 500, "myocardium": 205}}',
    "decathlon.json": '{"labels": {"0": "background", "500": "left ventricle", "205": "myocardium"}}',
}


@pytest.mark.parametrize("name", FORMS)
def test_names_are_read(name, tmp_path) -> None:
    path = tmp_path / name
    path.write_text(FORMS[name])
    found = read_label_names(path)
    assert {v: n.name.replace("-", " ") for v, n in found.items()} == {205: "myocardium", 500: "left ventricle"}
    colored = name in ("freesurfer.txt", "snap.label", "bids.tsv")
    assert found[500].color == ((10, 20, 30) if colored else None)
    assert isinstance(found[205], LabelName)


@pytest.mark.parametrize("text, words", [("hello\n", "names no label"), ("", "names no label")])
def test_files_without_names_are_refused(text, words, tmp_path) -> None:
    path = tmp_path / "names.txt"
    path.write_text(text)
    with pytest.raises(InputError, match=words):
        read_label_names(path)


@pytest.mark.parametrize("text", ["[1, 2]", "{broken"])
def test_broken_json_is_one_sentence(text, tmp_path) -> None:
    path = tmp_path / "names.json"
    path.write_text(text)
    with pytest.raises(InputError, match="names.json"):
        read_label_names(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_label_names(tmp_path / "missing.txt")
