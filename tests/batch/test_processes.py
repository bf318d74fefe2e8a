"""Real processes over pipes: they die, are replaced, ignore Ctrl+C, end when asked, and listen nowhere."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from napari_synthseg.batch import processes
from napari_synthseg.batch.job import segment_many
from napari_synthseg.batch.options import BatchOptions
from napari_synthseg.batch.processes import Processes
from napari_synthseg.jobs import Stopped, run
from tests.batch.fakes import DEADLY_TO_READ, QUICK, load_deadly, load_fake, write_scan
from tests.sockets import listening


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.skipif(sys.platform == "win32", reason="kills by signal")
def test_a_scan_that_kills_takes_nothing_along(tmp_path):
    """It kills while it is read ahead, beside an innocent one; the process is sent SIGINT all the time, too."""
    scans, started = tmp_path / "scans", []
    for number in range(5):
        write_scan(scans / f"{number}.nii.gz", number)
    write_scan(scans / f"2{DEADLY_TO_READ}.nii.gz", 50)

    def workers(settings):
        started.append(Processes(1, settings))
        return started[0]

    open_sockets = set()

    def interfere(report):
        pids = started[0].pids if started else []
        if report.stage == "Segmenting" and sys.platform == "linux":
            open_sockets.update(listening([*pids, os.getpid()]))
        for pid in pids:
            os.kill(pid, signal.SIGINT)  # what Ctrl+C sends to all of a terminal's processes

    before = listening([os.getpid()]) if sys.platform == "linux" else set()
    options = BatchOptions(deaths=1)
    result = run(segment_many(scans, tmp_path / "out", QUICK, options, load=load_deadly, workers=workers), interfere)
    (failed,) = [one for one in result.entries if one.status == "failed"]
    assert result.count("ok") == 5 and Path(failed.input).name.startswith("2deadly")
    assert failed.reason == "It took down the process that tried it (killed by SIGKILL, perhaps for want of memory)."
    assert next(one.attempts for one in result.entries if Path(one.input).name == "2.nii.gz") == 2
    assert open_sockets == before
    assert not [path for path in (tmp_path / "out").iterdir() if path.name.startswith(".segment-")]


def test_asked_to_stop_they_are_gone_soon(tmp_path):
    for number in range(30):
        write_scan(tmp_path / "scans" / f"{number:02}.nii.gz", number)
    started: list[Processes] = []

    def workers(settings):
        started.append(Processes(1, settings))
        return started[0]

    pids: list[int] = []

    def stop_now() -> bool:
        pids[:] = started[0].pids if started else []
        return bool(pids) and any((tmp_path / "out").glob("*_dseg.nii.gz"))

    job = segment_many(tmp_path / "scans", tmp_path / "out", QUICK, load=load_fake, workers=workers)
    begun = time.monotonic()
    with pytest.raises(Stopped):
        run(job, None, stop_now)
    assert pids and all(map(gone, pids)) and time.monotonic() - begun < 120
    done = len(list((tmp_path / "out").glob("*_dseg.nii.gz")))
    assert 1 <= done < 30
    assert not list((tmp_path / "out").glob(".segment-*"))


def test_processors_are_divided(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "6")
    assert processes.available_cpus() == 6
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert 1 <= processes.available_cpus() <= (os.cpu_count() or 1)


@pytest.mark.parametrize(
    ("code", "words"), [(-9, "SIGKILL, perhaps for want of memory"), (-11, "SIGSEGV"), (3, "code 3")]
)
def test_how_a_process_ended_is_said(code, words):
    assert words in processes._how_it_ended(code)
