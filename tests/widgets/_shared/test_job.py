"""A job tells the main thread how it goes and ends in exactly one way."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import time
import weakref

import pytest
from napari.utils.progress import progress
from qtpy.QtCore import QObject, QThreadPool
from qtpy.QtWidgets import QLabel

from napari_synthseg.jobs import Progress, checkpoint
from napari_synthseg.widgets._shared import job as job_module
from napari_synthseg.widgets._shared.job import Job
from tests.widgets.builders import SOON


@pytest.fixture
def job(qtbot):
    """A job and what it emitted: a list of (signal, value, thread)."""
    job = Job()
    job.said = []
    for name in ("progressed", "returned", "failed"):
        getattr(job, name).connect(lambda value, name=name: job.said.append((name, value)))
    job.stopped.connect(lambda: job.said.append(("stopped", None)))
    yield job
    job.stop()
    qtbot.waitUntil(lambda: not job.running)


def counting(reports: int, seconds: float = 0.0, ended: list | None = None):
    try:
        for done in range(reports):
            yield Progress("Counting", done + 1, reports)
            time.sleep(seconds)
        return threading.current_thread()
    finally:
        if ended is not None:
            ended.append(threading.current_thread())


def failing():
    yield Progress("Failing")
    raise ValueError("It cannot be done.")


def test_a_job_reports_and_returns_from_another_thread(job, qtbot):
    with qtbot.waitSignal(job.returned) as result:
        job.start("Count", counting, 3)
        assert job.running
    assert result.args[0] is not threading.main_thread()
    assert [value.done for name, value in job.said if name == "progressed" and value.stage == "Counting"] == [1, 2, 3]
    assert not job.running


def test_a_job_starts_while_others_have_every_thread(job, qtbot):
    """On a computer of one or two cores, which is how many threads the pool has."""
    pool, release = QThreadPool.globalInstance(), threading.Event()
    most = pool.maxThreadCount()
    pool.setMaxThreadCount(1)
    try:
        pool.start(lambda: release.wait(60))
        qtbot.waitUntil(lambda: pool.activeThreadCount() == 1)
        with qtbot.waitSignal(job.returned):
            job.start("Count", counting, 3)
        assert not release.is_set()
    finally:
        release.set()
        pool.waitForDone(60_000)
        pool.setMaxThreadCount(most)


def test_a_job_says_every_second_how_long_it_runs(job, qtbot, monkeypatch):
    monkeypatch.setattr(job_module, "TICK_MS", 50)
    seconds: list[float] = []
    job.ticked.connect(lambda report: seconds.append(job.seconds))
    assert job.seconds == 0.0
    with qtbot.waitSignal(job.returned):
        job.start("Deaf", deaf, 1.0, [])  # it reports nothing meanwhile
    assert len(seconds) >= 3 and seconds == sorted(seconds) and seconds[0] > 0 and 0.2 < seconds[-1] < 30
    count = len(seconds)
    qtbot.wait(150)
    assert len(seconds) == count and job.seconds == 0.0


def test_an_error_is_told_not_raised(job, qtbot):
    with qtbot.waitSignal(job.failed) as failure:
        job.start("Fail", failing)
    assert str(failure.args[0]) == "It cannot be done."
    assert [name for name, _ in job.said if name in ("returned", "stopped")] == []


def test_a_stopped_job_ends_soon_and_says_nothing_else(job, qtbot):
    ended: list = []
    job.start("Count", counting, 100_000, 0.02, ended)
    qtbot.waitUntil(lambda: len(job.said) > 3)
    before = time.monotonic()
    with qtbot.waitSignal(job.stopped):
        job.stop()
        said = len(job.said)
    assert time.monotonic() - before < SOON
    assert [name for name, _ in job.said[said:]] == ["stopped"]
    qtbot.waitUntil(lambda: bool(ended))
    assert ended[0] is not threading.main_thread()


def test_a_job_stopped_in_its_last_moment_returns_nothing(job, qtbot):
    release = threading.Event()

    def last():
        yield Progress("Counting", 1, 1)
        release.wait(120)
        return "too late"

    job.start("Count", last)
    qtbot.waitUntil(lambda: any(name == "progressed" for name, _ in job.said))
    with qtbot.waitSignal(job.stopped):
        job.stop()
    release.set()
    qtbot.wait(200)
    assert "returned" not in [name for name, _ in job.said]


def test_the_activity_bar_follows_and_goes(job, qtbot):
    job.start("Count", counting, 4, 0.5)
    (bar,) = progress._all_instances
    qtbot.waitUntil(lambda: bar.total == 4 and bar.n >= 2)
    assert "Counting" in bar.desc
    qtbot.waitUntil(lambda: not job.running)
    assert not progress._all_instances


def test_napari_s_spinner_turns_slowly_meanwhile(job, qtbot, window):
    """Each of its 25 pictures a second composes the whole window anew, without a graphics card by the processor."""
    status_bar = window().window._qt_window.statusBar()
    (spinner,) = [label.movie() for label in status_bar.findChildren(QLabel) if label.movie() is not None]
    job.start("Count", counting, 100_000, 0.02)
    assert spinner.speed() == job_module.SPINNER_PERCENT < 50
    with qtbot.waitSignal(job.stopped):
        job.stop()
    assert spinner.speed() == 100


def test_the_activity_bar_can_cancel(job, qtbot):
    job.start("Count", counting, 100_000, 0.02)
    (bar,) = progress._all_instances
    with qtbot.waitSignals([job.stopping, job.stopped]):
        bar.cancel()


def busy(seconds: float, ended: list):
    """One long step that asks, as networks do between layers, whether to go on."""
    yield Progress("Busy")
    try:
        for _ in range(round(seconds / 0.02)):
            time.sleep(0.02)
            checkpoint()
    finally:
        ended.append(time.monotonic())
    yield Progress("Done")


def deaf(seconds: float, ended: list, release: threading.Event | None = None):
    """One long step that cannot be interrupted."""
    yield Progress("Deaf")
    time.sleep(seconds)
    if release is not None:
        release.wait(120)
    ended.append(time.monotonic())
    yield Progress("Done")
    return "too late"


@pytest.mark.parametrize("by", ["the job", "napari, whose window closes"])
def test_a_long_step_is_interrupted_at_its_next_checkpoint(job, qtbot, by):
    ended: list = []
    job.start("Busy", busy, 600, ended)
    qtbot.waitUntil(lambda: any(name == "progressed" and value.stage == "Busy" for name, value in job.said))
    before = time.monotonic()
    with qtbot.waitSignal(job.stopped):
        job.stop() if by == "the job" else job._worker.quit()
    assert ended and ended[0] - before < SOON
    assert not any(name == "returned" for name, _ in job.said)


def test_a_step_that_cannot_be_interrupted_is_not_waited_for(job, qtbot):
    ended, release = [], threading.Event()
    job.start("Deaf", deaf, 0.0, ended, release)
    qtbot.waitUntil(lambda: any(name == "progressed" and value.stage == "Deaf" for name, value in job.said))
    with qtbot.waitSignal(job.stopped):
        job.stop()
    assert not ended
    said = len(job.said)
    with qtbot.waitSignal(job.returned) as result:  # the next job does not hear of the last one
        job.start("Count", counting, 3, 0.1)
        release.set()
    qtbot.waitUntil(lambda: bool(ended))
    qtbot.wait(50)
    assert result.args[0] is not None
    assert {value.stage for name, value in job.said[said:] if name == "progressed"} <= {"Starting", "Counting"}
    assert [name for name, _ in job.said[said:]].count("returned") == 1


@pytest.mark.parametrize("collected", [True, False])
def test_a_job_that_qt_deletes_ends_its_thread(qtbot, collected):
    """Python's collector empties functions that only Qt holds; if Qt calls one afterwards, Python crashes."""
    ended: list = []
    owner = QObject()
    owner.itself = owner
    owner.job = Job(owner)
    owner.job.start("Busy", busy, 600, ended)
    qtbot.waitUntil(lambda: any(bar.desc.startswith("Busy: Busy") for bar in progress._all_instances))
    owner.deleteLater()
    if collected:
        del owner
        gc.collect()
    qtbot.waitUntil(lambda: bool(ended))
    qtbot.waitUntil(lambda: not progress._all_instances)


