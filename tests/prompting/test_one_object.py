"""The command line's job: an object in a scan or a picture, from its prompts to the files that are written."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from napari_synthseg import cli
from napari_synthseg.errors import InputError
from napari_synthseg.io import read_labels, write_labels, write_volume
from napari_synthseg.jobs import Stopped, run
from napari_synthseg.prompting.one_object import prompt_file
from napari_synthseg.prompting.options import PromptOptions, PropagateOptions
from napari_synthseg.volume import Volume
from tests.conftest import full_disk
from tests.prompting.tracer import Tracer, disc

AFFINE = np.array([[-1.0, 0, 0, 30], [0, 0, 2, -20], [0, 1, 0, 5], [0, 0, 0, 1]])
"""Axes L, S, A: slices across the last one have the smallest pixels."""
TRUTH = np.stack([disc((24, 30), 10, 8 + i, 4) & (2 <= i <= 9) for i in range(12)], -1)


@pytest.fixture
def scan(tmp_path):
    data = TRUTH + np.random.default_rng(0).uniform(-0.1, 0.1, TRUTH.shape)
    write_volume(tmp_path / "scan.nii.gz", Volume(data.astype(np.float32), AFFINE))
    return tmp_path / "scan.nii.gz"


@pytest.fixture
def picture(tmp_path):
    Image.fromarray(disc((20, 30), 5, 22, 4).astype(np.uint8)).save(tmp_path / "picture.png")
    return tmp_path / "picture.png"


def segment(scan, out, going=None, *, session=None, preview=False, **options):
    """The label file's array."""
    job = prompt_file(scan, out, PromptOptions(**options), going, preview=preview, session=session or Tracer())
    return read_labels(run(job).file)


def test_an_object_is_followed_and_written_on_the_scans_own_grid(scan, tmp_path):
    found = segment(scan, tmp_path / "out.nii.gz", inside=((10, 12, 4),), through=True)
    np.testing.assert_array_equal(found.data, TRUTH)
    np.testing.assert_allclose(found.affine, AFFINE)


def test_without_going_through_only_marked_slices_are_segmented(scan, tmp_path):
    found = segment(scan, tmp_path / "out.nii.gz", inside=((10, 12, 4), (10, 14, 6)), outside=((0, 0, 4),))
    assert np.flatnonzero(found.data.any((0, 1))).tolist() == [4, 6]


def test_the_table_and_the_record_say_what_was_found(scan, tmp_path):
    tracer = Tracer()
    segment(scan, tmp_path / "out.nii.gz", inside=((10, 12, 4),), through=True, label=17, session=tracer)
    volume = TRUTH.sum() * 2.0
    header, row = (line.split("\t") for line in (tmp_path / "out.tsv").read_text().splitlines())
    table = dict(zip(header, row, strict=True))
    assert (table["index"], table["volume_mm3"]) == ("17", f"{volume:.1f}")
    record = json.loads((tmp_path / "out.json").read_text())
    assert record["volumes_mm3"] == {"Left-Hippocampus": volume}
    assert record["slices"] == [2, 9] and set(record["scores"]) == {str(index) for index in range(2, 10)}
    assert record["options"]["inside"] == [[10, 12, 4]] and record["options"]["least_score"] == 0.5


def test_results_may_be_written_again(scan, tmp_path):
    for _ in range(2):
        segment(scan, tmp_path / "out.nii.gz", inside=((10, 12, 4),))
    assert {path.name for path in tmp_path.iterdir()} == {"scan.nii.gz", "out.nii.gz", "out.tsv", "out.json"}


def test_a_preview_can_be_asked_for(scan, tmp_path):
    segment(scan, tmp_path / "out.nii.gz", inside=((10, 12, 4),), through=True, preview=True)
    with Image.open(tmp_path / "out.png") as shown:
        assert shown.width > 100


