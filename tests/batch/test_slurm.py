"""Job arrays: the scripts really run, with a stand-in for sbatch."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from pathlib import Path

import pytest

from napari_synthseg import cli
from napari_synthseg.batch.executors import script, submit, typed
from napari_synthseg.batch.options import BatchOptions
from napari_synthseg.errors import InputError
from napari_synthseg.inference.options import SegmentOptions
from tests.batch.fakes import write_scan

pytestmark = pytest.mark.skipif(os.name == "nt", reason="SLURM has no Windows")


@pytest.fixture
def scans(tmp_path) -> Path:
    folder = tmp_path / "my scans"
    for number in range(3):
        write_scan(folder / f"{number}.nii.gz", number)
    return folder


def sbatch(folder: Path, monkeypatch, body: str) -> Path:
    """A stand-in for sbatch, first on the path; what it is told is kept."""
    folder.mkdir()
    program, log = folder / "sbatch", folder / "told.txt"
    program.write_text(f'#!/bin/bash\necho "$@" >> {shlex.quote(str(log))}\n{body}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return log


def test_the_array_is_submitted_and_the_report_after_it(scans, tmp_path, monkeypatch):
    log = sbatch(tmp_path / "bin", monkeypatch, 'echo "4711;cluster"')
    lines = list(submit([scans], tmp_path / "out", SegmentOptions(), BatchOptions(slurm=True, slurm_tasks=2)))
    assert "3 scans in 2 tasks" in lines[0] and "4711" in lines[1]
    array, last = log.read_text().splitlines()
    assert array.endswith("slurm/array.sh")
    assert "--dependency=afterany:4711 " in last and last.endswith("slurm/last.sh")


def test_a_refusal_is_one_sentence(scans, tmp_path, monkeypatch):
    sbatch(tmp_path / "bin", monkeypatch, "echo 'sbatch: error: invalid partition' >&2; exit 1")
    with pytest.raises(InputError, match="invalid partition"):
        list(submit([scans], tmp_path / "out", SegmentOptions(), BatchOptions(slurm=True)))


def test_without_sbatch_it_is_said_what_to_type(scans, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert cli.main(["batch", str(scans), "-o", str(tmp_path / "out"), "--slurm"]) == cli.DONE
    assert "sbatch --dependency=afterany:$(sbatch --parsable" in capsys.readouterr().out


def test_the_scripts_say_what_was_asked(scans, tmp_path):
    options = BatchOptions(slurm=True, slurm_tasks=7, slurm_options='--partition=gpu --comment="two words"', retries=3)
    segmentation = SegmentOptions(fast=True, flip=False, threads=4)
    text = script([scans], tmp_path / "out", segmentation, options, 7)
    lines = text.splitlines()
    assert lines[0] == "#!/bin/bash" and "#SBATCH --array=1-7" in lines
    assert "#SBATCH --partition=gpu" in lines and "#SBATCH '--comment=two words'" in lines
    words = shlex.split(lines[-1].replace("$SLURM_ARRAY_TASK_ID", "5"))
    assert words[0] == "exec" and words[4:8] == ["batch", str(scans), "-o", str(tmp_path / "out")]
    assert words[8:] == ["--retries", "3", "--fast", "--threads", "4", "--no-flip", "--part", "5/7"]
    assert typed(SegmentOptions()) == [] and typed(BatchOptions(suffixes=("T1w", "T2w"))) == [
        "--suffixes",
        "T1w",
        "T2w",
    ]


def test_the_tasks_and_the_last_job_make_one_report(scans, tmp_path, monkeypatch, capsys):
    """Every script is read back as the shell would read it, and run in this process."""
    from napari_synthseg.batch import job
    from tests.batch.fakes import Here, load_fake

    monkeypatch.setattr(job, "_workers", lambda *_: lambda settings: Here(settings))
    monkeypatch.setattr("napari_synthseg.inference.state.load", load_fake)
    out = tmp_path / "out"
    list(submit([scans], out, SegmentOptions(threads=1, device="cpu"), BatchOptions(slurm=True, slurm_tasks=2)))
    for name, task in (("array.sh", "1"), ("array.sh", "2"), ("last.sh", "")):
        text = (out / "slurm" / name).read_text().replace("exec ", 'printf "%s\\n" ')
        told = subprocess.run(["bash", "-c", text], env={"SLURM_ARRAY_TASK_ID": task}, capture_output=True, text=True)
        assert cli.main(told.stdout.splitlines()[3:]) == cli.DONE
    entries = json.loads((out / "report.json").read_text())
    assert [one["status"] for one in entries] == ["skipped"] * 3 and (out / "report.html").exists()
