"""Following a run's curves while it goes on: reads what is new, keeps what can be drawn."""

from __future__ import annotations

import zipfile
from array import array
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_synthseg.training.engine.events import EventReader
from napari_synthseg.training.folder import PICTURE

POINTS = 2_000
"""Most points of a curve that is given to a window."""
AT_ONCE = 4 << 20
"""Bytes of events read in one go."""
LEAVE_OUT = ("step", "steps", "time", "stage", "seconds")


class Curves:
    """Figures of a stage over its steps, in arrays that grow; quick to read, since a window waits meanwhile."""

    def __init__(self) -> None:
        self._values: dict[str, tuple[array[float], array[float]]] = {}

    def add(self, step: int, name: str, value: float) -> None:
        """Take in one value; it replaces what was known of the step."""
        steps, values = self._values.setdefault(name, (array("d"), array("d")))
        if not steps or step > steps[-1]:
            steps.append(step)
            values.append(value)
            return
        place = bisect_left(steps, step)
        if steps[place] == step:
            values[place] = value
        else:
            steps.insert(place, step)
            values.insert(place, value)

    def forget_after(self, step: int) -> None:
        """Forget steps that a resumed run does again."""
        for steps, values in self._values.values():
            kept = bisect_right(steps, step)
            del steps[kept:], values[kept:]

    @property
    def names(self) -> list[str]:
        """Of the figures there are."""
        return list(self._values)

    def series(self, name: str, points: int = POINTS) -> tuple[np.ndarray, np.ndarray]:
        """Steps and values of a figure, thinned by means over neighbours where there are too many to draw."""
        steps, values = (np.array(one, float) for one in self._values.get(name, ((), ())))
        if len(steps) <= points:
            return steps, values
        parts = np.linspace(0, len(steps), points + 1).astype(int)[:-1]
        counts = np.diff([*parts, len(steps)])
        return np.add.reduceat(steps, parts) / counts, np.add.reduceat(values, parts) / counts


class Follower:
    """What is known of a run's figures so far.

    Args:
        run: the run's folder.

    Attributes:
        curves: of each stage.
        figures: the newest value of every figure.
        dice: of each structure at the last validation that told it.
        dice_history: (stage, step, Dice of each structure).
        validations: changes whenever `dice_history` does.
    """

    def __init__(self, run: Path) -> None:
        self.run = run
        self._reader = EventReader(run)
        self.curves: dict[str, Curves] = {}
        self.figures: dict[str, float] = {}
        self.dice: dict[str, float] = {}
        self.dice_history: list[tuple[str, int, dict[str, float]]] = []
        self.validations = 0

    def read(self) -> bool:
        """Take in what was added since the last call, up to a few megabytes; whether there was something."""
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
        for name, value in event.items():
            if name not in LEAVE_OUT and isinstance(value, int | float) and not isinstance(value, bool):
                curves.add(step, name, float(value))
                self.figures[name] = float(value)
        if isinstance(event.get("dice"), dict):
            self.dice = {k: float(v) for k, v in event["dice"].items() if isinstance(v, int | float)}
            self.dice_history.append((stage, step, self.dice))
            self.validations += 1


@dataclass(frozen=True)
class Picture:
    """A training sample and what the network makes of it.

    Attributes:
        stage: that it belongs to.
        step: at which it was drawn.
        image: 2D or 3D.
        truth: label values on the image's grid, or None.
        prediction: likewise.
        mtime: when it was kept, to tell a new one.
    """

    stage: str
    step: int
    image: np.ndarray
    truth: np.ndarray | None
    prediction: np.ndarray | None
    mtime: float


def pictures(run: Path) -> Picture | None:
    """The newest picture of a run; None where there is none, or none that can be read."""
    path = run / PICTURE
    try:
        mtime = path.stat().st_mtime
        with np.load(path, allow_pickle=False) as held:
            one = {name: held[name] for name in held.files}
        return Picture(
            str(one["stage"]), int(one["step"]), one["image"], one.get("truth"), one.get("prediction"), mtime
        )
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return None