def test_a_drawn_slice_is_taken_as_it_is_and_repaired_where_one_points(scan, tmp_path):
    drawn = np.zeros(TRUTH.shape, np.uint8)
    drawn[9:12, 11:14, 4] = 1
    drawn[9:12, 13:16, 6] = 1
    write_labels(tmp_path / "mask.nii.gz", Volume(drawn, AFFINE))
    tracer = Tracer()
    found = segment(scan, tmp_path / "out.nii.gz", inside=((10, 14, 6),), mask=tmp_path / "mask.nii.gz", session=tracer)
    np.testing.assert_array_equal(found.data[..., 4], drawn[..., 4])
    np.testing.assert_array_equal(found.data[..., 6], TRUTH[..., 6])
    np.testing.assert_array_equal(tracer.given[0].mask, drawn[..., 6] > 0)


def test_how_far_it_goes_can_be_chosen(scan, tmp_path):
    going = PropagateOptions(direction="up", most_slices=2)
    found = segment(scan, tmp_path / "out.nii.gz", going, inside=((10, 12, 4),), through=True)
    assert np.flatnonzero(found.data.any((0, 1))).tolist() == [4, 5, 6]


def test_points_outside_alone_on_a_slice_say_where_the_object_ends(scan, tmp_path):
    options = {"inside": ((10, 12, 4),), "outside": ((10, 15, 7),)}
    found = segment(scan, tmp_path / "out.nii.gz", **options, through=True)
    assert np.flatnonzero(found.data.any((0, 1))).tolist() == [2, 3, 4, 5, 6]


def test_a_marked_slice_without_an_answer_is_found_from_its_neighbours(scan, tmp_path):
    found = segment(scan, tmp_path / "out.nii.gz", inside=((10, 12, 4), (0, 0, 6)), through=True)
    np.testing.assert_array_equal(found.data, TRUTH)


def test_the_record_says_where_and_why_the_object_ends(scan, tmp_path):
    segment(scan, tmp_path / "out.nii.gz", inside=((10, 12, 4), (10, 15, 7)), through=True)
    ends = json.loads((tmp_path / "out.json").read_text())["ends"]
    assert ends == {"1": "nothing of it is found there", "10": "nothing of it is found there"}


def test_a_pictures_mask_is_a_picture_of_black_and_white(picture, tmp_path):
    job = prompt_file(picture, tmp_path / "mask.png", PromptOptions(inside=((22, 5),)), session=Tracer())
    assert run(job).size == f"{disc((20, 30), 5, 22, 4).sum()} pixels"
    with Image.open(tmp_path / "mask.png") as mask:
        np.testing.assert_array_equal(np.array(mask), disc((20, 30), 5, 22, 4) * 255)


@pytest.mark.parametrize(
    ("out", "options", "sentence"),
    [
        ("out.nii.gz", {"inside": ((0, 0, 4),)}, "Nothing is found where you point"),
        ("out.nii.gz", {"inside": ((10, 12, 4),), "outside": ((0, 0, 5),)}, "points outside only"),
        ("scan.nii.gz", {"inside": ((10, 12, 4),)}, "is an input too"),
    ],
)
def test_what_cannot_be_done_leaves_nothing_behind(scan, tmp_path, out, options, sentence):
    before = scan.read_bytes()
    with pytest.raises(InputError, match=sentence):
        segment(scan, tmp_path / out, **options)
    assert [path.name for path in tmp_path.iterdir()] == ["scan.nii.gz"] and scan.read_bytes() == before


@pytest.mark.parametrize("out", ["mask.nii.gz", "picture.png"])
def test_a_pictures_mask_must_have_a_name_of_its_own(picture, tmp_path, out):
    with pytest.raises(InputError, match=out):
        run(prompt_file(picture, tmp_path / out, PromptOptions(inside=((22, 5),)), session=Tracer()))


def test_pictures_of_others_are_not_replaced(picture, tmp_path):
    for name in ("mask.png", "mask.json"):
        (tmp_path / name).write_text("mine")
        with pytest.raises(InputError, match=f"{name} exists and is no result"):
            run(prompt_file(picture, tmp_path / "mask.png", PromptOptions(inside=((22, 5),)), session=Tracer()))
        (tmp_path / name).unlink()
    for _ in range(2):
        run(prompt_file(picture, tmp_path / "mask.png", PromptOptions(inside=((22, 5),)), session=Tracer()))


