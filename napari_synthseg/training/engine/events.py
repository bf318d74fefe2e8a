"""`events.jsonl`, the log of a run, one JSON object a line; and `Watch`, the requests of whoever follows it.

A line of a step has "stage", "step", "time" (seconds since 1970), losses and, now and then, scores. A line with
"event" is one of the lifecycle: start, waiting, resumed, paused, continued, trouble, end. No torch here.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from napari_synthseg.atomic_io import placed
from napari_synthseg.jobs import checkpoint
from napari_synthseg.training.folder import EVENTS, PICTURE

TAIL = 65_536
"""Bytes at the end of the file that `tail` reads first."""
Item = TypeVar("Item")


def plain(value: Any) -> Any:
    """Convert a value to strict JSON: numbers that are not finite become null."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


class EventLog:
    """Append to a run's events; lines that a full disk refuses are written later."""

    def __init__(self, run: Path) -> None:
        self.path = run / EVENTS
        self.waiting: list[str] = []

    def append(self, line: Mapping[str, Any]) -> None:
        """Append one line, with the time unless it has one."""
        self.waiting.append(json.dumps(plain({"time": round(time.time(), 2), **line})))
        try:
            self._write()
        except OSError:
            del self.waiting[: max(0, len(self.waiting) - 10_000)]  # the buffer is bounded

    def _write(self) -> None:
        text = "".join(line + "\n" for line in self.waiting)
        with self.path.open("ab+") as f:
            if f.tell():
                f.seek(-1, os.SEEK_END)
                if f.read(1) != b"\n":  # the process before died while it wrote
                    text = "\n" + text
            f.write(text.encode())
            f.flush()
        self.waiting.clear()


class EventReader:
    """Read a run's events as they are appended."""

    def __init__(self, run: Path) -> None:
        self.path = run / EVENTS
        self.place = 0

    def read(self, limit: int = -1) -> list[dict[str, Any]]:
        """Return the events added since the last call, from at most `limit` bytes; an incomplete line comes later."""
        try:
            with self.path.open("rb") as f:
                if f.seek(0, os.SEEK_END) < self.place:  # started over
                    self.place = 0
                f.seek(self.place)
                text = f.read(limit)
        except OSError:
            return []
        complete = text[: text.rfind(b"\n") + 1]
        self.place += len(complete)
        return list(_parsed(complete))


def read_events(run: Path) -> list[dict[str, Any]]:
    """Return all events of a run, without damaged lines."""
    return EventReader(run).read()


def steps_that_count(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the lines of steps, without those that a resumed run repeated after its last checkpoint."""
    kept: dict[tuple[str, int], dict[str, Any]] = {}
    for event in events:
        if event.get("event") == "resumed":
            for key in [k for k in kept if k[0] == event.get("stage") and k[1] > event.get("step", 0)]:
                del kept[key]
        elif "event" not in event and "step" in event:
            kept[str(event.get("stage", "")), int(event["step"])] = event
    return list(kept.values())


def tail(run: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return the newest lines of steps, and the newest lifecycle event if it came later; empty if there is none.

    The time this takes does not depend on the length of the run.
    """
    path, span = run / EVENTS, TAIL
    while True:
        try:
            with path.open("rb") as f:
                size = f.seek(0, os.SEEK_END)
                f.seek(max(0, size - span))
                text = f.read()
        except OSError:
            return [], {}
        if span < size:
            text = text[text.find(b"\n") + 1 :]
        steps: list[dict[str, Any]] = []
        life: dict[str, Any] = {}
        for event in _parsed(text):
            if "event" in event:
                life = event
            elif "step" in event:
                steps.append(event)
                life = {}
        if steps or span >= size:
            return steps, life
        span *= 16


def _parsed(text: bytes) -> Iterator[dict[str, Any]]:
    for line in text.splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict):
            yield event


# Requests of whoever follows a run


@dataclass
class Watch:
    """Requests to a loop."""

    trial: int | None = None
    """Steps of each stage to try, to measure time and memory; None: all of them."""
    recorded: bool = False
    """Whether the run's config has its options already."""
    pictures: Callable[[], int | None] = lambda: None
    """Returns the steps between two pictures, or None for none."""
    doing: Callable[[str, int, int], None] = lambda text, done, total: None
    """Called with the activity between steps: a text, units done and in all."""
    _every: int | None = None

    def picture_due(self, step: int) -> bool:
        """Tell whether a picture is wanted of a step: at once when they are asked for, then every few steps."""
        before, self._every = self._every, self.pictures()
        return self._every is not None and (step % self._every == 0 or self._every != before)


NOBODY = Watch()
_watch: ContextVar[Watch] = ContextVar("watch", default=NOBODY)


def watch() -> Watch:
    return _watch.get()


@contextmanager
def watched(by: Watch) -> Iterator[None]:
    """Let loops of this thread obey requests inside the context."""
    token = _watch.set(by)
    try:
        yield
    finally:
        _watch.reset(token)


def doing(text: str, done: int = 0, total: int = 0) -> None:
    """Report the activity between two steps, such as "validating", 3, 9."""
    watch().doing(text, done, total)


def each(text: str, items: Sequence[Item]) -> Iterator[Item]:
    """Iterate over items; whoever follows the run sees how far the activity is, and can stop it between two of them.

    Raises:
        Stopped: it was asked to.
    """
    for number, item in enumerate(items):
        doing(text, number + 1, len(items))
        checkpoint()
        yield item


def save_picture(run: Path, stage: str, step: int, arrays: dict[str, Any]) -> None:
    with placed(run / PICTURE) as part, part.open("wb") as f:
        np.savez_compressed(f, stage=np.array(stage), step=np.array(step), **arrays)
