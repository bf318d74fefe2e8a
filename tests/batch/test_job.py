"""A batch from end to end, its scans segmented in this process."""

from __future__ import annotations

import csv
import errno
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from napari_synthseg.batch import job
from napari_synthseg.batch.job import BatchResult, segment_files, segment_many
from napari_synthseg.batch.options import BatchOptions
from napari_synthseg.errors import InputError
from napari_synthseg.io import read_labels
from napari_synthseg.jobs import Progress, Stopped, run
from tests.batch.fakes import QUICK, Here, load_fake, write_scan
from tests.inference.fakes import FakeUNet


@pytest.fixture
def scans(tmp_path) -> Path:
    """Three good scans and one that is none."""
    folder = tmp_path / "scans"
    for number in range(3):
        write_scan(folder / f"{number}.nii.gz", number)
    (folder / "broken.nii.gz").write_bytes(b"no scan at all")
    return folder


def batch(inputs, out: Path, options: BatchOptions | None = None, segmentation=QUICK, **more) -> BatchResult:
    return run(segment_many(inputs, out, segmentation, options, load=load_fake, workers=Here, **more))


def statuses(result: BatchResult) -> dict[str, str]:
    return {Path(one.input).name: one.status for one in result.entries}


def test_every_scan_is_there_once_and_the_broken_one_is_reported(scans, tmp_path, caplog):
    out = tmp_path / "out"
    result = batch(scans, out)
    assert (result.count("ok"), result.count("failed"), result.exit_code) == (3, 1, 1)
    entries = json.loads((out / "report.json").read_text())
    assert [Path(one["input"]).name for one in entries] == ["0.nii.gz", "1.nii.gz", "2.nii.gz", "broken.nii.gz"]
    assert entries[-1]["status"] == "failed" and "broken.nii.gz" in entries[-1]["reason"]
    assert entries[-1]["attempts"] == 2 and "broken.nii.gz" in caplog.text
    for one in entries[:3]:
        assert one["status"] == "ok" and one["reason"] == "" and one["seconds"] > 0
        assert read_labels(one["output"]).shape == (32, 32, 32)
    files = {path.relative_to(out).as_posix() for path in out.rglob("*") if not path.name.startswith(".")}
    labels = {f"{n}_dseg.{end}" for n in range(3) for end in ("nii.gz", "tsv", "json", "jpg")}
    assert files == labels | {"report.json", "report.html", "volumes.tsv", "quality.tsv", "dataset_description.json"}


def test_labels_are_those_of_the_single_run(scans, tmp_path):
    batch(scans, tmp_path / "out")
    run(segment_files(scans / "1.nii.gz", tmp_path / "one.nii.gz", QUICK, model=FakeUNet()))
    assert (tmp_path / "out/1_dseg.nii.gz").read_bytes() == (tmp_path / "one.nii.gz").read_bytes()
    assert (tmp_path / "out/1_dseg.tsv").read_bytes() == (tmp_path / "one.tsv").read_bytes()


def test_what_is_done_is_skipped_and_what_failed_is_tried_again(scans, tmp_path):
    out = tmp_path / "out"
    batch(scans, out)
    before = {path: path.stat().st_mtime_ns for path in out.glob("*_dseg*")}
    tables = [(out / name).read_bytes() for name in ("volumes.tsv", "quality.tsv")]
    write_scan(scans / "broken.nii.gz", 9)
    os.utime(scans / "0.nii.gz")  # copied somewhere: the content is what counts
    again = batch(scans, out)
    assert statuses(again) == {f"{n}.nii.gz": "skipped" for n in range(3)} | {"broken.nii.gz": "ok"}
    assert all(path.stat().st_mtime_ns == before[path] for path in before)
    for name, table in zip(("volumes.tsv", "quality.tsv"), tables, strict=True):
        assert (out / name).read_bytes().startswith(table)  # rows of skipped scans are as they were
    entries = json.loads((out / "report.json").read_text())
    assert entries[0]["intracranial_mm3"] > 1000 and entries[0]["seconds"] == 0
    assert batch(scans.rename(tmp_path / "moved"), out).count("skipped") == 4


def damage_labels(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)


def damage_record(path: Path) -> None:
    record = json.loads(path.read_text())
    record["made_from"]["weights"]["network"] = "0" * 64
    path.write_text(json.dumps(record))


HARMS = {
    "scans/1.nii.gz": lambda path: write_scan(path, 77),
    "out/1_dseg.tsv": Path.unlink,
    "out/1_dseg.nii.gz": damage_labels,
    "out/1_dseg.json": damage_record,
}


