"""The record of a run: written line by line, read as it grows, honest after a crash."""

from __future__ import annotations

import json

import pytest

from napari_synthseg.training.engine.events import EventLog, EventReader, read_events, steps_that_count, tail


def step(at: int, stage: str = "unet", **more) -> dict:
    return {"stage": stage, "step": at, "loss": 1 / at, **more}


def test_what_is_written_is_read_once(tmp_path) -> None:
    log, reader = EventLog(tmp_path), EventReader(tmp_path)
    assert reader.read() == []
    log.append(step(1))
    assert [event["step"] for event in reader.read()] == [1]
    log.append(step(2, score=float("nan")))
    (second,) = reader.read()
    assert second["step"] == 2 and second["score"] is None and second["time"] > 1e9
    assert reader.read() == []


def test_half_a_line_waits_for_its_other_half(tmp_path) -> None:
    reader, path = EventReader(tmp_path), tmp_path / "events.jsonl"
    path.write_text('{"step": 1}\n{"st')
    assert [event["step"] for event in reader.read()] == [1]
    with path.open("a") as f:
        f.write('ep": 2}\n')
    assert [event["step"] for event in reader.read()] == [2]


def test_a_line_broken_by_a_crash_costs_no_other(tmp_path) -> None:
    (tmp_path / "events.jsonl").write_text('{"step": 1}\n{"step": 2, "lo')
    EventLog(tmp_path).append({"step": 3})
    assert [event["step"] for event in read_events(tmp_path)] == [1, 3]


def test_what_a_full_disk_refuses_is_written_later(tmp_path, monkeypatch) -> None:
    log = EventLog(tmp_path)
    write = log._write

    def full() -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(log, "_write", full)
    log.append(step(1))
    assert read_events(tmp_path) == []
    monkeypatch.setattr(log, "_write", write)
    log.append(step(2))
    assert [event["step"] for event in read_events(tmp_path)] == [1, 2]


def test_steps_that_a_resumed_run_does_again_count_once(tmp_path) -> None:
    log = EventLog(tmp_path)
    for at in (1, 2, 3):
        log.append(step(at, try_=1))
    log.append({"event": "resumed", "stage": "unet", "step": 1})
    log.append(step(2, try_=2))
    log.append({"event": "resumed", "stage": "refine", "step": 0})  # another stage
    kept = steps_that_count(read_events(tmp_path))
    assert [(line["step"], line["try_"]) for line in kept] == [(1, 1), (2, 2)]


@pytest.mark.parametrize("count", [3, 5_000])
def test_the_tail_is_the_newest_steps_and_what_came_after(tmp_path, count) -> None:
    assert tail(tmp_path) == ([], {})
    lines = [json.dumps({"event": "start"}), *(json.dumps(step(i + 1)) for i in range(count))]
    (tmp_path / "events.jsonl").write_text("\n".join(lines) + "\n")
    steps, life = tail(tmp_path)
    assert steps[-1]["step"] == count and life == {}
    EventLog(tmp_path).append({"event": "end", "how": "stopped"})
    steps, life = tail(tmp_path)
    assert steps[-1]["step"] == count and life["how"] == "stopped"
