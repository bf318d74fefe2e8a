"""`batch` as it is typed: exit codes, one sentence for what is wrong."""

from __future__ import annotations

import pytest

from napari_synthseg import cli
from napari_synthseg.batch import job
from napari_synthseg.batch.report import Entry
from napari_synthseg.cli import segment as command
from napari_synthseg.jobs import Progress, run
from tests.batch.fakes import Here, load_fake, write_scan


@pytest.fixture
def scans(tmp_path, monkeypatch):
    """Two scans, and lanes in this process."""
    monkeypatch.setattr(job, "_workers", lambda *_: lambda settings: Here(settings))
    monkeypatch.setattr("napari_synthseg.inference.state.load", load_fake)
    for number in range(2):
        write_scan(tmp_path / "in" / f"{number}.nii.gz", number)
    return tmp_path / "in"


def typed(*words) -> int:
    return cli.main(["batch", *map(str, words), "--device", "cpu", "--threads", "1"])


def test_all_went_well_and_then_one_failed(scans, tmp_path, capsys):
    assert typed(scans, "-o", tmp_path / "out", "--jobs", "2") == cli.DONE
    printed = capsys.readouterr()
    assert printed.out.strip() == str(tmp_path / "out/report.html")
    assert "2 segmented, 0 done before, 0 failed." in printed.err
    (scans / "bad.nii.gz").write_bytes(b"")
    assert typed(scans, "-o", tmp_path / "out") == cli.SOME_FAILED
    assert "0 segmented, 2 done before, 1 failed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["gone", "-o", "out"], "does not exist"),
        (["empty", "-o", "out"], "no scan in"),
        (["in", "-o", "in/0.nii.gz"], "is a file"),
        (["in", "-o", "labels.nii.gz"], "need a folder"),
        (["in", "-o", "report.html"], "need a folder"),
        (["in", "-o", "out", "--weights", "none.safetensors"], "does not exist"),
        (["in", "-o", "foreign"], "has not made"),
    ],
)
def test_wrong_inputs_are_one_sentence(scans, tmp_path, capsys, monkeypatch, words, sentence):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign/dataset_description.json").write_text("{}")
    assert typed(*words) == cli.BAD_INPUT
    printed = capsys.readouterr().err
    assert sentence in printed and len(printed.splitlines()) == 1
    assert not (tmp_path / "out").exists() and {one.name for one in tmp_path.iterdir()} == {"in", "empty", "foreign"}


def test_a_log_has_a_line_now_and_then(monkeypatch, capsys):
    monkeypatch.setattr(command, "EVERY", 0.0)

    def work():
        yield Progress("Segmenting", 3, 10, {"failed": 1, "left": "2 min"})
        return "done"

    assert run(command.with_lines(work())) == "done"
    assert capsys.readouterr().err == "Segmenting: 3 of 10, failed 1, left 2 min\n"


@pytest.mark.parametrize(
    ("expected", "said"),
    [
        ([], "."),
        ([0.31], "; 1 segmentation has probably failed: s0.nii.gz (expected Dice 0.31)."),
        (
            [0.31, 0.1, None],
            "; 3 segmentations have probably failed: s2.nii.gz, s1.nii.gz (expected Dice 0.10), s0.nii.gz "
            "(expected Dice 0.31).",
        ),
    ],
)
def test_the_summary_names_what_has_probably_failed(tmp_path, expected, said):
    entries = [
        Entry(f"/in/s{i}.nii.gz", "", "ok", verdict="likely failed", expected_dice=dice)
        for i, dice in enumerate(expected)
    ]
    entries.append(Entry("/in/fine.nii.gz", "", "skipped", verdict="good", expected_dice=0.9))
    result = job.BatchResult(tuple(entries), tmp_path / "report.json", tmp_path / "report.html")
    assert result.summary == f"{len(expected)} segmented, 1 done before, 0 failed{said}"


def test_the_summary_names_no_more_than_five(tmp_path):
    entries = [
        Entry(f"/in/{i}/T1.nii.gz", "", "ok", verdict="likely failed", expected_dice=0.5 - 0.01 * i) for i in range(7)
    ]
    result = job.BatchResult(tuple(entries), tmp_path / "1of2.json", None)
    assert "failed: /in/6/T1.nii.gz (expected Dice 0.44), /in/5/" in result.summary and "/in/2/" in result.summary
    assert "/in/1/" not in result.summary and result.summary.endswith(", and 2 more: see 1of2.json.")
