"""Status and control of one run, through files in its folder: a lock, its last events, and `requests.json`.

A run is active as long as its process holds the lock of the folder. Others write their requests into `requests.json`,
which it reads after every step; nothing listens on a port.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from napari_synthseg.atomic_io import write_text
from napari_synthseg.training.engine import events
from napari_synthseg.training.folder import ACTIVITY, CONFIG, LOCK, PROCESS, REQUESTS, read_json

SILENCE_S = 900.0
"""Seconds without an event after which a run on another machine no longer counts as active."""
SAMPLE_S, STARVED = 2.0, 0.7
"""A run whose main thread waited for a processor for more of the last seconds than this fraction of them says so."""
Kind = Literal[
    "new", "waiting", "starting", "running", "paused", "stopping", "stopped", "finished", "failed", "interrupted",
    "elsewhere",
]  # fmt: skip
ACTIVE: tuple[Kind, ...] = ("waiting", "starting", "running", "paused", "stopping", "elsewhere")


@dataclass(frozen=True)
class Status:
    """Status of a run; numbers that are not known are 0 or None.

    Its kind is new (never started), waiting (for its device), starting (reads its data), running, paused, stopping,
    stopped (on request), finished, failed (with a message), interrupted (ended unexpectedly), elsewhere (active on
    another machine).
    """

    kind: Kind
    message: str = ""
    """A sentence for the user; empty if the kind says it all."""
    stage: str = ""
    """Current or last stage."""
    step: int = 0
    steps: int = 0
    """Of this stage in all."""
    done: int = 0
    """Steps over all stages."""
    total: int = 0
    steps_per_second: float | None = None
    seconds_left: float | None = None
    started: float | None = None
    """Seconds since 1970 of the last start."""
    updated: float | None = None
    """Of the last event."""
    device: str = ""
    memory: int | None = None
    """Peak bytes on the device or of the machine."""
    pid: int | None = None
    score: float | None = None
    """Of the last validation."""
    weights: Path | None = None
    """Exported file, if it exists."""

    @property
    def active(self) -> bool:
        """Whether a process holds the run."""
        return self.kind in ACTIVE


def lock(run: Path) -> FileLock:
    """Return the lock that a run's process holds as long as it lives."""
    return FileLock(str(run / LOCK), thread_local=False)


def is_active(run: Path) -> bool:
    """Tell whether a process of this machine trains the run or waits to."""
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


def status(run: Path) -> Status:
    """Read the status of a run from the end of its events; never raises for a damaged folder."""
    config = read_json(run / CONFIG)
    if not config.get("recipe"):
        return Status("failed", f"The folder holds no {CONFIG} that can be read.")
    process = read_json(run / PROCESS)
    recent, life = events.tail(run)
    step = recent[-1] if recent else {}
    active = is_active(run)
    kind, message = _active_kind(run, process, step, life) if active else _idle_kind(process, step, life)
    return Status(
        kind,
        message,
        started=process.get("started"),
        updated=life.get("time") or step.get("time"),
        device=str(process.get("device") or ""),
        pid=process.get("pid") if active else None,
        weights=_weights(run, life),
        **_numbers(config, recent, kind),
    )


def _active_kind(run: Path, process: dict[str, Any], step: dict[str, Any], life: dict[str, Any]) -> tuple[Kind, str]:
    event, why = life.get("event"), str(life.get("why", ""))
    if read_requests(run).do == "stop":
        return "stopping", ""
    if event in ("waiting", "paused"):
        return event, why
    trouble = why if event == "trouble" else ""
    kind: Kind = "starting" if event in ("start", "resumed") or not step else "running"
    return kind, trouble or _starved(process) or _activity(run, step, life)


def _idle_kind(process: dict[str, Any], step: dict[str, Any], life: dict[str, Any]) -> tuple[Kind, str]:
    if life.get("event") == "end" and (how := life.get("how")) in ("stopped", "finished", "failed"):
        return how, str(life.get("why", ""))
    if not step and not life:
        return "new", ""
    updated = life.get("time") or step.get("time") or 0.0
    if process.get("host") not in (None, socket.gethostname()) and time.time() - updated < SILENCE_S:
        return "elsewhere", f"It is running on {process['host']}."
    return "interrupted", (
        "The process ended unexpectedly (killed, out of memory, or power loss). Resume to continue from the last "
        "checkpoint."
    )


