"""What somebody who watches a run asks of its loop: a trial of a few steps, pictures now and then. No torch here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_synthseg.training.folder import PICTURE


@dataclass
class Watch:
    """What is asked of a loop.

    Attributes:
        trial: steps of each stage to try, where only time and memory are wanted; None: all of them.
        recorded: whether the run's options stand in its config already, as they were asked for.
        pictures: called with nothing; says every how many steps a picture is wanted, None for none.
        doing: called with what is done between steps: a text, and units done and in all.
    """

    trial: int | None = None
    recorded: bool = False
    pictures: Callable[[], int | None] = lambda: None
    doing: Callable[[str, int, int], None] = lambda text, done, total: None
    _every: int | None = None

    def picture_due(self, step: int) -> bool:
        """Tell whether a picture is wanted of a step: at once when they are asked for, then every few steps."""
        before, self._every = self._every, self.pictures()
        return self._every is not None and (step % self._every == 0 or self._every != before)


_watch: ContextVar[Watch | None] = ContextVar("watch", default=None)
NOBODY = Watch()


def watch() -> Watch:
    """Who watches the loop of this thread."""
    return _watch.get() or NOBODY


@contextmanager
def watched(by: Watch) -> Iterator[None]:
    """Inside, in this thread, loops do what is asked of them."""
    token = _watch.set(by)
    try:
        yield
    finally:
        _watch.reset(token)


def doing(text: str, done: int = 0, total: int = 0) -> None:
    """Tell who watches this thread's loop what is done between its steps, such as "validating", 3, 9."""
    watch().doing(text, done, total)


def save_picture(run: Path, stage: str, step: int, arrays: dict[str, Any]) -> None:
    """Keep a picture in the run's folder, in place of the one before."""
    part = run / f"{PICTURE}.part"
    try:
        with part.open("wb") as f:
            np.savez_compressed(f, stage=np.array(stage), step=np.array(step), **arrays)
        part.replace(run / PICTURE)
    finally:
        part.unlink(missing_ok=True)