@pytest.mark.parametrize("name", HARMS)
def test_what_is_not_what_it_was_is_segmented_again(scans, tmp_path, name):
    (scans / "broken.nii.gz").unlink()
    out = tmp_path / "out"
    batch(scans, out)
    HARMS[name](tmp_path / name)
    assert statuses(batch(scans, out)) == {"0.nii.gz": "skipped", "1.nii.gz": "ok", "2.nii.gz": "skipped"}
    assert batch(scans, out).count("skipped") == 3


def test_other_options_segment_again_but_not_another_device(scans, tmp_path):
    out = tmp_path / "out"
    batch(scans / "0.nii.gz", out)
    assert batch(scans / "0.nii.gz", out, segmentation=replace(QUICK, threads=2, device="auto")).count("skipped") == 1
    assert batch(scans / "0.nii.gz", out, segmentation=replace(QUICK, grid="1mm")).count("ok") == 1
    soft = replace(QUICK, grid="1mm", posteriors=True)
    assert batch(scans / "0.nii.gz", out, segmentation=soft).count("ok") == 1
    (out / "0_probseg.nii.gz").unlink()
    assert batch(scans / "0.nii.gz", out, segmentation=soft).count("ok") == 1
    assert batch(scans / "0.nii.gz", out, BatchOptions(redo=True), soft).count("ok") == 1


def test_labels_of_another_scan_and_files_of_others_stay(scans, tmp_path):
    out = tmp_path / "out"
    batch(scans / "0.nii.gz", out)
    labels = (out / "0_dseg.nii.gz").read_bytes()
    other = write_scan(tmp_path / "elsewhere" / "0.nii.gz", 5, size=34)
    (out / "1_dseg.jpg").write_bytes(b"mine")
    result = batch([other, scans / "1.nii.gz"], out)
    assert [one.status for one in result.entries] == ["failed", "failed"]
    assert "another scan" in result.entries[0].reason and "1_dseg.jpg" in result.entries[1].reason
    assert (out / "0_dseg.nii.gz").read_bytes() == labels and (out / "1_dseg.jpg").read_bytes() == b"mine"
    assert batch(other, out, BatchOptions(redo=True)).count("ok") == 1
    assert (out / "0_dseg.nii.gz").read_bytes() != labels


def test_stopped_in_the_middle_it_goes_on(scans, tmp_path):
    out = tmp_path / "out"
    seen: list[Progress] = []
    with pytest.raises(Stopped):
        run(
            segment_many(scans, out, QUICK, load=load_fake, workers=Here),
            seen.append,
            lambda: seen[-1].stage == "Segmenting" and seen[-1].done == 2,
        )
    assert [one["status"] for one in json.loads((out / "report.json").read_text())] == ["ok", "ok"]
    assert (out / "report.html").exists()
    assert statuses(batch(scans, out))["0.nii.gz"] == "skipped"
    assert not list(out.glob(".segment-*"))


def test_leftovers_of_a_killed_process_go(scans, tmp_path):
    from napari_synthseg.inference.outputs import _part_prefix

    out = tmp_path / "out"
    left = write_scan(out / f"{_part_prefix(out / '0_dseg.nii.gz')}x" / "0_dseg.nii.gz")
    batch(scans / "0.nii.gz", out)
    assert not left.parent.exists()


def test_two_batches_in_one_folder_are_refused(scans, tmp_path, monkeypatch):
    monkeypatch.setattr("napari_synthseg.batch.job.LOCK_TIMEOUT_S", 0.05)
    out = tmp_path / "out"
    first = segment_many(scans, out, QUICK, load=load_fake, workers=Here)
    while next(first).stage != "Segmenting":
        pass
    with pytest.raises(InputError, match="Another batch is writing"):
        batch(scans, out)
    with pytest.raises(InputError, match="Another batch is writing"):
        batch(scans, out, BatchOptions(part="1/2"))
    first.close()
    assert batch(scans, out).count("failed") == 1
    with FileLock(str(out / ".batch-part-1of2.lock")), pytest.raises(InputError, match="Another batch"):
        batch(scans, out)


def test_parts_share_the_scans_and_the_last_run_reports_them_all(scans, tmp_path):
    out = tmp_path / "out"
    first, second = (batch(scans, out, BatchOptions(part=f"{k}/2")) for k in (1, 2))
    assert set(statuses(first)) == {"0.nii.gz", "2.nii.gz"} and set(statuses(second)) == {"1.nii.gz", "broken.nii.gz"}
    assert first.page is None and (out / "parts/2of2.json").exists() and not (out / "report.json").exists()
    whole = batch(scans, out)
    assert whole.count("skipped") == 3 and whole.count("failed") == 1 and whole.page.exists()


def test_a_list_with_a_missing_scan_does_the_others(scans, tmp_path):
    (tmp_path / "list.txt").write_text("scans/gone.nii.gz\nscans/0.nii.gz\n")
    result = batch(tmp_path / "list.txt", tmp_path / "out", BatchOptions(retries=0))
    assert statuses(result) == {"gone.nii.gz": "failed", "0.nii.gz": "ok"}
    assert "does not exist" in result.entries[0].reason and result.entries[0].attempts == 1


