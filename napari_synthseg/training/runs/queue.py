"""Queue of runs: a lock for each device, and tickets of the waiting runs, in their order.

A run on several GPUs takes those with the lowest numbers, like its processes, and holds the locks of all or of none.
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

from napari_synthseg.atomic_io import write_text
from napari_synthseg.errors import InputError
from napari_synthseg.jobs import Progress
from napari_synthseg.training.folder import read_json
from napari_synthseg.training.runs.registry import runs_folder
from napari_synthseg.training.runs.run import is_active

LOOK_AGAIN_S = 0.5
"""Seconds between two looks at whether a device is free."""


def devices() -> list[str]:
    """Return the devices of this machine, fastest first. Imports torch."""
    import torch

    gpus = [f"cuda:{i}" for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    mps = ["mps"] if torch.backends.mps.is_available() else []
    return [*gpus, *mps, "cpu"]


def devices_for(wish: str) -> list[str]:
    """Return the devices that a run may take: for auto all GPUs or else the CPU, for cuda all GPUs."""
    if wish not in ("auto", "cuda"):
        return [wish]
    return [name for name in devices() if name.startswith("cuda")] or (["cpu"] if wish == "auto" else ["cuda"])


def device_sets(wish: str, count: int = 1) -> list[tuple[str, ...]]:
    """Return the sets of devices of which a run may take one, best first.

    Args:
        wish: device in the run's options.
        count: number of processes of the run on this machine; those on the CPU share it.

    Raises:
        InputError: several GPUs are asked for together with the number of one of them.
    """
    wished = devices_for(wish)
    if count == 1 or not wished[0].startswith("cuda"):
        return [(device,) for device in wished]
    if wish not in ("auto", "cuda", "cuda:0"):
        raise InputError(f"A training on {count} GPUs takes the first ones: choose cuda instead of {wish}.")
    return [tuple(f"cuda:{number}" for number in range(count))]


def device_lock(device: str) -> FileLock:
    folder = runs_folder() / "devices"
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(str(folder / f"{device.replace(':', '-')}.lock"), thread_local=False)


def runs_ahead(ticket: Path) -> list[tuple[str, list[str]]]:
    """Return names and wished devices of the runs before a ticket; tickets of dead processes are removed."""
    found = []
    for other in sorted(ticket.parent.glob("*.json")):
        if other.name >= ticket.name:
            break
        content = read_json(other)
        run = Path(str(content.get("run", "")))
        if not content or not is_active(run):
            other.unlink(missing_ok=True)
        else:
            found.append((run.name, content.get("devices", [])))
    return found


def hold(devices: tuple[str, ...]) -> contextlib.ExitStack | None:
    """Lock all of these devices until the stack is closed; lock none and return None if one of them is taken."""
    with contextlib.ExitStack() as held:
        try:
            for device in devices:
                held.enter_context(device_lock(device).acquire(timeout=0))
        except Timeout:
            return None
        return held.pop_all()
    return None


def take_device(wish: str, count: int = 1) -> tuple[str, contextlib.ExitStack | None]:
    """Return the (first) device for a run that does not wait: a free one with its lock, else the first one unlocked."""
    wished = device_sets(wish, count)
    for devices in wished:
        if (held := hold(devices)) is not None:
            return devices[0], held
    return wished[0][0], None


def wait_for_device(
    run: Path, wish: str, count: int = 1
) -> Generator[Progress, None, tuple[str, contextlib.ExitStack]]:
    """Wait until the devices a run needs are free and no earlier run waits for one of them.

    Yields:
        The reason for waiting, every `LOOK_AGAIN_S` seconds.

    Returns:
        The first device, and the locks of all.
    """
    wished = device_sets(wish, count)
    ticket = runs_folder() / "queue" / f"{time.time_ns():020d}-{os.getpid()}.json"
    devices = sorted({device for some in wished for device in some})
    write_text(ticket, json.dumps({"run": str(run.absolute()), "devices": devices}) + "\n")
    try:
        while True:
            why, before = f"Another run is on {' or '.join(wished[0])}.", runs_ahead(ticket)
            for some in wished:
                if ahead := {name: one for one in reversed(some) for name, theirs in before if one in theirs}:
                    where = next(iter(ahead.values()))
                    why = f"{len(ahead)} {'run' if len(ahead) == 1 else 'runs'} before it on {where}."
                elif (held := hold(some)) is not None:
                    return some[0], held
            yield Progress(why)
            time.sleep(LOOK_AGAIN_S)
    finally:
        ticket.unlink(missing_ok=True)
