"""Workers that segment, and the code that runs in them.

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
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future
from dataclasses import replace
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


class Workers(ABC):
    """Slots that come and go by themselves; a subclass runs functions in them.

    Args:
        settings: of the batch.
    """

    waiting_for = "Loading the network"
    """Status while there is no slot."""
    alike = True
    """Whether options that one worker cannot use are of no use to any."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._false_starts = settings, 0
        self._answers: queue.SimpleQueue[tuple[Hashable, Future]] = queue.SimpleQueue()
        self._futures: dict[Hashable, Future] = {}
        self._tasks: dict[Hashable, Task] = {}

    @property
    @abstractmethod
    def hopeless(self) -> bool:
        """Whether there are slots, and none of them can segment."""

    @abstractmethod
    def renew(self, slot: Hashable) -> None:
        """Replace an idle slot by a fresh one."""

    @abstractmethod
    def close(self) -> None:
        """Stop the work."""

    @abstractmethod
    def _submit(self, slot: Hashable, function: Callable[..., Any], *arguments: Any) -> Future: ...

    @abstractmethod
    def _is_death(self, error: BaseException, future: Future) -> bool:
        """Return whether an error means that the worker is gone."""

    @abstractmethod
    def _gone(self, slot: Hashable) -> str:
        """Forget a slot that is gone; return why, in words that fit into a sentence."""

    @abstractmethod
    def _refuse(self, slot: Hashable) -> None:
        """Forget a slot that cannot segment."""

    def _missing(self) -> list[Hashable]:
        """Look for workers that came, and return slots that are gone."""
        return []

    def poll(self, schedule: Schedule, seconds: float) -> Iterator[Ending]:
        """Tell the schedule what happened, waiting for it up to `seconds`; yields how scans ended.

        Raises:
            InputError: the disk is full, or no worker can segment.
            RuntimeError: several workers in a row were lost before they had loaded the network.
        """
        missing = self._missing()
        yield from filter(None, (self._lost(schedule, slot) for slot in missing))
        until = time.monotonic() + (0 if missing else seconds)
        while True:
            try:
                slot, future = self._answers.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                return
            if self._futures.get(slot) is future:
                if ending := self._handle(schedule, slot, future):
                    yield ending
                until = time.monotonic()

    def give(self, slot: Hashable, task: Task, then: Task | None) -> None:
        """Let a slot segment a scan, and read the next one meanwhile."""
        self._tasks[slot] = task
        self._call(slot, segment_one, self._settings.token, task, then)

    def _call(self, slot: Hashable, function: Callable[..., Any], *arguments: Any) -> None:
        self._futures[slot] = future = self._submit(slot, function, *arguments)
        future.add_done_callback(lambda done: self._answers.put((slot, done)))

    def _handle(self, schedule: Schedule, slot: Hashable, future: Future) -> Ending | None:
        task = self._tasks.pop(slot, None)
        try:
            answer = future.result(timeout=TIMEOUT_S)
        except Exception as error:
            if self._is_death(error, future):
                return self._lost(schedule, slot)
            reason = in_a_sentence(error)  # such as an answer that cannot be sent
            answer = (reason, False) if task is None else Outcome(reason, 0.0, {}, shaken=True)
        if task is not None:
            return self.finished(schedule, slot, task, answer)
        if answer is None:
            self._false_starts = 0
            schedule.join(slot)
            return None
        why, for_all = answer
        self._refuse(slot)
        if self.alike and for_all:
            raise InputError(why)
        if self.hopeless and not schedule.slots:
            raise InputError(f"No worker can segment: {why}.")
        logger.warning("%s cannot segment: %s", slot, why)
        return None

    def finished(self, schedule: Schedule, slot: Hashable, task: Task, outcome: Outcome) -> Ending | None:
        """Record an attempt at a scan, and replace a worker that is shaken."""
        if outcome.disk_full:
            raise InputError(
                f"No space is left in {task.target.parent}: results so far are complete, so free some space and "
                "run the same command again."
            )
        ending = schedule.finish(slot, task, outcome)
        if outcome.shaken and slot in schedule.slots:
            schedule.release(slot)
            self.renew(slot)
        return ending

    def _lost(self, schedule: Schedule, slot: Hashable) -> Ending | None:
        why = self._gone(slot)
        self._false_starts += slot not in schedule.slots
        if self._false_starts >= MOST_FALSE_STARTS:
            raise RuntimeError(f"the processes end before they have loaded the network ({why})")
        return schedule.leave(slot, why)


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
        seat: place among the processes of this machine.

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
