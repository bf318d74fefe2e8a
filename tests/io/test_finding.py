"""Which scans folders and lists hold; nothing is left out without a word."""

from __future__ import annotations

import os
import time
from contextlib import nullcontext
from itertools import count

import pytest

from napari_synthseg.errors import InputError
from napari_synthseg.io.finding import find_scans, lines_of, scans_in
from napari_synthseg.jobs import Progress, Stopped, run
from tests.io.builders import nifti


def names(folder) -> list[str]:
    return [str(path.relative_to(folder)) for path in scans_in(folder)]


def test_links_are_followed_once_and_dead_ones_count(tmp_path):
    folder = tmp_path / "in"
    nifti(folder / "a.nii.gz")
    (folder / "b.nii.gz").symlink_to(".git/annex/objects/y.nii.gz")
    (folder / "slices").mkdir()
    (folder / "slices" / "IM0001").symlink_to("../.git/annex/objects/x")
    nifti(tmp_path / "real" / "z.nii.gz")
    (folder / "sub").symlink_to(tmp_path / "real")
    (tmp_path / "real" / "back").symlink_to(folder)
    assert names(folder) == ["a.nii.gz", "b.nii.gz", "slices", "sub/z.nii.gz"]
    assert find_scans([folder])[1] == folder / "b.nii.gz", "reading it says why it fails"


@pytest.mark.parametrize("name", ["IM0001", "1.2.840.113619.2", "I10.img", "slice.DCM", "000001.x"])
def test_slices_are_known_by_their_content(tmp_path, name):
    nifti(tmp_path / "a.nii.gz")
    (tmp_path / "study" / "series").mkdir(parents=True)
    (tmp_path / "study" / "notes.txt").write_text("x")
    (tmp_path / "study" / "series" / name).write_bytes(bytes(128) + b"DICM")
    assert names(tmp_path) == ["a.nii.gz", "study/series"]


def test_pipes_are_not_waited_for(tmp_path):
    nifti(tmp_path / "a.nii.gz")
    for name in ("IM0001", "b.nii.gz"):
        os.mkfifo(tmp_path / name)
    assert names(tmp_path) == ["a.nii.gz", "b.nii.gz"], "reading the second says why it fails"


def test_results_and_hidden_files_are_no_scans(tmp_path):
    for name in ("a.nii.gz", "a_dseg.nii.gz", "a_probseg.nii", ".b.nii", ".git/c.nii.gz"):
        nifti(tmp_path / name)
    assert names(tmp_path) == ["a.nii.gz"]


def test_no_scan_at_all(tmp_path):
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(InputError, match="There is no scan in"):
        scans_in(tmp_path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_lists_as_programs_write_them(tmp_path, encoding, mark):
    text = f"{mark}a b.nii.gz\r\n\"c.nii.gz\"\r\n  # a comment\r\n\r\n#no.nii\r\n{mark}  'd.nii'  \r\nä.nii"
    (tmp_path / "list.txt").write_bytes(text.encode(encoding))
    assert list(lines_of(tmp_path / "list.txt")) == ["a b.nii.gz", "c.nii.gz", "d.nii", "ä.nii"]


def test_a_list_may_name_lists_and_folders_but_not_itself(tmp_path):
    nifti(tmp_path / "in" / "a.nii")
    (tmp_path / "outer.txt").write_text("inner.txt\n")
    (tmp_path / "inner.txt").write_text("in\n")
    assert find_scans([tmp_path / "outer.txt"]) == [tmp_path / "in" / "a.nii"]
    (tmp_path / "inner.txt").write_text("outer.txt\n")
    with pytest.raises(InputError, match="names itself"):
        find_scans([tmp_path / "outer.txt"])


def test_what_is_named_must_be_there_but_not_what_a_list_names(tmp_path):
    nifti(tmp_path / "a.nii")
    (tmp_path / "list.txt").write_text("none.nii\na.nii")
    assert find_scans([tmp_path / "list.txt"]) == [tmp_path / "none.nii", tmp_path / "a.nii"]
    (tmp_path / "list.txt").write_text("none.nii\nnor.nii\n")
    with pytest.raises(InputError, match=r"No path in .*list\.txt exists"):
        find_scans([tmp_path / "list.txt"])
    with pytest.raises(InputError, match=r"none\.nii does not exist"):
        find_scans([tmp_path / "a.nii", tmp_path / "none.nii"])
    (tmp_path / "b.nii").symlink_to("gone")
    (tmp_path / "c.nii").write_bytes(b"")
    given = [tmp_path / name for name in ("a.nii", "b.nii", "c.nii")]
    assert find_scans(given) == given, "one that is there but cannot be read fails alone"


def test_a_very_long_list_is_read_or_refused_at_once(tmp_path):
    nifti(tmp_path / "a.nii")
    for others, says in (("./a.nii\n", None), ("none{}.nii\n", "More than 10000 paths")):
        lines = (others.format(number) for number in range(300_000))
        (tmp_path / "list.txt").write_text("a.nii\n" + "".join(lines))
        start = time.process_time()
        with pytest.raises(InputError, match=says) if says else nullcontext():
            assert find_scans([tmp_path / "list.txt"]) == [tmp_path / "a.nii"]
        assert time.process_time() - start < 10


def test_reading_a_long_list_stops_at_once(tmp_path):
    (tmp_path / "list.txt").write_text("\n".join(f"{number}.nii" for number in range(9000)))
    asked = count()

    def job():
        yield Progress("finding", 0, 1)
        find_scans([tmp_path / "list.txt"])

    with pytest.raises(Stopped):
        run(job(), should_stop=lambda: next(asked) >= 1000)
    assert next(asked) <= 1001
