"""Status of a run between its steps, and the requests to it."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from napari_synthseg.training import runs
from napari_synthseg.training.engine.events import EventLog, Watch
from napari_synthseg.training.folder import write_config
from napari_synthseg.training.runs import run as status_of
from napari_synthseg.training.runs.process import _Activity
from napari_synthseg.training.runs.run import lock, request, write_process


@pytest.fixture
def active(tmp_path):
    """A run whose lock is held."""
    write_config(tmp_path, recipe="synthseg", options={}, stages={"unet": 10})
    held = lock(tmp_path)
    held.acquire()
    write_process(tmp_path, "cpu")
    EventLog(tmp_path).append({"event": "start"})
    yield tmp_path
    held.release()


def test_an_activity_shows_until_the_next_step(active) -> None:
    _Activity(active, ["unet"]).tell("reading scans", 7, 20)
    assert (runs.status(active).kind, runs.status(active).message) == ("starting", "Reading scans, 7 of 20")
    EventLog(active).append({"stage": "unet", "step": 1, "time": 1e10})
    assert (runs.status(active).kind, runs.status(active).message) == ("running", "")


def test_activities_are_written_a_few_times_a_second(active, monkeypatch) -> None:
    written = []
    monkeypatch.setattr("napari_synthseg.training.runs.process.write_activity", lambda run, text: written.append(text))
    activity = _Activity(active, ["unet"])
    for number in range(100):
        activity.tell("reading scans", number, 100)
    activity.tell("validating", 1, 3)
    assert written == ["Reading scans, 0 of 100", "Validating, 1 of 3"]


def test_a_run_that_waits_for_the_processor_says_so(active, monkeypatch) -> None:
    clock = iter((0.0, 5.0, 10.0))
    waited = iter(("0 0 1", "0 4900000000 1", "0 5000000000 1"))
    monkeypatch.setattr(status_of, "_waits", {})
    monkeypatch.setattr(status_of.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(Path, "read_text", lambda self, **_: next(waited))
    process = {"pid": 1, "host": socket.gethostname()}
    said = [status_of._starved(process) for _ in range(3)]
    assert [bool(one) for one in said] == [False, True, False] and "processor" in said[1]


def test_requests_change_one_by_one_and_a_damaged_file_asks_nothing(tmp_path) -> None:
    assert status_of.read_requests(tmp_path) == status_of.Requests()
    request(tmp_path, pictures=5)
    runs.pause(tmp_path)
    assert status_of.read_requests(tmp_path) == status_of.Requests("pause", 5)
    (tmp_path / "requests.json").write_text("{broken")
    assert status_of.read_requests(tmp_path) == status_of.Requests()


def test_the_first_picture_comes_at_once_and_then_every_few_steps() -> None:
    wanted: list[int | None] = [None]
    watch = Watch(pictures=lambda: wanted[0])
    assert not watch.picture_due(1)
    wanted[0] = 5
    assert [step for step in range(2, 12) if watch.picture_due(step)] == [2, 5, 10]
    wanted[0] = None
    assert not watch.picture_due(15)
