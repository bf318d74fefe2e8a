"""A run's curves as TensorBoard's event files, at once or while the run goes on; needs the package tensorboard."""

from __future__ import annotations

import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

from napari_synthseg.errors import InputError
from napari_synthseg.jobs import Progress
from napari_synthseg.training.engine.events import EventReader
from napari_synthseg.training.folder import read_config
from napari_synthseg.training.runs.life import is_going

LOOK_AGAIN = 2.0
"""Seconds between two looks at a run that is going on."""
AT_ONCE = 4 << 20
LEAVE_OUT = ("step", "steps", "time", "stage", "event", "seconds")


def to_tensorboard(run: Path, out: Path, *, follow: bool = False) -> Generator[Progress, None, int]:
    """Write every figure of a run as a scalar `stage/figure`, and Dice as `stage/dice/structure`.

    Args:
        run: the run's folder.
        out: folder for the event files; `tensorboard --logdir` takes it, or the one above it.
        follow: go on until the run has ended.

    Returns:
        How many scalars were written.

    Raises:
        InputError: the folder holds no run, or tensorboard is not installed.
    """
    read_config(run)
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise InputError(
            "Writing for TensorBoard needs its package: pip install 'napari-synthseg[tensorboard]'."
        ) from error
    reader, count = EventReader(run), 0
    with SummaryWriter(str(out)) as writer:
        while True:
            going = follow and is_going(run)
            while events := reader.read(AT_ONCE):
                count += sum(_write(writer, event) for event in events)
                yield Progress("writing curves", count, 0)
            writer.flush()
            if not going:
                return count
            yield Progress("following", count, 0)
            time.sleep(LOOK_AGAIN)


def _write(writer: Any, event: dict[str, Any]) -> int:
    """Write the figures of a step; how many there were."""
    if "event" in event or not isinstance(event.get("step"), int):
        return 0
    stage, when = event.get("stage", "train"), event.get("time")
    named = {name: value for name, value in event.items() if name not in LEAVE_OUT}
    dice = named.pop("dice", None) or {}
    named |= {f"dice/{name}": value for name, value in dice.items()}
    scalars = {k: v for k, v in named.items() if isinstance(v, int | float)}
    for name, value in scalars.items():
        writer.add_scalar(f"{stage}/{name}", value, event["step"], walltime=when)
    return len(scalars)
