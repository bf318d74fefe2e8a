"""One run at a time on a device: a lock for each device, and tickets of those that wait for one, in their order.

There is no server: a waiting run is a process that sleeps and looks again, so the queue outlives every window.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Generator
from pathlib import Path

from filelock import FileLock, Timeout

from napari_synthseg.placing import write_text
from napari_synthseg.progress import Progress
from napari_synthseg.training.folder import read_json
from napari_synthseg.training.runs.life import is_going
from napari_synthseg.training.runs.places import runs_folder

LOOK_AGAIN = 0.5
"""Seconds between two looks at whether a device is free."""


def devices() -> list[str]:
    """Devices that this machine can train on, the fastest first. Imports torch."""
    import torch

    gpus = [f"cuda:{i}" for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    mps = ["mps"] if torch.backends.mps.is_available() else []
    return [*gpus, *mps, "cpu"]


def fit_for(wish: str) -> list[str]:
    """Devices that a run may take: for auto all GPUs where there are some, else the CPU; for cuda every GPU."""
    if wish not in ("auto", "cuda"):
        return [wish]
    return [name for name in devices() if name.startswith("cuda")] or (["cpu"] if wish == "auto" else ["cuda"])


def device_lock(device: str) -> FileLock:
    """What the run on a device holds."""
    folder = runs_folder() / "devices"
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(str(folder / f"{device.replace(':', '-')}.lock"), thread_local=False)


class Ticket:
    """A place in the queue.

    Args:
        run: that waits.
        wished: devices that will do.
    """

    def __init__(self, run: Path, wished: list[str]) -> None:
        self.path = runs_folder() / "queue" / f"{time.time_ns():020d}-{os.getpid()}.json"
        write_text(self.path, json.dumps({"run": str(run.absolute()), "devices": wished}) + "\n")

    def ahead(self, device: str) -> list[str]:
        """Names of the runs that wait for a device and came before; tickets of processes that died are thrown away."""
        names = []
        for other in sorted(self.path.parent.glob("*.json")):
            if other.name >= self.path.name:
                break
            content = read_json(other)
            run = Path(str(content.get("run", "")))
            if not content or not is_going(run):
                other.unlink(missing_ok=True)
            elif device in content.get("devices", []):
                names.append(run.name)
        return names

    def give_up(self) -> None:
        """Leave the queue."""
        self.path.unlink(missing_ok=True)


def free_device(wish: str) -> tuple[str, FileLock | None]:
    """A device for a run that does not wait: a free one if there is one, else the first that will do (no lock then)."""
    wished = fit_for(wish)
    for device in wished:
        with contextlib.suppress(Timeout):
            held = device_lock(device)
            held.acquire(timeout=0)
            return device, held
    return wished[0], None


def wait_for_device(run: Path, wish: str) -> Generator[Progress, None, tuple[str, FileLock]]:
    """Wait until a device is free and nobody who came before wants it.

    Yields:
        Reports that say why it waits, at least every `LOOK_AGAIN` seconds.

    Returns:
        The device, and its lock, held.
    """
    wished = fit_for(wish)
    ticket = Ticket(run, wished)
    try:
        while True:
            why = f"Another run is on {wished[0]}."
            for device in wished:
                if before := ticket.ahead(device):
                    why = f"{len(before)} {'run' if len(before) == 1 else 'runs'} before it on {device}."
                    continue
                held = device_lock(device)
                with contextlib.suppress(Timeout):
                    held.acquire(timeout=0)
                    return device, held
            yield Progress(why)
            time.sleep(LOOK_AGAIN)
    finally:
        ticket.give_up()
