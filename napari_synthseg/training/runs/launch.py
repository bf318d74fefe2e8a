"""Starting a run in a process of its own that outlives whoever started it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from napari_synthseg.errors import InputError
from napari_synthseg.training.folder import OUTPUT, read_config
from napari_synthseg.training.runs.life import is_going
from napari_synthseg.training.runs.places import remember
from napari_synthseg.training.runs.requests import ask

WORK = "napari_synthseg.training.runs.work"
BEGIN = 30.0
"""Seconds that a process may take until it holds its run's lock."""


def launch(run: Path, *, wait: bool = True) -> int:
    """Start a run, or go on with it, in the background.

    Args:
        run: its folder, with a config.
        wait: for its device, behind the runs that came before.

    Returns:
        The number of the process.

    Raises:
        InputError: the folder holds no run, or it is going already, or its process ended at once.
    """
    run = run.expanduser().absolute()
    read_config(run)
    if is_going(run):
        raise InputError(f"The run {run} is going already: stop it first, or follow it with `runs show`.")
    remember(run)
    ask(run, do="go")
    process = _detached([sys.executable, "-m", WORK, str(run), *(["--wait"] if wait else [])], run / OUTPUT)
    until = time.monotonic() + BEGIN
    while time.monotonic() < until and not is_going(run):
        if process.poll() is not None:
            if process.returncode == 0:  # it had nothing left to do
                break
            raise InputError(f"The run {run} could not be started: {_last_line(run / OUTPUT)}")
        time.sleep(0.05)
    return process.pid


def _detached(command: list[str], output: Path) -> subprocess.Popen[bytes]:
    """A process that no closing window or terminal takes along."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    apart: dict[str, object] = {"start_new_session": True}
    if sys.platform == "win32":
        flags = subprocess.DETACHED_PROCESS | subprocess.CREATE_NEW_PROCESS_GROUP
        apart = {"creationflags": flags | subprocess.BELOW_NORMAL_PRIORITY_CLASS}
    with output.open("ab") as f:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=f,
            stderr=f,
            env=environment,
            **apart,  # type: ignore[call-overload]
        )


def _last_line(output: Path) -> str:
    try:
        lines = output.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except OSError:
        lines = []
    return lines[-1] if lines else "it said nothing."
