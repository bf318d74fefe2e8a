"""Processes on this machine that segment, over pipes: nothing listens anywhere.

A process that dies is noticed by its pipe and replaced. They ignore Ctrl+C, which reaches a terminal's whole group: it
is for the program that started them to end them.
"""

from __future__ import annotations

import itertools
import multiprocessing as mp
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Hashable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from napari_synthseg.batch.plan import Task
from napari_synthseg.batch.schedule import Event, Finished, Joined, Lost, Unfit
from napari_synthseg.batch.segmenter import Segmenter, Settings, about_this_process
from napari_synthseg.errors import in_a_sentence
from napari_synthseg.jobs import Stopped

PATIENCE = 15.0
"""Seconds that processes have to end by themselves; they look at least once a block."""


def available_cpus() -> int:
    """Threads that this process may run at once: OMP_NUM_THREADS if set, else as many as the processors it may use."""
    given = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    if given.isdecimal() and int(given) > 0:
        return int(given)
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Processes:
    """As many processes as were asked for; a slot's name is its number."""

    waiting_for = "Loading the network"

    def __init__(self, count: int, settings: Settings) -> None:
        """Start them.

        Args:
            count: how many.
            settings: of the batch; the processors are divided among them unless it says how many threads each has.
        """
        options = settings.options
        threads = options.threads or max(1, available_cpus() // count)
        self._settings = replace(settings, options=replace(options, threads=threads))
        self._context = mp.get_context("spawn")
        self._numbers = itertools.count()
        self._running: dict[Hashable, tuple[BaseProcess, Connection[Any, Any], int]] = {}
        self._doing: dict[Hashable, Task] = {}
        for seat in range(count):
            self._start(seat)

    def _start(self, seat: int) -> None:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=serve, args=(theirs, self._settings, seat), daemon=True)
        with _deaf_to_ctrl_c():
            process.start()
        theirs.close()
        self._running[next(self._numbers)] = process, ours, seat

    @property
    def hopeless(self) -> bool:
        """See `Workers`."""
        return not self._running

    @property
    def pids(self) -> list[int]:
        """Of the processes."""
        return [process.pid for process, _, _ in self._running.values() if process.pid is not None]

    def poll(self, seconds: float) -> list[Event]:
        """See `Workers`."""
        ready = set(wait([pipe for _, pipe, _ in self._running.values()], seconds))
        events: list[Event] = []
        for slot, (_, pipe, _) in list(self._running.items()):
            if pipe in ready:
                events += self._heard(slot, pipe)
        return events

    def _heard(self, slot: Hashable, pipe: Connection[Any, Any]) -> list[Event]:
        try:
            kind, content = pipe.recv()
        except (EOFError, OSError):
            return [self._gone(slot)]
        if kind == "done":
            return [Finished(slot, self._doing.pop(slot), content)]
        if kind == "joined":
            return [Joined(slot, content)]
        self._end(slot)
        return [Unfit(slot, *content)]

    def _gone(self, slot: Hashable) -> Lost:
        process, pipe, seat = self._running.pop(slot)
        self._doing.pop(slot, None)
        pipe.close()
        process.join(PATIENCE)
        if process.is_alive():
            process.kill()
            process.join()
        self._start(seat)
        return Lost(slot, _how_it_ended(process.exitcode))

    def give(self, slot: Hashable, task: Task, then: Task | None) -> None:
        """See `Workers`."""
        self._doing[slot] = task
        with suppress(OSError):  # it has just died: the next poll says so
            self._running[slot][1].send((task, then))

    def renew(self, slot: Hashable) -> None:
        """See `Workers`."""
        seat = self._running[slot][2]
        self._end(slot)
        self._start(seat)

    def _end(self, slot: Hashable) -> None:
        process, pipe, _ = self._running.pop(slot)
        pipe.close()
        process.join(PATIENCE)
        if process.is_alive():
            process.kill()
            process.join()

    def close(self) -> None:
        """Ask all to end, at the end of the block that they compute; kill those that do not."""
        for _, pipe, _ in self._running.values():
            pipe.close()
        until = time.monotonic() + PATIENCE
        for process, _, _ in self._running.values():
            process.join(max(0.0, until - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join()
        self._running.clear()


@contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """A process that is started inside hears no Ctrl+C, not even while it begins; here it is heard afterwards."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _how_it_ended(code: int | None) -> str:
    if code is not None and code < 0:
        with suppress(ValueError):
            name = signal.Signals(-code).name
            return f"killed by {name}, perhaps for want of memory" if name == "SIGKILL" else f"ended by {name}"
    return f"ended with code {code}"


def serve(pipe: Connection[Any, Any], settings: Settings, seat: int) -> None:
    """What a process does: segment what comes through the pipe, until the other end is closed.

    Args:
        pipe: tasks come in; what came of them goes out.
        settings: of the batch.
        seat: which process of those on this machine it is.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    inbox: queue.SimpleQueue[tuple[Task, Task | None] | None] = queue.SimpleQueue()
    stop = threading.Event()
    threading.Thread(target=_listen, args=(pipe, inbox, stop), daemon=True).start()
    with suppress(BrokenPipeError, ConnectionError):  # nobody is there any more
        try:
            settings, about = about_this_process(settings, seat)
            segmenter = Segmenter(settings)
        except Exception as error:
            pipe.send(("unfit", (in_a_sentence(error), isinstance(error, ValueError))))
            return
        pipe.send(("joined", about))
        while (message := inbox.get()) is not None:
            try:
                outcome = segmenter.do(*message, stop.is_set)
            except Stopped:
                break
            pipe.send(("done", outcome))
        segmenter.close()


def _listen(pipe: Connection[Any, Any], inbox: queue.SimpleQueue, stop: threading.Event) -> None:
    with suppress(EOFError, OSError):
        while True:
            inbox.put(pipe.recv())
    stop.set()
    inbox.put(None)
