from __future__ import annotations

import csv
import json

import nibabel as nib
import numpy as np
import pytest

from napari_synthseg.batch.job import segment_files
from napari_synthseg.errors import InputError
from napari_synthseg.inference import outputs
from napari_synthseg.inference.options import SegmentOptions
from napari_synthseg.io import read_volume, write_volume
from napari_synthseg.jobs import Stopped, run
from tests.inference.fakes import LABELS, FakeLocateRefine, ball_scan


@pytest.fixture
def scan(tmp_path):
    path = tmp_path / "scans" / "sub-01_T1w.nii.gz"
    write_volume(path, ball_scan()[0])
    return path


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def segment(inputs, out, options=None, **more):
    return run(segment_files(inputs, out, options, **{"model": FakeLocateRefine(), **more}))


def test_one_scan_into_a_folder(scan, tmp_path):
    out = tmp_path / "out"
    for _ in range(2):  # results of an earlier run are replaced
        report = segment(scan, out, preview=True)
    assert report.exit_code == 0
    assert names(out) == [f"sub-01_T1w_dseg.{end}" for end in ("json", "nii.gz", "png", "tsv")]
    labels = read_volume(out / "sub-01_T1w_dseg.nii.gz")
    np.testing.assert_allclose(labels.affine, ball_scan()[0].affine)
    assert np.mean(labels.data == ball_scan()[1]) > 0.99
    record = json.loads((out / "sub-01_T1w_dseg.json").read_text())
    assert record["volumes_mm3"]["Left-Cerebral-White-Matter"] > 1000
    assert record["scan"] == str(scan)


def test_one_scan_into_a_file_with_posteriors(scan, tmp_path):
    out = tmp_path / "deep" / "labels.mgz"
    report = segment([str(scan)], out, SegmentOptions(posteriors=True))
    assert [(one.input, one.output) for one in report.entries] == [(str(scan), str(out))]
    assert names(out.parent) == ["labels.json", "labels.mgz", "labels.tsv", "labels_probseg.nii.gz"]
    assert nib.load(out.parent / "labels_probseg.nii.gz").shape[-1] == len(LABELS)


def test_a_link_to_nowhere_in_a_folder_is_a_failed_scan(scan, tmp_path, caplog):
    (scan.parent / "b.nii.gz").symlink_to("../.git/annex/objects/y.nii.gz")
    report = segment(scan.parent, tmp_path / "out")
    assert report.exit_code == 1 and report.count("ok") == 1
    assert "datalad get" in report.entries[0].reason and "b.nii.gz" in caplog.text


@pytest.mark.parametrize(("name", "delimiter"), [("v.csv", ","), ("v.tsv", "\t")])
def test_the_table_of_volumes_has_a_row_a_scan(scan, tmp_path, name, delimiter):
    write_volume(scan.parent / "sub-02_T1w.nii.gz", ball_scan(60)[0])
    segment(scan.parent, tmp_path / "out", volumes_csv=tmp_path / name)
    with open(tmp_path / name, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter=delimiter))
    assert len(rows) == 2
    assert float(rows[1]["intracranial"]) > float(rows[0]["intracranial"]) > 1000
    assert float(rows[0]["Left-Cerebral-Cortex"]) > 1000


@pytest.mark.parametrize("what", ["volumes", "quality"])
def test_a_folder_for_a_table_is_refused_first(scan, tmp_path, what):
    with pytest.raises(InputError, match=f"file for the {what}"):
        segment(scan, tmp_path / "out", **{f"{what}_csv": tmp_path})
    assert not (tmp_path / "out").exists()


def test_a_stopped_batch_leaves_nothing_half_written(scan, tmp_path):
    write_volume(scan.parent / "sub-02_T1w.nii.gz", ball_scan()[0])
    stages = []
    job = segment_files(scan.parent, tmp_path / "out", model=FakeLocateRefine())
    with pytest.raises(Stopped):
        run(job, lambda p: stages.append(p.stage), lambda: stages[-1].startswith("2/2") and "Refining" in stages[-1])
    assert names(tmp_path / "out") == [f"sub-01_T1w_dseg.{end}" for end in ("json", "nii.gz", "tsv")]


