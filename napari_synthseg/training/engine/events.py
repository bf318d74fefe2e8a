"""`events.jsonl`: the log of a run, one JSON object a line, written by the loop.

A line of a step has "stage", "step", "time" (seconds since 1970), losses and, now and then, scores. A line with
"event" is one of the lifecycle: start, waiting, resumed, paused, continued, trouble, end. No torch here.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from napari_synthseg.training.folder import EVENTS

TAIL = 65_536
"""Bytes at the end of the file that `tail` looks at first."""


def plain(value: Any) -> Any:
    """Convert a value to strict JSON: numbers that are not finite become null."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


class EventLog:
    """Append to a run's events; lines that a full disk refuses are written later.

    Args:
        run: the run's folder.
    """

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
        with self.path.open("ab") as f:
            if f.tell() and not _ends_with_newline(self.path):
                text = "\n" + text  # the process before died while it wrote
            f.write(text.encode())
            f.flush()
        self.waiting.clear()


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as f:
        f.seek(-1, os.SEEK_END)
        return f.read(1) == b"\n"


class EventReader:
    """Read a run's events as they are appended.

    Args:
        run: the run's folder.
    """

    def __init__(self, run: Path) -> None:
        self.path = run / EVENTS
        self.place = 0

    def read(self, limit: int | None = None) -> list[dict[str, Any]]:
        """Return the events added since the last call; an incomplete line comes next time.

        Args:
            limit: largest number of bytes to read, for a window that must not wait.
        """
        try:
            with self.path.open("rb") as f:
                if f.seek(0, os.SEEK_END) < self.place:  # started over
                    self.place = 0
                f.seek(self.place)
                text = f.read(-1 if limit is None else limit)
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
