"""Estimate time and memory of a training from a few steps of every stage, in a process and folder of their own."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Generator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from napari_synthseg.errors import InputError
from napari_synthseg.fields import to_json
from napari_synthseg.jobs import Progress, duration
from napari_synthseg.training import folder
from napari_synthseg.training.engine.events import EventReader, read_events
from napari_synthseg.training.recipe import recipe
from napari_synthseg.training.runs.process import PROCESS, TRIAL, detached, last_line

STEPS = 3
"""Steps of each stage to try; the first is a warm-up and not counted."""


@dataclass(frozen=True)
class Estimate:
    """Cost of a training on this machine, under its present load."""

    seconds: float
    """Of the whole training."""
    memory: int | None
    """Peak bytes of the GPU, or of the machine if it trains on the CPU."""
    device: str

    @property
    def sentence(self) -> str:
        """A sentence for the user."""
        memory = f", {self.memory / 2**30:.1f} GiB of memory" if self.memory else ""
        return f"About {duration(self.seconds)} on {self.device}{memory}."


def estimate(name: str, options: Any, steps: int = STEPS) -> Generator[Progress, None, Estimate]:
    """Estimate the cost of a training before it is started.

    Args:
        name: of the recipe.
        options: of the recipe; nothing is written into their folder.
        steps: of each stage to try, at least 2.

    Raises:
        InputError: the training cannot be started, for example because data is missing.
    """
    entry = recipe(name)
    wanted = entry.stages(options)
    with tempfile.TemporaryDirectory(prefix="napari-synthseg-") as temporary:
        out = Path(temporary) / "trial"
        trial = replace(options, out=out, resume=False)
        folder.write_config(out, recipe=name, options=to_json(trial), stages=wanted)
        _lend(options.out, out, set(wanted))
        began = time.time()
        command = [sys.executable, "-m", PROCESS, str(out), "--trial", str(max(2, steps))]
        process = detached(command, out / folder.OUTPUT)
        try:
            reader, done = EventReader(out), 0
            while process.poll() is None:
                done += sum("event" not in event for event in reader.read())
                yield Progress("trying a few steps", done, max(2, steps) * len(wanted))
                time.sleep(0.2)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        if process.returncode:
            raise InputError(last_line(out / folder.OUTPUT))
        return _sum_up(out, wanted, options.validate_every, began)


def _lend(source: Path, target: Path, tried: set[str]) -> None:
    """Copy the checkpoints of stages that are not tried, on which others may build."""
    for path in (source / folder.CHECKPOINTS).glob("*.pt"):
        if path.stem not in tried and not path.stem.endswith(("-best", "-stable", "-previous")):
            (target / folder.CHECKPOINTS).mkdir(exist_ok=True)
            shutil.copy(path, target / folder.CHECKPOINTS / path.name)


def _sum_up(out: Path, wanted: dict[str, int], validate_every: int, began: float) -> Estimate:
    lines = [event for event in read_events(out) if "event" not in event]
    trial = folder.read_json(out / TRIAL)
    seconds = 0.0
    for stage, count in wanted.items():
        mine = [line for line in lines if line.get("stage") == stage]
        if not mine:
            raise InputError(f"The trial did not reach the stage {stage}: {last_line(out / folder.OUTPUT)}")
        warm = mine[1:] or mine
        seconds += count * sum(line["took"] for line in warm) / len(warm)
        seconds += (count // validate_every + 1) * float(mine[-1].get("validating", 0.0))
    seconds += max(0.0, lines[0]["time"] - began - lines[0]["took"])  # until the first step
    return Estimate(seconds, trial.get("memory"), str(trial.get("device", "")))
