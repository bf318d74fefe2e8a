"""A run's life: recorded, paused, stopped, queued, killed and taken up again, without losing anything or lying."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from napari_synthseg.errors import InputError
from napari_synthseg.jobs import Stopped, run
from napari_synthseg.training import runs
from napari_synthseg.training.engine import loop
from napari_synthseg.training.engine.checkpoints import atomic_save, load_checkpoint, save_newest
from napari_synthseg.training.engine.events import read_events
from napari_synthseg.training.folder import checkpoint, write_config
from napari_synthseg.training.recipe import check_new
from napari_synthseg.training.runs import process
from napari_synthseg.weights.store import load_model
from tests.training.builders import assert_same_ends

PATIENCE = 180.0


def until(true, what: str) -> None:
    """Wait for something, as long as a busy machine may need."""
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, what
        time.sleep(0.05)


def life(path: Path) -> list[str]:
    return [event["event"] for event in read_events(path) if "event" in event]


def test_from_options_to_weights_in_use(tiny) -> None:
    path = runs.create("synthseg", tiny(device="auto"))
    weights = run(runs.train_run(path))
    assert runs.read_config(path).options.device == "auto" and runs.status(path).device in runs.devices()
    assert runs.read_config(path).card["labels"]
    state = runs.status(path)
    assert weights == path / "mine.safetensors" == state.weights
    assert state.kind == "finished" and (state.done, state.total) == (4, 4) and not state.active
    assert life(path) == ["start", "end"]
    lines = [event for event in read_events(path) if "event" not in event]
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    assert all({"time", "loss", "rate", "took"} <= set(line) for line in lines)
    used = runs.use(path)
    assert load_model("mine").card["steps"] == 4 and used.stem == "mine"
    assert runs.use(path).stem == "mine-2"
    config = json.loads((path / "config.json").read_text())
    config["options"]["name"] = "synthseg-fast"
    (path / "config.json").write_text(json.dumps(config))
    assert [runs.use(path).stem for _ in range(2)] == ["my-synthseg-fast", "my-synthseg-fast-2"]


def test_a_failure_says_why_and_an_untouched_folder_goes_away(line, tmp_path) -> None:
    options = line(scans=tmp_path / "nowhere")
    with pytest.raises(InputError):
        run(runs.train_recorded(runs.recipe("line"), options))
    assert not options.out.exists()
    path = runs.create("line", options)
    with pytest.raises(InputError):
        run(runs.train_run(path))
    assert runs.status(path).kind == "failed" and "nowhere" in runs.status(path).message


def test_a_run_does_not_start_twice_or_over(line) -> None:
    path = runs.create("line", line(steps=9))
    job = runs.train_run(path)
    for report in job:
        if report.stage == "line":
            break
    assert runs.is_active(path) and runs.status(path).kind == "running"
    for again in (lambda: run(runs.train_run(path)), lambda: runs.launch(path), lambda: runs.delete(path)):
        with pytest.raises(InputError, match="active|running"):
            again()
    job.close()
    assert runs.status(path).kind == "stopped" and not runs.is_active(path)
    with pytest.raises(InputError, match="--resume"):
        run(runs.train_recorded(runs.recipe("line"), runs.read_config(path).options))


def test_pause_go_on_and_stop(line) -> None:
    path = runs.create("line", line(steps=500_000))
    thread = threading.Thread(target=lambda: pytest.raises(Stopped, run, runs.train_run(path)))
    thread.start()
    until(lambda: runs.status(path).step > 1, "no step")
    runs.pause(path)
    until(lambda: runs.status(path).kind == "paused", "no pause")
    at = runs.status(path).step
    time.sleep(0.5)
    assert runs.status(path).step == at
    runs.unpause(path)
    until(lambda: runs.status(path).step > at, "did not go on")
    runs.stop(path)
    thread.join(PATIENCE)
    assert not thread.is_alive() and runs.status(path).kind == "stopped"
    assert life(path) == ["start", "paused", "continued", "end"]
    assert load_checkpoint(checkpoint(path, "line"))["step"] == runs.status(path).step


def test_killed_and_taken_up_again_it_ends_at_the_same_numbers(tiny_organ, tmp_path, monkeypatch) -> None:
    options = replace(tiny_organ, steps=30)
    whole = runs.create("organ", options)
    run(runs.train_run(whole))
    path = runs.create("organ", replace(options, out=tmp_path / "killed", save_minutes=1e-9))
    monkeypatch.setenv("NAPARI_SYNTHSEG_NICE", "1")
    pid = runs.launch(path)
    until(lambda: runs.status(path).step >= 3, "no steps")
    assert runs.status(path).pid == pid
    assert sys.platform == "win32" or os.getpriority(os.PRIO_PROCESS, pid) > os.getpriority(os.PRIO_PROCESS, 0)
    os.kill(pid, signal.SIGKILL)
    until(lambda: not runs.is_active(path), "the dead hold their lock")
    state = runs.status(path)
    if state.kind == "finished":
        pytest.skip("it was done before it could be killed")
    assert state.kind == "interrupted" and "checkpoint" in state.message
    runs.launch(path)
    until(lambda: not runs.status(path).active and runs.status(path).kind == "finished", "did not finish")
    assert_same_ends(whole / "mine.safetensors", path / "mine.safetensors", "organ")
    follower = runs.Follower(path)
    follower.read()
    assert follower.curves["organ"].series("loss")[0].tolist() == list(range(1, 31))


def test_runs_wait_for_their_device_in_order(line) -> None:
    first, second = (runs.create("line", line(name, steps=2)) for name in ("first", "second"))
    hold = threading.Event()
    busy = runs.create("line", line("busy", steps=400_000))
    job = threading.Thread(
        target=lambda: pytest.raises(Stopped, run, runs.train_run(busy, wait=True), None, hold.is_set)
    )
    job.start()
    until(lambda: runs.status(busy).step > 0, "no step")
    order: list[str] = []

    def wait_for(path: Path) -> None:
        run(runs.train_run(path, wait=True), lambda report: order.append(path.name) if report.stage == "line" else None)

    waiting = []
    for path in (first, second):
        waiting.append(threading.Thread(target=wait_for, args=(path,)))
        waiting[-1].start()
        until(lambda path=path: runs.status(path).kind == "waiting", "does not wait")
    assert "Another run is on cpu" in runs.status(first).message and "1 run before it" in runs.status(second).message
    hold.set()
    for thread in (job, *waiting):
        thread.join(PATIENCE)
    assert order == ["first", "first", "second", "second"]
    assert [runs.status(path).kind for path in (busy, first, second)] == ["stopped", "finished", "finished"]


def test_a_checkpoint_that_cannot_be_written_costs_neither_the_run_nor_the_one_before(line, monkeypatch) -> None:
    path = runs.create("line", line(steps=6, save_minutes=1e-9))

    def full_now_and_then(state, *where) -> None:
        if state["step"] in (2, 3):
            raise OSError(28, "No space left on device")
        save_newest(state, *where)

    monkeypatch.setattr(loop, "save_newest", full_now_and_then)
    run(runs.train_run(path))
    assert life(path).count("trouble") == 2 and runs.status(path).kind == "finished"
    assert load_checkpoint(checkpoint(path, "line"))["step"] == 6


def test_a_truncated_checkpoint_is_replaced_by_the_last_good_one(line) -> None:
    path = runs.create("line", line(steps=5, save_minutes=1e-9))
    run(runs.train_run(path))
    newest = checkpoint(path, "line")
    newest.write_bytes(newest.read_bytes()[:1000])
    runs.change(path, steps=6)
    run(runs.train_run(path))
    resumed, trouble = [one for one in read_events(path) if one.get("event") in ("resumed", "trouble")]
    assert resumed["step"] == 5 and "line.pt is damaged" in trouble["why"] and "line-previous.pt" in trouble["why"]
    assert load_checkpoint(newest)["step"] == 6 and runs.status(path).kind == "finished"


def test_a_full_disk_leaves_no_half_checkpoint(tmp_path, monkeypatch) -> None:
    where = tmp_path / "checkpoints" / "unet.pt"
    atomic_save({"step": 1}, where)

    def full(state, file) -> None:
        file.write(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="space"):
        atomic_save({"step": 2}, where)
    assert [one.name for one in where.parent.iterdir()] == ["unet.pt"] and load_checkpoint(where)["step"] == 1


def test_what_ran_out_of_memory_says_so(line, monkeypatch) -> None:
    path = runs.create("line", line())

    def hungry(options):
        yield from ()
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    monkeypatch.setattr(runs.recipe("line"), "train", hungry)
    with pytest.raises(torch.OutOfMemoryError):
        run(runs.train_run(path))
    assert "smaller batch" in runs.status(path).message


def test_an_estimate_is_measured_and_leaves_nothing_behind(tiny_organ, monkeypatch) -> None:
    options = replace(tiny_organ, steps=1_000)
    reports, seen = [], []
    monkeypatch.setattr(
        sys.modules[runs.estimate.__module__], "read_events", lambda out: seen.extend(read_events(out)) or seen
    )
    result = run(runs.estimate("organ", options), reports.append)
    first, *warm = [one for one in seen if "event" not in one]
    steps = 1_000 * sum(one["took"] for one in warm) / len(warm) + 11 * warm[-1]["validating"]
    assert 0 <= result.seconds - steps < 600 and first["took"] > 0 and result.device == "cpu"
    assert result.memory and result.memory > 50 << 20 and "cpu" in result.sentence
    assert reports[-1].total == 3 and not options.out.exists() and runs.all_runs() == []


def test_an_estimate_of_what_cannot_start_says_why(line, tmp_path, monkeypatch, capsys) -> None:
    options = line(scans=tmp_path / "nowhere")
    assert process.main([str(runs.create("line", options)), "--trial", "2"]) == 1
    said = capsys.readouterr().err
    estimate = sys.modules["napari_synthseg.training.runs.estimate"]  # of the package it is the function
    monkeypatch.setattr(
        estimate, "detached", lambda _, out: process.detached([sys.executable, "-c", f"exit({said!r})"], out)
    )
    with pytest.raises(InputError, match="no folder .*nowhere"):
        run(runs.estimate("line", options))


@pytest.mark.parametrize(
    ("recipe", "stage", "refused"),
    [("synthseg", "train", True), ("robust", "s1", True), ("robust", "s2", False), ("synthseg", "s2", True)],
)
def test_a_folder_takes_a_stage_that_it_lacks_of_the_same_recipe_only(tmp_path, recipe, stage, refused):
    entry = runs.RECIPES["robust"]
    write_config(tmp_path, recipe=recipe, options={}, stages={})
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / f"{stage}.pt").touch()
    with pytest.raises(InputError, match="contains a run already") if refused else nullcontext():
        check_new(tmp_path, entry.name, ("s1", "d"))