@pytest.mark.parametrize("out", ["out.nii.gz", "mask.png"])
def test_a_full_disk_leaves_nothing_behind(scan, picture, tmp_path, out):
    given, point = (picture, (22, 5)) if out == "mask.png" else (scan, (10, 12, 4))
    before = {path.name for path in tmp_path.iterdir()}
    with full_disk(), pytest.raises(InputError, match=rf"^{tmp_path / out} cannot be written \(File too large"):
        run(prompt_file(given, tmp_path / out, PromptOptions(inside=(point,)), session=Tracer()))
    assert {path.name for path in tmp_path.iterdir()} == before


def test_a_stopped_job_leaves_nothing_behind(scan, tmp_path):
    reports = []
    job = prompt_file(
        scan, tmp_path / "out.nii.gz", PromptOptions(inside=((10, 12, 4),), through=True), session=Tracer()
    )
    with pytest.raises(Stopped):
        run(job, reports.append, lambda: reports[-1].stage == "Through the slices")
    assert [path.name for path in tmp_path.iterdir()] == ["scan.nii.gz"]


def test_all_objects_like_one_have_a_label_each(tmp_path):
    parts = [disc((40, 60), 10, 10, 4), disc((40, 60), 25, 45, 4)]
    Image.fromarray((parts[0] | parts[1]).astype(np.uint8)).save(tmp_path / "cells.png")
    options = PromptOptions(inside=((10, 10),), similar=True, window=(0, 1))
    written = run(prompt_file(tmp_path / "cells.png", tmp_path / "out.png", options, session=Tracer()))
    with Image.open(written.file) as labels:
        np.testing.assert_array_equal(np.array(labels), parts[0] + 2 * parts[1])
    assert written.size == "2 objects" and json.loads((tmp_path / "out.json").read_text())["objects"] == 2


def test_similar_objects_are_those_of_a_picture(scan, tmp_path):
    with pytest.raises(InputError, match="pictures only"):
        segment(scan, tmp_path / "out.nii.gz", inside=((10, 12, 4),), similar=True)


# The command


def test_the_command_prints_the_file_and_its_volume(scan, tmp_path, monkeypatch, capsys):
    tracer = Tracer()
    monkeypatch.setattr("napari_synthseg.prompting.one_object.Session", lambda model, device, encodings: tracer)
    words = "--inside 10 12 4 --inside 11 12 4 --outside 0 0 4 --box 5 5 4 16 18 4 --through --threads 1"
    out = tmp_path / "out.nii.gz"
    assert cli.main(["prompt", str(scan), "-o", str(out), *words.split()]) == cli.DONE
    assert capsys.readouterr().out == f"{out}\t{TRUTH.sum() * 2:.1f} mm^3\n"
    assert tracer.given[0].points == ((10, 12), (11, 12), (0, 0)) and tracer.given[0].box == (5, 5, 16, 18)


def test_masks_that_no_memory_holds_are_refused_before_they_are_made(scan, tmp_path, monkeypatch):
    write_labels(scan, Volume(TRUTH.astype(np.uint8), AFFINE))
    monkeypatch.setattr("napari_synthseg.io.checks.free_host_memory", lambda: 3 * TRUTH.size)  # enough to read it
    tracer = Tracer()
    with pytest.raises(InputError, match=r"scan.nii.gz has 24 x 30 x 12 voxels, which take .* of memory"):
        segment(scan, tmp_path / "out.nii.gz", inside=((10, 12, 4),), session=tracer)
    assert not tracer.given and not (tmp_path / "out.nii.gz").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--inside 10 12 4 --most-slices 2", "--through"),
        ("--inside -500 -1.5 2 --coordinates mm", "-500 -1.5 2 lies outside"),
        ("", "Nothing is pointed at"),
    ],
)
def test_wrong_words_are_refused_in_a_sentence(scan, tmp_path, capsys, words, sentence):
    try:
        code = cli.main(["prompt", str(scan), "-o", str(tmp_path / "out.nii.gz"), *words.split()])
    except SystemExit as end:  # of argparse
        code = end.code
    assert code == cli.BAD_INPUT and sentence in capsys.readouterr().err
