"""Follow a run while it is active: read new events, keep curves and pictures, write event files of TensorBoard."""

from __future__ import annotations

import time
import zipfile
from array import array
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_synthseg.errors import InputError
from napari_synthseg.jobs import Progress
from napari_synthseg.training.engine.events import EventReader, read_events, steps_that_count
from napari_synthseg.training.folder import PICTURE, read_config
from napari_synthseg.training.runs.run import is_active

POINTS = 2_000
"""Most points of a curve given to a window."""
AT_ONCE = 4 << 20
"""Bytes of events read in one go."""
LEAVE_OUT = ("step", "steps", "time", "stage", "seconds")
"""Entries of a line of a step that are no figures."""
LOOK_AGAIN_S = 2.0
"""Seconds between two looks at an active run for TensorBoard."""


def figures_of(event: dict[str, Any]) -> dict[str, float]:
    """Return the figures in a line of a step; Dice of structures is left out."""
    numbers = {name: v for name, v in event.items() if name not in LEAVE_OUT and isinstance(v, int | float)}
    return {name: float(v) for name, v in numbers.items() if not isinstance(v, bool)}


def dice_of(event: dict[str, Any]) -> dict[str, float] | None:
    """Return the Dice of each structure in a line of a step; None if it holds no validation."""
    dice = event.get("dice")
    return {k: float(v) for k, v in dice.items() if isinstance(v, int | float)} if isinstance(dice, dict) else None


class Curves:
    """Figures of a stage over its steps, in growing arrays; quick to read, since a window waits meanwhile."""

    def __init__(self) -> None:
        self._values: dict[str, tuple[array[float], array[float]]] = {}

    def add(self, step: int, name: str, value: float) -> None:
        """Add one value; those of the same and of later steps are forgotten, since a resumed run repeats them."""
        steps, values = self._values.setdefault(name, (array("d"), array("d")))
        while steps and steps[-1] >= step:
            steps.pop()
            values.pop()
        steps.append(step)
        values.append(value)

    def forget_after(self, step: int) -> None:
        """Drop the steps that a resumed run repeats."""
        for steps, values in self._values.values():
            while steps and steps[-1] > step:
                steps.pop()
                values.pop()

    @property
    def names(self) -> list[str]:
        """Names of the figures."""
        return list(self._values)

    def series(self, name: str, points: int = POINTS) -> tuple[np.ndarray, np.ndarray]:
        """Return steps and values of a figure, averaged over neighbors if there are too many to draw."""
        steps, values = (np.array(one, float) for one in self._values.get(name, ((), ())))
        if len(steps) <= points:
            return steps, values
        parts = np.linspace(0, len(steps), points + 1).astype(int)[:-1]
        counts = np.diff([*parts, len(steps)])
        return np.add.reduceat(steps, parts) / counts, np.add.reduceat(values, parts) / counts


class Follower:
    """Figures of a run so far."""

    def __init__(self, run: Path) -> None:
        self.run = run
        self._reader = EventReader(run)
        self.curves: dict[str, Curves] = {}  # of each stage
        self.figures: dict[str, float] = {}  # newest value of every figure
        self.dice: dict[str, float] = {}  # of each structure at the last validation
        self.dice_history: list[tuple[str, int, dict[str, float]]] = []  # stage, step, Dice of each structure
        self.validations = 0  # changes whenever `dice_history` does

    def read(self) -> bool:
        """Read a few megabytes of new events; returns whether there were any."""
        events = self._reader.read(AT_ONCE)
        for event in events:
            self._take(event)
        return bool(events)

    def _take(self, event: dict[str, Any]) -> None:
        stage, step = str(event.get("stage", "")), event.get("step")
        if event.get("event") == "resumed" and isinstance(step, int):
            self.curves.setdefault(stage, Curves()).forget_after(step)
            self.dice_history = [one for one in self.dice_history if one[0] != stage or one[1] <= step]
            self.validations += 1
        if "event" in event or not isinstance(step, int):
            return
        curves = self.curves.setdefault(stage, Curves())
        figures = figures_of(event)
        for name, value in figures.items():
            curves.add(step, name, value)
        self.figures |= figures
        if (dice := dice_of(event)) is not None:
            self.dice = dice
            self.dice_history.append((stage, step, dice))
            self.validations += 1


def best_score(run: Path) -> float | None:
    """Return the best validation score of the last stage that has one; None if there is none."""
    scores: dict[str, list[float]] = {}
    for line in steps_that_count(read_events(run)):
        if isinstance(line.get("score"), int | float):
            scores.setdefault(str(line.get("stage", "")), []).append(float(line["score"]))
    return max(list(scores.values())[-1]) if scores else None


@dataclass(frozen=True)
class RunPicture:
    """A training sample and its prediction."""

    stage: str
    step: int
    image: np.ndarray
    """2D or 3D."""
    truth: np.ndarray | None
    """Label values on the image's grid."""
    prediction: np.ndarray | None
    mtime: float
    """When it was written, to recognize a new one."""


def pictures(run: Path) -> RunPicture | None:
    """Read the newest picture of a run; None if there is none that can be read."""
    path = run / PICTURE
    try:
        mtime = path.stat().st_mtime
        with np.load(path, allow_pickle=False) as held:
            one = {name: held[name] for name in held.files}
        return RunPicture(
            str(one["stage"]), int(one["step"]), one["image"], one.get("truth"), one.get("prediction"), mtime
        )
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return None


def to_tensorboard(run: Path, out: Path, *, follow: bool = False) -> Generator[Progress, None, int]:
    """Write every figure of a run as a scalar `stage/figure`, and Dice as `stage/dice/structure`.

    Args:
        run: its folder.
        out: folder for the event files; `tensorboard --logdir` takes it or its parent.
        follow: continue until the run has ended.

    Returns:
        The number of scalars written.

    Raises:
        InputError: the folder holds no run, or tensorboard is not installed.
    """
    read_config(run)
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise InputError("Event files need tensorboard: pip install 'napari-synthseg[tensorboard]'.") from error
    reader, count = EventReader(run), 0
    with SummaryWriter(str(out)) as writer:
        while True:
            active = follow and is_active(run)
            while events := reader.read(AT_ONCE):
                count += sum(_write_scalars(writer, event) for event in events)
                yield Progress("writing curves", count, 0)
            writer.flush()
            if not active:
                return count
            yield Progress("following", count, 0)
            time.sleep(LOOK_AGAIN_S)


def _write_scalars(writer: Any, event: dict[str, Any]) -> int:
    if "event" in event or not isinstance(event.get("step"), int):
        return 0
    scalars = {**figures_of(event), **{f"dice/{name}": value for name, value in (dice_of(event) or {}).items()}}
    for name, value in scalars.items():
        writer.add_scalar(f"{event.get('stage', 'train')}/{name}", value, event["step"], walltime=event.get("time"))
    return len(scalars)
