"""Looks at the runs from a thread of its own, so that no file is read where the window is drawn.

Every so often it tells of all runs (`listed`) and, where something happened, of the one that is looked at (`followed`).
"""

from __future__ import annotations

import json
import logging
import mmap
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from qtpy.QtCore import QObject, Signal

from napari_synthseg.widgets.train.samples import Sample, prepared

logger = logging.getLogger("napari_synthseg")

INTERVAL_S, LONGEST_S = 0.7, 3.0
RESTING = ("new", "stopped", "finished", "failed", "interrupted")
"""Kinds of states that do not change unless something is written into the folder."""
SMOOTH = 0.02
"""Share of the shown part of a curve over which it is smoothed."""
Series = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Listed:
    """A run as its row shows it."""

    run: Path
    recipe: str
    state: Any
    dice: float | None


@dataclass(frozen=True)
class Detail:
    """What is known of the run that is looked at.

    Attributes:
        run: its folder.
        stages: steps of each stage, in order.
        series: steps and values, by stage and figure.
        figures: the newest of each figure.
        dice: the newest of each structure.
        validations: changes with every validation that is added or taken back.
        history: by structure, steps counted over all stages and Dice.
    """

    run: Path
    stages: dict[str, int]
    series: dict[str, dict[str, Series]]
    figures: dict[str, float]
    dice: dict[str, float]
    validations: int
    history: dict[str, Series] = field(default_factory=dict)

    def offset(self, stage: str) -> int:
        """Steps of all stages before one."""
        names = list(self.stages)
        return sum(self.stages[one] for one in names[: names.index(stage)]) if stage in names else 0


class Watcher(QObject):
    """The thread, from `start` to `stop`."""

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
        """Begin to look; nothing where it does already."""
        if self._thread is None:
            self._ended = threading.Event()
            looking = _Looking(self, self._ended)
            self._thread = threading.Thread(target=looking.run, name="training runs", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Look no longer; returns at once."""
        self._ended.set()
        self._wake.set()
        self._thread = None

    def look_at(self, run: Path | None, *, pictures: bool = False) -> None:
        """Follow a run, and its pictures if asked for."""
        self._wanted = (run, pictures)
        self._wake.set()

    def look_now(self) -> None:
        """Do not wait for the next time: something has just been done."""
        self._wake.set()


class _Looking:
    """What the thread does; it alone reads and keeps what it has read."""

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
        """Say once what is wrong, not every second."""
        if repr(error) not in self._logged:
            self._logged.add(repr(error))
            logger.error("Training runs could not be read", exc_info=error)

    def _look(self) -> None:
        """Look once; what is told of all runs and of the one looked at is told together, so it is drawn in one go."""
        from napari_synthseg.training import runs

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
        """What is known now of the run looked at; None where nothing came since, or it is looked at no longer."""
        from napari_synthseg.training import runs

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
        from napari_synthseg.training import runs

        picture = runs.pictures(run)
        if picture is not None and picture.mtime != self._picture:
            self._picture = picture.mtime
            sample: Sample = prepared(picture, run.name)
            self._tell(lambda: self._watcher.pictured.emit(run, sample))

    def _listed(self, run: Path) -> Listed:
        """A run's row; of a run that rests it is looked at again only when something was written."""
        from napari_synthseg.training import runs

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


def detail_of(run: Path, config: Any, follower: Any, before: Detail | None = None) -> Detail:
    """What a follower knows, in arrays that nobody changes any more; histories of before stay where none was added."""
    series: dict[str, dict[str, Series]] = {}
    for stage, curves in follower.curves.items():
        series[stage] = {name: _series(curves, name) for name in curves.names}
    detail = Detail(run, dict(config.stages), series, dict(follower.figures), follower.dice, follower.validations)
    if before is not None and before.validations == detail.validations:
        return replace(detail, history=before.history)
    return replace(detail, history=_histories(detail, follower.dice_history))


def _histories(detail: Detail, validations: list[tuple[str, int, dict[str, float]]]) -> dict[str, Series]:
    """Dice of each structure over the steps of all stages."""
    places: dict[str, list[tuple[float, float]]] = {}
    before = None
    for stage, step, dice in validations:
        for name, value in dice.items():
            known = places.setdefault(name, [])
            if known and stage != before:
                known.append((known[-1][0], np.nan))  # stages are not joined by a line
            known.append((detail.offset(stage) + step, value))
        before = stage
    return {name: (np.array([p for p, _ in one]), np.array([v for _, v in one])) for name, one in places.items()}


def _series(curves: Any, name: str) -> Series:
    steps, values = curves.series(name)
    return steps, values / 1e9 if name == "memory" else values


def _stamp(run: Path) -> tuple[float, ...]:
    """When what says how a run fares was last written."""
    from napari_synthseg.training.runs import EVENTS

    found = []
    for name in ("config.json", EVENTS, "process.json", "requests.json"):
        try:
            stat = (run / name).stat()
            found += [stat.st_mtime, float(stat.st_size)]
        except OSError:
            found.append(0.0)
    return tuple(found)


def last_score(run: Path) -> float | None:
    """The score of a run's last validation, found from the end of its events without reading them all."""
    from napari_synthseg.training.runs import EVENTS

    try:
        with (run / EVENTS).open("rb") as f, mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as text:
            place = text.rfind(b'"score": ')
            line = text[text.rfind(b"\n", 0, place) + 1 : text.find(b"\n", place)] if place >= 0 else b""
            return float(json.loads(line)["score"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def smoothed(values: np.ndarray, share: float = SMOOTH) -> np.ndarray:
    """A running mean over a share of the values, shorter at both ends."""
    half = int(len(values) * share / 2)
    if half < 1:
        return values
    finite = np.where(np.isfinite(values), values, 0.0)
    total = np.concatenate([[0.0], np.cumsum(finite)])
    count = np.concatenate([[0], np.cumsum(np.isfinite(values))])
    places = np.arange(len(values))
    low, high = np.maximum(places - half, 0), np.minimum(places + half + 1, len(values))
    return (total[high] - total[low]) / np.maximum(count[high] - count[low], 1)
