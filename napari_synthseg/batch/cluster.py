"""Workers of a `dask.distributed` cluster that segment. Each has one scan at a time, and reads the next one meanwhile.

The scheduler only carries messages: which worker gets what is decided here, so that a scan whose worker died is known
and blamed. Workers may come and go. All machines see the same folders, under the same paths.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Hashable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from napari_synthseg import __version__
from napari_synthseg.batch.plan import Task
from napari_synthseg.batch.schedule import Event, Finished, Joined, Lost, Unfit
from napari_synthseg.batch.segmenter import Outcome, Segmenter, Settings, about_this_process
from napari_synthseg.errors import InputError, in_a_sentence

LOOK = 0.5
"""Seconds between two looks at who is there."""
PATIENCE = 60.0
"""Seconds without the scheduler after which it is gone."""
logger = logging.getLogger("napari_synthseg")


class NotBegun(LookupError):
    """A worker's process has no network: it was started again under the same address."""


def _names_a_death(error: BaseException) -> bool:
    """Whether an error of `distributed`, which need not be imported for this, says that the worker is gone."""
    return type(error).__name__ in ("KilledWorker", "CancelledError", "FutureCancelledError")


class Cluster:
    """The workers of a scheduler; a slot's name is a worker's address."""

    def __init__(self, address: str, settings: Settings, out: Path) -> None:
        """Connect.

        Args:
            address: of the scheduler.
            settings: of the batch.
            out: the folder of results, which the workers must see.

        Raises:
            InputError: `distributed` is not installed, or nothing answers at the address.
        """
        try:
            from distributed import Client
        except ImportError:
            raise InputError("A scheduler needs dask.distributed: pip install 'napari-synthseg[cluster]'.") from None
        try:
            self._client = Client(address, timeout=10, set_as_default=False)
        except (OSError, ValueError, TimeoutError, ImportError) as error:
            raise InputError(
                f"No dask.distributed scheduler answers at {address!r} ({type(error).__name__}): check the address, "
                "such as tcp://host:8786."
            ) from None
        self.waiting_for = f"Waiting for workers at {address}"
        self._settings, self._out = settings, str(out)
        self._heard: queue.SimpleQueue[tuple[Hashable, Any]] = queue.SimpleQueue()
        self._futures: dict[Hashable, Any] = {}
        self._doing: dict[Hashable, Task] = {}
        self._unfit: set[Hashable] = set()
        self.hopeless = False
        self._looked = 0.0
        self._answered = time.monotonic()

    def poll(self, seconds: float) -> list[Event]:
        """See `Workers`."""
        events: list[Event] = []
        if time.monotonic() - self._looked > LOOK:
            events += self._who_is_there()
        until = time.monotonic() + (0 if events else min(seconds, LOOK))
        while True:
            try:
                slot, future = self._heard.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                return events
            if self._futures.get(slot) is future:
                events += self._news(slot, future)
                until = time.monotonic()

    def _who_is_there(self) -> list[Event]:
        self._looked = time.monotonic()
        try:
            present = self._client.nthreads()
        except Exception as error:  # whatever the connection says
            if time.monotonic() - self._answered > PATIENCE:
                raise RuntimeError(
                    "the scheduler does not answer any more; what is done stays done: run the same command again"
                ) from error
            return []
        self._answered = time.monotonic()
        self._unfit &= set(present)
        self.hopeless = bool(present) and self._unfit == set(present)
        gone = [slot for slot in self._futures if slot not in present]
        for slot in sorted(set(present) - set(self._futures) - self._unfit):
            self._submit(slot, begin, self._settings, __version__, self._out, present[slot])
        return [self._gone(slot) for slot in gone]

    def _gone(self, slot: Hashable) -> Lost:
        with suppress(Exception):
            self._futures.pop(slot).cancel()
        self._doing.pop(slot, None)
        return Lost(slot, "the worker is gone: killed, out of memory, or cut off")

    def _submit(self, slot: Hashable, function: Any, *arguments: Any) -> None:
        future = self._client.submit(
            function, *arguments, workers=[slot], allow_other_workers=False, pure=False, retries=0
        )
        self._futures[slot] = future
        future.add_done_callback(lambda done, slot=slot: self._heard.put((slot, done)))

    def _news(self, slot: Hashable, future: Any) -> list[Event]:
        """What a worker's answer means."""
        task = self._doing.pop(slot, None)
        try:
            answer = future.result(timeout=PATIENCE)
        except Exception as error:
            if isinstance(error, NotBegun) or future.status in ("cancelled", "lost") or _names_a_death(error):
                self._futures.pop(slot, None)  # a new worker may have this address: it begins anew
                return [Lost(slot, "the worker was killed")]
            if task is not None:  # such as an answer that cannot be sent
                return [Finished(slot, task, Outcome(in_a_sentence(error), 0.0, {}, shaken=True))]
            answer = (in_a_sentence(error), False)
        if task is not None:
            return [Finished(slot, task, answer)]
        if isinstance(answer, str):
            return [Joined(slot, answer)]
        self._futures.pop(slot, None)
        self._unfit.add(slot)
        return [Unfit(slot, *answer)]

    def give(self, slot: Hashable, task: Task, then: Task | None) -> None:
        """See `Workers`."""
        self._doing[slot] = task
        self._submit(slot, segment_one, self._settings.token, task, then)

    def renew(self, slot: Hashable) -> None:
        """See `Workers`; a worker that nobody watches over (no nanny) stays as it is."""
        self._futures.pop(slot, None)
        with suppress(Exception):
            self._client.restart_workers([str(slot)], timeout=30, raise_for_error=False)

    def close(self) -> None:
        """Cancel what has not begun; a worker ends the scan that it is at, and writes it."""
        with suppress(Exception):
            from distributed import fire_and_forget

            self._client.cancel([future for future in self._futures.values() if not future.done()])
            for slot in self._futures:
                fire_and_forget(self._client.submit(forget, self._settings.token, workers=[slot], pure=False))
        with suppress(Exception):
            self._client.close(timeout=5)


# --- on the workers -------------------------------------------------------------------------------------------------

_segmenters: dict[str, Segmenter] = {}
_lock = threading.Lock()


def begin(settings: Settings, version: str, out: str, threads: int) -> str | tuple[str, bool]:
    """Load the network in a worker's process.

    Args:
        settings: of the batch.
        version: of this program where the batch was started.
        out: the folder of results, which this machine must see.
        threads: of the worker.

    Returns:
        What this process is called; or why it cannot segment, and whether no other could either.
    """
    if not Path(out).is_dir():
        return f"{out} is not there: all machines must see the same folders under the same paths", False
    if version != __version__:
        return f"it has version {__version__} of this program, not {version}: install the same one", False
    with _lock:
        try:
            settings = replace(settings, options=replace(settings.options, threads=settings.options.threads or threads))
            settings, about = about_this_process(settings)
            for token in list(_segmenters):  # of a batch before this one
                _segmenters.pop(token).close()
            _segmenters[settings.token] = Segmenter(settings)
        except Exception as error:
            return in_a_sentence(error), False
    return about


def segment_one(token: str, task: Task, then: Task | None) -> Outcome:
    """Segment a scan in a worker's process.

    Raises:
        NotBegun: this is another process than the one that began.
    """
    if token not in _segmenters:
        raise NotBegun(token)
    return _segmenters[token].do(task, then)


def forget(token: str) -> None:
    """Let a worker's network go."""
    if token in _segmenters:
        _segmenters.pop(token).close()