def _activity(run: Path, step: dict[str, Any], life: dict[str, Any]) -> str:
    """Return the activity of the process between steps, such as "Validating, 3 of 9"; empty if a step came later."""
    content = read_json(run / ACTIVITY)
    text, when = content.get("text"), content.get("time")
    if not isinstance(text, str) or not isinstance(when, int | float):
        return ""
    return text if when >= max(step.get("time") or 0.0, life.get("time") or 0.0) - 0.02 else ""


_waits: dict[int, list[tuple[float, float]]] = {}
"""By process: pairs of a time and the seconds that its main thread had stood in the processor's queue until then."""


def _starved(process: dict[str, Any]) -> str:
    """Return a sentence if a run of this computer waits for the processor most of the time (Linux), else ""."""
    try:
        waited = int(Path(f"/proc/{int(process['pid'])}/schedstat").read_text().split()[1]) / 1e9
    except (OSError, ValueError, IndexError, KeyError, TypeError):
        return ""
    if process.get("host") != socket.gethostname():
        return ""
    now = time.monotonic()
    samples = _waits.setdefault(process["pid"], [])
    samples.append((now, waited))
    while len(samples) > 2 and samples[1][0] <= now - SAMPLE_S:
        samples.pop(0)
    seconds = now - samples[0][0]
    starved = seconds >= SAMPLE_S and (waited - samples[0][1]) / seconds >= STARVED
    return "Waiting for the processor: other programs use it." if starved else ""


def _numbers(config: dict[str, Any], recent: list[dict[str, Any]], kind: Kind) -> dict[str, Any]:
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

    def newest(name: str) -> Any:
        values = (line.get(name) for line in reversed(recent))
        return next((value for value in values if isinstance(value, int | float)), None)

    return {
        "stage": stage,
        "step": at,
        "steps": stages.get(stage, int(step.get("steps") or 0)),
        "done": done,
        "total": total,
        "steps_per_second": pace,
        "seconds_left": left,
        "memory": newest("memory"),
        "score": newest("score"),
    }


def _weights(run: Path, life: dict[str, Any]) -> Path | None:
    path = run / Path(str(life.get("weights", ""))).name
    return path if life.get("weights") and path.is_file() else None


def write_process(run: Path, device: str) -> None:
    """Record that this process trains the run, for `status`."""
    facts = {"pid": os.getpid(), "host": socket.gethostname(), "device": device, "started": round(time.time(), 1)}
    write_text(run / PROCESS, json.dumps(facts) + "\n")


def write_activity(run: Path, text: str) -> None:
    """Record the activity of this process between steps, for `status`; a full disk only loses the message."""
    with contextlib.suppress(OSError):
        write_text(run / ACTIVITY, json.dumps({"text": text, "time": round(time.time(), 2)}) + "\n")


# Control


@dataclass(frozen=True)
class Requests:
    """Requests of others to a run."""

    do: Literal["go", "pause", "stop"] = "go"
    pictures: int | None = None
    """Steps between two pictures of a training sample; None for no pictures."""


def read_requests(run: Path) -> Requests:
    """Read the requests to a run; a damaged file asks nothing."""
    content = read_json(run / REQUESTS)
    do, pictures = content.get("do", "go"), content.get("pictures")
    every = pictures if isinstance(pictures, int) and pictures > 0 else None
    return Requests(do if do in ("go", "pause", "stop") else "go", every)


def request(run: Path, **changes: Any) -> None:
    """Change some requests to a run and keep the others."""
    write_text(run / REQUESTS, json.dumps(asdict(replace(read_requests(run), **changes))) + "\n")


def pause(run: Path) -> None:
    """Make a run wait after its current step; its memory stays allocated."""
    request(run, do="pause")


def unpause(run: Path) -> None:
    """Let a paused run continue."""
    request(run, do="go")


def stop(run: Path) -> None:
    """Make a run end after its current step, with a checkpoint."""
    request(run, do="stop")


def request_pictures(run: Path, every: int | None) -> None:
    """Make a run keep a picture of a training sample at once and then every few steps; None for no more."""
    request(run, pictures=every)
