"""Whether a run is going, and what it is doing: told by a lock that lives as long as its process, and by its events."""

from __future__ import annotations

import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from napari_synthseg.training.engine import events
from napari_synthseg.training.folder import CONFIG, LOCK, read_json
from napari_synthseg.training.runs import requests

PROCESS = "process.json"
"""Which process, on which machine, trained last, and since when."""
SILENT = 900.0
"""Seconds without news after which a run on another machine no longer counts as going."""

Kind = Literal[
    "new",
    "waiting",
    "starting",
    "running",
    "paused",
    "stopping",
    "stopped",
    "finished",
    "failed",
    "interrupted",
    "elsewhere",
]
GOING: tuple[Kind, ...] = ("waiting", "starting", "running", "paused", "stopping", "elsewhere")


@dataclass(frozen=True)
class State:
    """What is known of a run.

    Attributes:
        kind: new (never started), waiting (for its device), starting (reads its data), running, paused, stopping,
            stopped (asked to), finished, failed (said why), interrupted (ended without a word), elsewhere (going on
            another machine).
        words: a sentence for people, empty where the kind says it all.
        stage: in training, or the last one that was.
        step: of this stage.
        steps: of this stage in all; 0 unknown.
        done: steps over all stages.
        total: of all stages; 0 unknown.
        steps_per_second: over the last lines; None unknown.
        seconds_left: at this pace; None unknown.
        started: seconds since 1970 of the last start; None never.
        updated: of the last line; None never.
        device: it trains on, if known.
        memory: most bytes taken, on the device or of the machine; None unknown.
        pid: of its process, while it is going here.
        score: of the last validation that is known; None where the last lines have none.
        weights: that it exported, if they are there.
    """

    kind: Kind
    words: str = ""
    stage: str = ""
    step: int = 0
    steps: int = 0
    done: int = 0
    total: int = 0
    steps_per_second: float | None = None
    seconds_left: float | None = None
    started: float | None = None
    updated: float | None = None
    device: str = ""
    memory: int | None = None
    pid: int | None = None
    score: float | None = None
    weights: Path | None = None

    @property
    def going(self) -> bool:
        """Whether some process is at it."""
        return self.kind in GOING


def lock(run: Path) -> FileLock:
    """What the process that trains holds as long as it lives."""
    return FileLock(str(run / LOCK), thread_local=False)


def is_going(run: Path) -> bool:
    """Whether a process of this machine trains it, or waits to."""
    if not (run / LOCK).exists():
        return False
    probe = lock(run)
    try:
        probe.acquire(timeout=0)
    except Timeout:
        return True
    except OSError:  # read-only: nobody here could train it
        return False
    probe.release()
    return False


def state(run: Path) -> State:
    """What a run is doing; reads the end of its events only, and never raises for a damaged folder."""
    config = read_json(run / CONFIG)
    if not config.get("recipe"):
        return State("failed", f"The folder holds no {CONFIG} that can be read.")
    process = read_json(run / PROCESS)
    recent, life = events.tail(run)
    step = recent[-1] if recent else {}
    going = is_going(run)
    kind, words = _kind(run, going, process, step, life)
    known = _numbers(config, recent, kind)
    return State(
        kind,
        words,
        started=process.get("started"),
        updated=life.get("time") or step.get("time"),
        device=str(process.get("device") or ""),
        pid=process.get("pid") if going else None,
        weights=_weights(run, life),
        **known,
    )


def _kind(
    run: Path, going: bool, process: dict[str, Any], step: dict[str, Any], life: dict[str, Any]
) -> tuple[Kind, str]:
    """The kind of state and what to say about it."""
    event = life.get("event")
    if going:
        if requests.asked(run).do == "stop":
            return "stopping", ""
        if event == "waiting":
            return "waiting", str(life.get("why", ""))
        if event == "paused":
            return "paused", ""
        return ("starting", "") if event in ("start", "resumed") or not step else ("running", _trouble(life))
    if event == "end":
        how = life.get("how")
        if how in ("stopped", "finished", "failed"):
            return how, str(life.get("why", ""))
    if not step and not life:
        return "new", ""
    updated = life.get("time") or step.get("time") or 0.0
    if process.get("host") not in (None, socket.gethostname()) and time.time() - updated < SILENT:
        return "elsewhere", f"It is going on {process['host']}."
    return "interrupted", (
        "It ended without a word: killed, short of memory, or the machine was switched off. "
        "Resuming goes on from the last checkpoint."
    )


def _trouble(life: dict[str, Any]) -> str:
    return str(life.get("why", "")) if life.get("event") == "trouble" else ""


def _numbers(config: dict[str, Any], recent: list[dict[str, Any]], kind: Kind) -> dict[str, Any]:
    """How far it is, and how fast it goes."""
    stages = {str(k): int(v) for k, v in (config.get("stages") or {}).items()}
    total = sum(stages.values())
    if not recent:
        return {"total": total}
    step = recent[-1]
    stage, at = str(step.get("stage", "")), int(step["step"])
    names = list(stages)
    before = sum(stages[name] for name in names[: names.index(stage)]) if stage in stages else 0
    same = [line for line in recent if line.get("stage") == stage and isinstance(line.get("took"), int | float)]
    seconds = sum(line["took"] + (line.get("validating") or 0.0) for line in same)
    pace = len(same) / seconds if seconds > 0 else None
    done = total if kind == "finished" and total else before + at
    left = (total - done) / pace if pace and kind in ("running", "paused", "elsewhere") and total else None
    memory = next((line["memory"] for line in reversed(recent) if line.get("memory")), None)
    score = next((line["score"] for line in reversed(recent) if isinstance(line.get("score"), int | float)), None)
    return {
        "stage": stage,
        "step": at,
        "steps": stages.get(stage, int(step.get("steps") or 0)),
        "done": done,
        "total": total,
        "steps_per_second": pace,
        "seconds_left": left,
        "memory": memory,
        "score": score,
    }


def _weights(run: Path, life: dict[str, Any]) -> Path | None:
    """The file that the run exported."""
    name = life.get("weights")
    if not name:
        return None
    path = run / Path(str(name)).name
    return path if path.is_file() else None


def write_process(run: Path, device: str) -> None:
    """Say which process trains the run, for `state`."""
    import json

    from napari_synthseg.atomic_io import write_text

    facts = {"pid": os.getpid(), "host": socket.gethostname(), "device": device, "started": round(time.time(), 1)}
    write_text(run / PROCESS, json.dumps(facts) + "\n")