def test_tables_have_a_row_a_scan_and_the_entities_of_bids(tmp_path):
    for n in range(2):
        write_scan(tmp_path / f"in/sub-0{n}/ses-a/anat/sub-0{n}_ses-a_T1w.nii.gz", n)
    batch(tmp_path / "in", tmp_path / "out")
    with open(tmp_path / "out/volumes.tsv", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [(row["participant_id"], row["session_id"]) for row in rows] == [("sub-00", "ses-a"), ("sub-01", "ses-a")]
    labels = read_labels(tmp_path / "out/sub-00/ses-a/anat/sub-00_ses-a_space-T1w_desc-synthseg_dseg.nii.gz")
    assert float(rows[0]["Left-Cerebral-Cortex"]) == pytest.approx(np.sum(labels.data == 3), rel=0.2)
    record = json.loads(next((tmp_path / "out").rglob("sub-00*_dseg.json")).read_text())
    assert record["made_from"]["input"]["sha256"] and record["Sources"][0].endswith("sub-00_ses-a_T1w.nii.gz")
    description = json.loads((tmp_path / "out/dataset_description.json").read_text())
    assert description["DatasetType"] == "derivative"


def test_a_lane_that_is_shaken_is_renewed(scans, tmp_path, monkeypatch):
    slots: list[Here] = []

    def workers(settings):
        slots.append(Here(settings))
        return slots[0]

    def fail(*args, **more):
        raise RuntimeError("the device is gone")

    monkeypatch.setattr("napari_synthseg.batch.segmenter.read_with_header", fail)
    result = run(segment_many(scans, tmp_path / "out", QUICK, load=load_fake, workers=workers))
    assert result.count("failed") == 4 and slots[0].renewed == 8
    assert slots[0].given[:4] == ["0.nii.gz", "1.nii.gz", "2.nii.gz", "broken.nii.gz"]
    assert "RuntimeError: the device is gone" in result.entries[0].reason


def test_the_report_is_written_as_it_goes(scans, tmp_path, monkeypatch):
    monkeypatch.setattr("napari_synthseg.batch.report.time.monotonic", iter(range(0, 10**6, 100)).__next__)
    work = segment_many(scans, tmp_path / "out", QUICK, load=load_fake, workers=Here)
    for report in work:
        if report.done == 1 and report.stage == "Segmenting":
            break
    assert len(json.loads((tmp_path / "out/report.json").read_text())) == 1
    work.close()


def test_nothing_to_do_starts_no_process(scans, tmp_path, monkeypatch):
    batch(scans / "0.nii.gz", tmp_path / "out")
    monkeypatch.setattr(job, "_workers", lambda *_: pytest.fail("a process was started"))
    assert run(segment_many(scans / "0.nii.gz", tmp_path / "out", QUICK, load=load_fake)).count("skipped") == 1


# Bad days


def test_a_name_that_is_no_utf_8_costs_nobody_the_report(scans, tmp_path):
    (scans / "0.nii.gz").rename(scans / os.fsdecode(b"\xff\x1b[31m0.nii.gz"))
    (scans / "1.nii.gz").rename(scans / "=1+1.nii.gz")
    out = tmp_path / "out"
    result = batch(scans, out)
    assert result.count("ok") == 3 and result.page.exists()
    assert len(json.loads((out / "report.json").read_text())) == 4
    assert len((out / "volumes.tsv").read_bytes().splitlines()) == 4
    table = (out / "volumes.tsv").read_bytes()
    assert b"\xff" in table and b"\x1b" not in table and b"\x1b" not in (out / "report.html").read_bytes()
    assert batch(scans, out).count("skipped") == 3


def test_a_full_disk_stops_with_what_to_do(scans, tmp_path, monkeypatch):
    from napari_synthseg.inference import outputs

    write, count = outputs.write_labels, iter(range(9))

    def full(*args, **more):
        if next(count) == 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(*args, **more)

    monkeypatch.setattr(outputs, "write_labels", full)
    with pytest.raises(InputError, match=r"No space is left in .*out: results so far are complete"):
        batch(scans, tmp_path / "out")
    assert [one["status"] for one in json.loads((tmp_path / "out/report.json").read_text())] == ["ok"]
    assert statuses(batch(scans, tmp_path / "out"))["0.nii.gz"] == "skipped"


def test_a_report_that_cannot_be_written_is_said(scans, tmp_path, monkeypatch, caplog):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("napari_synthseg.batch.report.write_text", full)
    assert batch(scans / "0.nii.gz", tmp_path / "out").count("ok") == 1
    assert "The report is incomplete" in caplog.text and "No space left" in caplog.text
