"""Watch the runs from a thread, so that the window's thread reads no file.

Every second or so it reports all runs (`listed`) and, after changes, the figures of the chosen one (`followed`).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from qtpy.QtCore import QObject, Signal

from napari_synthseg.training import runs
from napari_synthseg.widgets.train.model import Detail, Listed, detail_of, last_score
from napari_synthseg.widgets.train.samples import TrainingSample, prepared

logger = logging.getLogger("napari_synthseg")

INTERVAL_S, LONGEST_S = 0.7, 3.0
RESTING = ("new", "stopped", "finished", "failed", "interrupted")
"""Kinds of status that change only if something is written into the folder."""


class Watcher(QObject):
    """Runs the thread, from `start` to `stop`."""

    listed = Signal(object)  # list[Listed], newest first
    followed = Signal(object)  # Detail
    pictured = Signal(object, object)  # the run's folder, Sample

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._wake = threading.Event()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._wanted: tuple[Path | None, bool] = (None, False)

    def start(self) -> None:
        """Start the thread, unless it runs already."""
        if self._thread is None:
            self._ended = threading.Event()
            looking = _Looking(self, self._ended)
            self._thread = threading.Thread(target=looking.run, name="training runs", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Stop the thread; returns at once."""
        self._ended.set()
        self._wake.set()
        self._thread = None

    def look_at(self, run: Path | None, *, pictures: bool = False) -> None:
        """Follow a run, and its pictures if wanted."""
        self._wanted = (run, pictures)
        self._wake.set()

    def look_now(self) -> None:
        """Look now, since an action has just been carried out."""
        self._wake.set()


class _Looking:
    """Body of the thread; it alone holds what was read."""

    def __init__(self, watcher: Watcher, ended: threading.Event) -> None:
        self._watcher, self._ended = watcher, ended
        self._follower: Any = None
        self._config: Any = None
        self._run: Path | None = None
        self._picture: float | None = None
        self._logged: set[str] = set()
        self._rows: dict[Path, tuple[Any, Listed]] = {}
        self._scores: dict[Path, float | None] = {}
        self._told: Detail | None = None

    def run(self) -> None:
        while not self._ended.is_set():
            self._watcher._wake.clear()
            began = time.thread_time()
            try:
                self._look()
            except RuntimeError:  # Qt has deleted the watcher
                return
            except Exception as error:  # whatever lies in a folder of runs must not end the looking
                self._log(error)
            spent = time.thread_time() - began
            self._watcher._wake.wait(min(max(INTERVAL_S, 3 * spent), LONGEST_S))  # many runs: look less often

    def _log(self, error: Exception) -> None:
        """Log an error once, not every second."""
        if repr(error) not in self._logged:
            self._logged.add(repr(error))
            logger.error("Training runs could not be read", exc_info=error)

    def _look(self) -> None:
        """Look once; list and figures are emitted together, so that they are drawn together."""
        wanted, pictures = self._watcher._wanted
        listed = [self._listed(run) for run in runs.all_runs()]
        if wanted != self._run:
            self._run, self._picture, self._config, self._told = wanted, None, None, None
            self._follower = runs.Follower(wanted) if wanted is not None else None
        first = self._config is None  # then the list does not wait for the curves
        if first:
            self._tell(lambda: self._watcher.listed.emit(listed))
        detail = self._newest(self._run) if self._run is not None else None
        if not first:
            self._tell(lambda: self._watcher.listed.emit(listed))
        if detail is not None:
            self._tell(lambda: self._watcher.followed.emit(detail))
        if pictures and self._run is not None:
            self._look_at_picture(self._run)

    def _newest(self, run: Path) -> Detail | None:
        """Return the figures of the followed run; None if nothing is new or another run is followed."""
        news = self._told is None
        if self._config is None:
            self._config = runs.read_config(run)
        while self._follower.read():  # some megabytes at a time
            news = True
            if self._ended.is_set() or self._watcher._wanted[0] != run:
                return None
        if news:
            self._told = detail_of(run, self._config, self._follower, self._told)
        return self._told if news else None

    def _look_at_picture(self, run: Path) -> None:
        picture = runs.pictures(run)
        if picture is not None and picture.mtime != self._picture:
            self._picture = picture.mtime
            sample: TrainingSample = prepared(picture, run.name)
            self._tell(lambda: self._watcher.pictured.emit(run, sample))

    def _listed(self, run: Path) -> Listed:
        """Return the row of a run; a resting run is read again only if its files changed."""
        stamp = _stamp(run)
        known = self._rows.get(run)
        if known is not None and known[0] == stamp and known[1].state.kind in RESTING:
            return known[1]
        seen = runs.status(run)
        dice = seen.score if seen.score is not None else self._scores.get(run)
        if dice is None and run not in self._scores:
            dice = last_score(run)
        self._scores[run] = dice
        self._rows[run] = (stamp, Listed(run, runs.recipe_of(run) or "", seen, dice))
        return self._rows[run][1]

    def _tell(self, emit: Callable[[], None]) -> None:
        if not self._ended.is_set():
            emit()


def _stamp(run: Path) -> tuple[float, ...]:
    """Return times and sizes of the files that hold a run's status."""
    found = []
    for name in ("config.json", runs.EVENTS, "process.json", "requests.json"):
        try:
            stat = (run / name).stat()
            found += [stat.st_mtime, float(stat.st_size)]
        except OSError:
            found.append(0.0)
    return tuple(found)
