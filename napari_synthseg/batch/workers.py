"""Workers that segment: the events that they report, and the code that runs in them.

A worker is a slot that runs one function at a time and answers with a future. `executors` has processes on
this machine and the workers of a cluster.
"""

from __future__ import annotations

import logging
import multiprocessing as mp
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from multiprocessing.synchronize import Event as Flag
from pathlib import Path
from typing import Any

from napari_synthseg import __version__
from napari_synthseg.batch.plan import Task
from napari_synthseg.batch.schedule import Ending, Schedule
from napari_synthseg.batch.segmenter import Outcome, Segmenter, Settings, on_own_gpu
from napari_synthseg.errors import InputError, in_a_sentence

TIMEOUT_S = 15.0
"""How long processes may take to end by themselves; they look for a request once a block."""


MOST_FALSE_STARTS = 5
"""Workers in a row that may end before they have loaded the network."""
logger = logging.getLogger("napari_synthseg")


@dataclass(frozen=True)
class Event:
    """What happened to a worker."""

    slot: Hashable

    def apply(self, schedule: Schedule, workers: Workers) -> Ending | None:
        """Pass the event to the schedule; returns how a scan ended, if one did."""
        raise NotImplementedError


@dataclass(frozen=True)
class Joined(Event):
    """A worker has loaded its network and waits for a scan."""

    def apply(self, schedule: Schedule, workers: Workers) -> Ending | None:
        """Add the slot."""
        workers.false_starts = 0
        schedule.join(self.slot)
        return None


@dataclass(frozen=True)
class Finished(Event):
    """A worker has tried a scan."""

    task: Task
    outcome: Outcome

    def apply(self, schedule: Schedule, workers: Workers) -> Ending | None:
        """Record the outcome, and replace a worker that is shaken.

        Raises:
            InputError: the disk is full.
        """
        if self.outcome.disk_full:
            raise InputError(
                f"No space is left in {self.task.target.parent}: results so far are complete, so free some space and "
                "run the same command again."
            )
        ending = schedule.finish(self.slot, self.task, self.outcome)
        if self.outcome.shaken and self.slot in schedule.slots:
            schedule.release(self.slot)
            workers.renew(self.slot)
        return ending


@dataclass(frozen=True)
class Lost(Event):
    """A worker is gone, with its scans."""

    why: str
    """In words that fit into a sentence."""

    def apply(self, schedule: Schedule, workers: Workers) -> Ending | None:
        """Remove the slot.

        Raises:
            RuntimeError: several workers in a row were lost before they had loaded the network.
        """
        workers.false_starts += self.slot not in schedule.slots
        if workers.false_starts >= MOST_FALSE_STARTS:
            raise RuntimeError(f"the processes end before they have loaded the network ({self.why})")
        return schedule.leave(self.slot, self.why)


@dataclass(frozen=True)
class Unfit(Event):
    """A worker cannot segment."""

    why: str
    for_all: bool
    """Whether no other worker can either, because the options are at fault."""

    def apply(self, schedule: Schedule, workers: Workers) -> Ending | None:
        """Warn.

        Raises:
            InputError: no worker can segment.
        """
        if self.for_all or (workers.hopeless and not schedule.slots):
            raise InputError(self.why if self.for_all else f"No worker can segment: {self.why}.")
        logger.warning("%s cannot segment: %s", self.slot, self.why)
        return None


