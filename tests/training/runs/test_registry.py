"""Where runs are, what they are made of, and what becomes of them."""

from __future__ import annotations

import socket
from dataclasses import MISSING, fields, replace
from pathlib import Path

import pytest

from napari_synthseg.errors import InputError
from napari_synthseg.fields import from_json, to_json
from napari_synthseg.training import runs
from napari_synthseg.training.engine.events import EventLog, Watch
from napari_synthseg.training.folder import write_config
from napari_synthseg.training.runs import run as status_of
from napari_synthseg.training.runs.process import _Activity
from napari_synthseg.training.runs.run import lock, request, write_process


def test_a_run_is_found_where_it_was_made(tiny, home) -> None:
    assert runs.all_runs() == []
    run = runs.create("synthseg", tiny("first"))
    assert run == home / "runs" / "first" and runs.all_runs() == [run]
    assert runs.find_run("first") == run == runs.find_run(run)
    assert runs.recipe_of(run) == "synthseg" and runs.status(run).kind == "new"


def test_a_run_elsewhere_is_found_until_it_is_gone(tiny, tmp_path) -> None:
    run = runs.create("synthseg", tiny(out=tmp_path / "far" / "away"))
    assert runs.all_runs() == [run]
    runs.delete(run)
    assert runs.all_runs() == [] and not run.exists()


def test_names_are_made_different(tiny) -> None:
    assert runs.new_folder("synthseg", "My run / 1").name == "My-run---1"
    runs.create("synthseg", tiny("a"))
    assert runs.new_folder("synthseg", "a").name == "a-2"
    with pytest.raises(InputError, match="holds a run already"):
        runs.create("synthseg", tiny(out=runs.runs_folder() / "a"))


def test_options_survive_the_config(tiny) -> None:
    options = tiny(locator_features=(4, 4, 4, 4), learning_rate=1e-3, curriculum=(0.5, 7))
    config = runs.read_config(runs.create("synthseg", options))
    assert config.options == options
    assert config.stages == {"unet": 4} and config.created > 1e9


def test_options_can_be_changed_before_the_next_start(tiny) -> None:
    run = runs.create("synthseg", tiny())
    runs.change(run, steps=9)
    assert runs.read_config(run).options.steps == 9 and runs.status(run).total == 9
    with pytest.raises(InputError, match="at least 1"):
        runs.change(run, steps=-1)
    with pytest.raises(InputError, match="no option 'stepz'"):
        runs.change(run, stepz=1)
    assert runs.read_config(run).options.steps == 9


def test_a_duplicate_takes_its_layers_along(tiny, home) -> None:
    first = home / "runs" / "first"
    (first / "data").mkdir(parents=True)
    (first / "data" / "maps.npz").write_bytes(b"layers")
    options = tiny(out=first)
    run = runs.create("synthseg", replace(options, label_maps=first / "data" / "maps.npz", out=first, steps=4))
    twin = runs.duplicate(run, seed=5)
    config = runs.read_config(twin)
    assert twin.name == "first-2" and config.options.seed == 5 and config.options.steps == 4
    assert config.options.label_maps == twin / "data" / "maps.npz" and config.options.label_maps.is_file()


def test_deleting_leaves_what_is_not_the_runs(tiny) -> None:
    run = runs.create("synthseg", tiny())
    (run / "notes.txt").write_text("mine")
    (run / "mine.safetensors").write_bytes(b"")
    runs.delete(run)
    assert [path.name for path in run.iterdir()] == ["notes.txt"]
    with pytest.raises(InputError, match="no training run"):
        runs.delete(run)


def test_unknown_runs_are_one_sentence(tmp_path) -> None:
    with pytest.raises(InputError, match="no run 'x'"):
        runs.find_run("x")
    with pytest.raises(InputError, match="no training run"):
        runs.launch(tmp_path)
    (tmp_path / "config.json").write_text("{broken")
    assert runs.status(tmp_path).kind == "failed" and "config.json" in runs.status(tmp_path).message


@pytest.mark.parametrize("name", list(runs.RECIPES))
def test_every_recipe_has_what_the_window_and_the_command_line_need(name, tmp_path) -> None:
    kind = runs.RECIPES[name].options
    needed = {one.name for one in fields(kind)}
    assert {"out", "resume", "seed", "device", "threads", "validate_every", "save_minutes", "name"} <= needed
    paths = {one.name: tmp_path for one in fields(kind) if one.default is MISSING}
    try:
        options = kind(**paths)
    except InputError:  # learn2synth wants labelled scans, fine-tuning something to start from
        options = kind(**paths, **{n: tmp_path for n in ("labelled", "scans") if n in needed and n not in paths})
    assert from_json(kind, to_json(options)) == options
    stages = runs.RECIPES[name].stages(options)
    assert stages and all(count > 0 for count in stages.values())


# Status between steps, and requests


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
