"""Worker processes: they die, are replaced, ignore Ctrl+C, end when asked, listen nowhere; what one does."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from napari_synthseg.batch import executors, segmenter
from napari_synthseg.batch.job import segment_many
from napari_synthseg.batch.options import BatchOptions
from napari_synthseg.batch.plan import Task, made_with
from napari_synthseg.batch.segmenter import Segmenter, Settings
from napari_synthseg.errors import InputError
from napari_synthseg.inference import qc_regressor
from napari_synthseg.jobs import Stopped, run
from napari_synthseg.weights import store
from tests import keras_files as files
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


# What a process does


def test_the_next_scan_is_read_meanwhile_and_the_network_loaded_once(tmp_path, monkeypatch):
    loads, reads, next_is_read = [], [], threading.Event()
    read = segmenter.read_with_header

    def counted_load(options):
        loads.append(options)
        model = load_fake(options)
        forward = model.forward

        def waits(image):
            assert next_is_read.wait(60) or len(reads) == 3  # computing goes on only when the other was read
            return forward(image)

        model.forward = waits
        return model

    def counted_read(path, **more):
        volume = read(path, **more)
        reads.append(path.name)
        if len(reads) > 1:
            next_is_read.set()
        return volume

    monkeypatch.setattr(segmenter, "read_with_header", counted_read)
    one = Segmenter(Settings("t", QUICK, made_with(QUICK), load=counted_load))
    tasks = [Task(n, write_scan(tmp_path / f"{n}.nii.gz", n), tmp_path / f"{n}_dseg.nii.gz") for n in range(3)]
    for task, then in zip(tasks, [*tasks[1:], None], strict=True):
        outcome = one.do(task, then)
        assert outcome.reason == "" and outcome.record["scan"] == str(task.scan)
    one.close()
    assert reads == ["0.nii.gz", "1.nii.gz", "2.nii.gz"] and len(loads) == 1


def test_networks_that_help_are_loaded_once_too(tmp_path, monkeypatch):
    loaded, load_model = [], store.load_model
    monkeypatch.setattr(store, "load_model", lambda name, *rest: loaded.append(name) or load_model(name, *rest))
    monkeypatch.setattr(qc_regressor.score_steps, "__defaults__", (32,))
    path = files.write_keras(tmp_path / "qc.h5", files.random_arrays(files.regressor_shapes()))
    options = replace(QUICK, regressor=path)
    one = Segmenter(Settings("t", options, made_with(options), load=load_fake))
    for n in range(2):
        task = Task(n, write_scan(tmp_path / f"{n}.nii.gz", n), tmp_path / f"{n}_dseg.nii.gz")
        assert one.do(task).reason == ""
    one.close()
    assert loaded == [str(path)]


def test_weights_that_are_missing_are_missed_before_the_first_scan():
    options = replace(QUICK, parcellation="nowhere.h5")
    with pytest.raises(InputError, match=r"nowhere\.h5"):
        Segmenter(Settings("t", options, {}, load=load_fake))


def test_what_another_process_finished_in_this_batch_is_not_done_twice(tmp_path):
    settings = Settings("t", QUICK, made_with(QUICK), load=load_fake)
    task = Task(0, write_scan(tmp_path / "0.nii.gz"), tmp_path / "0_dseg.nii.gz")
    first = Segmenter(settings).do(task)
    changed = task.target.stat().st_mtime_ns
    again = Segmenter(settings).do(task)
    assert not first.found and again.found and again.record == first.record
    assert task.target.stat().st_mtime_ns == changed