@pytest.mark.parametrize(
    ("given", "words"), [("nothing.nii", "does not exist"), ("empty", "no scan in"), ("broken.nii.gz", "broken.nii.gz")]
)
def test_the_only_input_that_fails_is_an_error_and_leaves_nothing(tmp_path, given, words):
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.nii.gz").write_bytes(b"no scan at all")
    with pytest.raises(InputError, match=words):
        segment(tmp_path / given, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_labels_are_called_after_their_scans_and_in_doubt_their_folders(tmp_path):
    scans = [tmp_path / one / "t1.nii.gz" for one in ("a", "b")]
    targets = outputs.plan_outputs(scans, tmp_path / "out")
    assert [target.name for target in targets] == ["a_t1_dseg.nii.gz", "b_t1_dseg.nii.gz"]
    (tmp_path / "series.1").mkdir()
    assert outputs.plan_outputs([tmp_path / "series.1"], tmp_path / "out")[0].name == "series.1_dseg.nii.gz"


def test_a_folder_that_is_there_may_be_called_anything(tmp_path):
    with pytest.raises(InputError, match="no name for labels"):
        outputs.plan_outputs([tmp_path / "t1.nii"], tmp_path / "all.zip")
    (tmp_path / "all.zip").mkdir()
    for name in ("subject.1", "v1.2", "all.zip"):
        assert outputs.plan_outputs([tmp_path / "t1.nii"], tmp_path / name)[0].parent == tmp_path / name


def test_scans_are_never_overwritten(scan):
    with pytest.raises(InputError, match="is an input too"):
        outputs.plan_outputs([scan], scan)
    with pytest.raises(InputError, match="one file, but there are 2 scans"):
        outputs.plan_outputs([scan, scan.with_name("b.nii")], scan.with_name("c.nii.gz"))


@pytest.mark.parametrize(
    ("name", "text"),
    [("sub-01.json", '{"RepetitionTime": 2.3}'), ("sub-01.json", "not JSON"), ("sub-01.tsv", "participant_id\tage\n")],
)
def test_sidecars_of_others_are_not_replaced(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=f"{name} exists and is no"):
        outputs.plan_outputs([tmp_path / "scan.nii"], tmp_path / "sub-01.nii.gz")


@pytest.mark.parametrize("name", ["sub-01_dseg.nii.gz", "sub-01_dseg.png", "sub-01_probseg.nii.gz"])
def test_files_of_others_are_not_replaced(scan, tmp_path, name):
    scan = scan.rename(scan.parent / "sub-01.nii.gz")
    out = tmp_path / "out"
    out.mkdir()
    (out / name).write_bytes(b"drawn by hand")
    with pytest.raises(InputError, match=f"{name} exists and is no result"):
        segment(scan, out, SegmentOptions(posteriors=True), preview=True)
    assert names(out) == [name] and (out / name).read_bytes() == b"drawn by hand"
    if not name.endswith("dseg.nii.gz"):  # what is not written is not in the way
        segment(scan, out)


def test_volume_and_quality_stand_in_the_table_beside_the_labels(tmp_path):
    scan, _ = ball_scan()
    write_volume(tmp_path / "a.nii.gz", scan)
    segment(tmp_path / "a.nii.gz", tmp_path / "out.nii.gz")
    with open(tmp_path / "out.tsv", newline="") as file:
        rows = {int(row["index"]): row for row in csv.DictReader(file, delimiter="\t")}
    record = json.loads((tmp_path / "out.json").read_text())
    name = rows[2]["name"]
    assert float(rows[2]["volume_mm3"]) == record["volumes_mm3"][name] > 1000
    assert 0.9 < float(rows[2]["quality"]) == record["quality"][name] <= 1
