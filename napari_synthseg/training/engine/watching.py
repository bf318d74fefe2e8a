"""Requests of whoever watches a run: a trial of a few steps, pictures now and then. No torch here."""

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
    """Requests to a loop.

    Attributes:
        trial: steps of each stage to try, to measure time and memory; None: all of them.
        recorded: whether the run's config has its options already.
        pictures: returns the steps between two pictures, or None for none.
        doing: called with the activity between steps: a text, units done and in all.
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
    """Return the requests to the loop of this thread."""
    return _watch.get() or NOBODY


@contextmanager
def watched(by: Watch) -> Iterator[None]:
    """Let loops of this thread obey requests inside the context."""
    token = _watch.set(by)
    try:
        yield
    finally:
        _watch.reset(token)


def doing(text: str, done: int = 0, total: int = 0) -> None:
    """Report the activity between two steps, such as "validating", 3, 9."""
    watch().doing(text, done, total)


def save_picture(run: Path, stage: str, step: int, arrays: dict[str, Any]) -> None:
    """Write the newest picture into the run's folder."""
    part = run / f"{PICTURE}.part"
    try:
        with part.open("wb") as f:
            np.savez_compressed(f, stage=np.array(stage), step=np.array(step), **arrays)
        part.replace(run / PICTURE)
    finally:
        part.unlink(missing_ok=True)