ENDING = """
import time
from napari.qt import get_qapp
from napari_synthseg.jobs import Progress, checkpoint
from napari_synthseg.widgets._shared import job as module

def steps(interruptible):
    yield Progress("Busy")
    for _ in range(60):
        time.sleep(0.02)
        if interruptible:
            checkpoint()
    yield Progress("Done")

application = get_qapp()
module.PATIENCE_AT_EXIT_MS = {patience}
job = module.Job()
reports = []
job.progressed.connect(reports.append)
job.start("", steps, {interruptible})
while not any(report.stage == "Busy" for report in reports):
    application.processEvents()
print("working", flush=True)
"""


@pytest.mark.parametrize(("interruptible", "patience"), [(True, 10_000), (False, 1)])
def test_a_process_that_ends_in_the_middle_of_a_job_ends_well(interruptible, patience):
    """As a script does that has no event loop: Python deletes what the thread speaks through."""
    code = ENDING.format(interruptible=interruptible, patience=patience)
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert "working" in ended.stdout, ended.stderr
    assert ended.returncode == 0 and "deleted" not in ended.stderr, ended.stderr


def test_an_error_that_somebody_keeps_does_not_keep_the_job(qtbot):
    error = ValueError("no luck")

    def fails():
        yield Progress("Working")
        raise error

    jobs = [Job()]
    jobs[0].start("", fails)
    qtbot.waitUntil(lambda: not jobs[0].running)
    alive = weakref.ref(jobs.pop())
    gc.collect()
    assert error.__traceback__ is not None and alive() is None
