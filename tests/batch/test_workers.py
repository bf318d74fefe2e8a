"""Worker processes: they die, are replaced, ignore Ctrl+C, end when asked, and listen nowhere."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from napari_synthseg.batch import executors
from napari_synthseg.batch.job import segment_many
from napari_synthseg.batch.options import BatchOptions
from napari_synthseg.jobs import Stopped, run
from tests.batch.fakes import DEADLY_TO_READ, QUICK, load_deadly, load_fake, write_scan
from tests.sockets import listening


def pids() -> list[int]:
    return [process.pid for process in multiprocessing.active_children()]


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.skipif(sys.platform == "win32", reason="kills by signal")
def test_a_scan_that_kills_takes_nothing_along(tmp_path):
    """It kills while it is read ahead, beside an innocent one; the process is sent SIGINT all the time, too."""
    scans = tmp_path / "scans"
    for number in range(5):
        write_scan(scans / f"{number}.nii.gz", number)
    write_scan(scans / f"2{DEADLY_TO_READ}.nii.gz", 50)

    open_sockets = set()

    def interfere(report):
        if report.stage == "Segmenting" and sys.platform == "linux":
            open_sockets.update(listening([*pids(), os.getpid()]))
        for pid in pids():
            os.kill(pid, signal.SIGINT)  # what Ctrl+C sends to all of a terminal's processes

    before = listening([os.getpid()]) if sys.platform == "linux" else set()
    options = BatchOptions(deaths=1)
    result = run(segment_many(scans, tmp_path / "out", QUICK, options, load=load_deadly), interfere)
    (failed,) = [one for one in result.entries if one.status == "failed"]
    assert result.count("ok") == 5 and Path(failed.input).name.startswith("2deadly")
    assert failed.reason == "It took down the process that tried it (killed by SIGKILL, perhaps for lack of memory)."
    assert next(one.attempts for one in result.entries if Path(one.input).name == "2.nii.gz") == 2
    assert open_sockets == before
    assert not [path for path in (tmp_path / "out").iterdir() if path.name.startswith(".segment-")]


def test_asked_to_stop_they_are_gone_soon(tmp_path):
    for number in range(30):
        write_scan(tmp_path / "scans" / f"{number:02}.nii.gz", number)
    seen: set[int] = set()

    def stop_now() -> bool:
        seen.update(pids())
        return any((tmp_path / "out").glob("*_dseg.nii.gz"))

    job = segment_many(tmp_path / "scans", tmp_path / "out", QUICK, load=load_fake)
    with pytest.raises(Stopped):
        run(job, None, stop_now)
    assert seen and all(map(gone, seen))
    done = len(list((tmp_path / "out").glob("*_dseg.nii.gz")))
    assert 1 <= done < 30
    assert not list((tmp_path / "out").glob(".segment-*"))


def test_processors_are_divided(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "6")
    assert executors.available_cpus() == 6


@pytest.mark.parametrize(
    ("code", "words"), [(-9, "SIGKILL, perhaps for lack of memory"), (-11, "SIGSEGV"), (3, "code 3")]
)
def test_how_a_process_ended_is_said(code, words):
    assert words in executors.how_it_ended(code)


KILLED = """
import os, signal, sys
from pathlib import Path
from napari_synthseg.batch.job import segment_many
from tests.batch.fakes import QUICK, load_fake

def main():
    for report in segment_many(Path(sys.argv[1]), Path(sys.argv[2]), QUICK, load=load_fake):
        if report.stage == "Segmenting":
            import multiprocessing
            print(multiprocessing.active_children()[0].pid, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="kills by signal")
def test_they_end_when_the_batch_is_killed(tmp_path):
    for number in range(20):
        write_scan(tmp_path / "scans" / f"{number:02}.nii.gz", number)
    (tmp_path / "killed.py").write_text(KILLED)
    words = [sys.executable, str(tmp_path / "killed.py"), str(tmp_path / "scans"), str(tmp_path / "out")]
    done = subprocess.run(words, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": os.getcwd()})
    assert done.returncode == -signal.SIGKILL, done.stderr
    until = time.monotonic() + 120
    while not gone(int(done.stdout)) and time.monotonic() < until:
        time.sleep(0.1)
    assert gone(int(done.stdout))