class Workers:
    """Slots that come and go by themselves; a subclass runs functions in them.

    Args:
        settings: of the batch.
    """

    waiting_for = "Loading the network"
    """Status while there is no slot."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self.false_starts = settings, 0
        self._answers: queue.SimpleQueue[tuple[Hashable, Future]] = queue.SimpleQueue()
        self._futures: dict[Hashable, Future] = {}
        self._tasks: dict[Hashable, Task] = {}

    @property
    def hopeless(self) -> bool:
        """Whether there are slots, and none of them can segment."""
        raise NotImplementedError

    def renew(self, slot: Hashable) -> None:
        """Replace an idle slot by a fresh one."""
        raise NotImplementedError

    def close(self) -> None:
        """Stop the work."""
        raise NotImplementedError

    def _submit(self, slot: Hashable, function: Callable[..., Any], *arguments: Any) -> Future:
        raise NotImplementedError

    def _look(self) -> list[Event]:
        return []

    def _is_death(self, error: BaseException, future: Future) -> bool:
        """Return whether an error means that the worker is gone."""
        raise NotImplementedError

    def _gone(self, slot: Hashable) -> Lost:
        raise NotImplementedError

    def _refuse(self, slot: Hashable) -> None:
        raise NotImplementedError

    def poll(self, seconds: float) -> list[Event]:
        """Return what happened; waits for it up to `seconds`."""
        events = self._look()
        until = time.monotonic() + (0 if events else seconds)
        while True:
            try:
                slot, future = self._answers.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                return events
            if self._futures.get(slot) is future:
                events.append(self._event(slot, future))
                until = time.monotonic()

    def give(self, slot: Hashable, task: Task, then: Task | None) -> None:
        """Let a slot segment a scan, and read the next one meanwhile."""
        self._tasks[slot] = task
        self._call(slot, segment_one, self._settings.token, task, then)

    def _call(self, slot: Hashable, function: Callable[..., Any], *arguments: Any) -> None:
        self._futures[slot] = future = self._submit(slot, function, *arguments)
        future.add_done_callback(lambda done: self._answers.put((slot, done)))

    def _event(self, slot: Hashable, future: Future) -> Event:
        task = self._tasks.pop(slot, None)
        try:
            answer = future.result(timeout=TIMEOUT_S)
        except Exception as error:
            if self._is_death(error, future):
                return self._gone(slot)
            if task is not None:  # such as an answer that cannot be sent
                return Finished(slot, task, Outcome(in_a_sentence(error), 0.0, {}, shaken=True))
            answer = in_a_sentence(error), False
        if task is not None:
            return Finished(slot, task, answer)
        if answer is None:
            return Joined(slot)
        self._refuse(slot)
        return Unfit(slot, *answer)


# --- in the workers ---------------------------------------------------------------------------------------------------

_segmenters: dict[str, Segmenter] = {}
_lock = threading.Lock()
_stop_flag: Flag | None = None


class NotBegun(LookupError):
    """This process has loaded no network: it was restarted under the same address."""


def enter(stop: Flag) -> None:
    """Prepare a process of this machine: it ignores Ctrl+C, stops at a flag, and ends with its parent."""
    global _stop_flag
    _stop_flag = stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = mp.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def begin(settings: Settings, version: str, out: str, threads: int, seat: int = 0) -> tuple[str, bool] | None:
    """Load the network.

    Args:
        settings: of the batch.
        version: of this package on the machine that started the batch.
        out: the folder of results, which this machine must see.
        threads: unless the options say how many.
        seat: which process of this machine it is.

    Returns:
        None, or why this process cannot segment, and whether no other can either.
    """
    if not Path(out).is_dir():
        return f"{out} does not exist: all machines must see the same folders under the same paths", False
    if version != __version__:
        return f"it has version {__version__} of this program, not {version}: install the same one", False
    with _lock:
        try:
            settings = replace(settings, options=replace(settings.options, threads=settings.options.threads or threads))
            for token in list(_segmenters):  # of an earlier batch
                _segmenters.pop(token).close()
            _segmenters[settings.token] = Segmenter(on_own_gpu(settings, seat))
        except Exception as error:
            return in_a_sentence(error), isinstance(error, ValueError)
    return None


def segment_one(token: str, task: Task, then: Task | None) -> Outcome:
    """Segment a scan.

    Raises:
        NotBegun: this is another process than the one that loaded the network.
        Stopped: the batch was stopped.
    """
    if token not in _segmenters:
        raise NotBegun(token)
    return _segmenters[token].do(task, then, None if _stop_flag is None else _stop_flag.is_set)


def forget(token: str) -> None:
    """Free the network."""
    if token in _segmenters:
        _segmenters.pop(token).close()
