"""Workers of a batch: processes on this machine, or the workers of a `dask.distributed` cluster.

Each process is an executor of its own, so that one that dies takes down nothing else; nothing listens on a port. A
cluster's scheduler only carries messages: scans are assigned here, so that a scan whose worker died is known and
counted. Its workers may come and go; all machines see the same folders under the same paths.
"""

from __future__ import annotations

import itertools
import multiprocessing as mp
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool, ProcessPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from napari_synthseg import __version__
from napari_synthseg.atomic_io import write_text
from napari_synthseg.batch import bids
from napari_synthseg.batch.options import BatchOptions
from napari_synthseg.batch.plan import absolute, find, made_with, plan
from napari_synthseg.batch.segmenter import Settings
from napari_synthseg.batch.workers import TIMEOUT_S, NotBegun, Workers, begin, enter, forget
from napari_synthseg.errors import InputError
from napari_synthseg.fields import command_text, from_json, to_json
from napari_synthseg.inference.options import SegmentOptions


def available_cpus() -> int:
    """Return how many threads this process may run: OMP_NUM_THREADS if set, else its processors."""
    given = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    if given.isdecimal() and int(given) > 0:
        return int(given)
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Processes(Workers):
    """Processes on this machine, which share its processors unless the options say how many threads each has.

    They ignore Ctrl+C, which reaches all processes of a terminal, and end when this process does.

    Args:
        count: number of processes.
        settings: of the batch.
        out: the folder of results.
    """

    def __init__(self, count: int, settings: Settings, out: Path) -> None:
        super().__init__(settings)
        self._begin = settings, __version__, str(out), max(1, available_cpus() // count)
        self._context = mp.get_context("spawn")
        self._stop = self._context.Event()
        self._numbers = itertools.count()
        self._pools: dict[Hashable, ProcessPoolExecutor] = {}
        self._processes: dict[Hashable, tuple[BaseProcess, int]] = {}
        for seat in range(count):
            self._start(seat)

    def _start(self, seat: int) -> None:
        slot, before = next(self._numbers), set(mp.active_children())
        self._pools[slot] = ProcessPoolExecutor(1, self._context, enter, (self._stop,))
        with _blocked_sigint():
            self._call(slot, begin, *self._begin, seat)
        (process,) = set(mp.active_children()) - before
        self._processes[slot] = process, seat

    def _submit(self, slot: Hashable, function: Callable[..., Any], *arguments: Any) -> Future:
        try:
            return self._pools[slot].submit(function, *arguments)
        except BrokenProcessPool as error:  # it has just died
            future: Future = Future()
            future.set_exception(error)
            return future

    @property
    def hopeless(self) -> bool:
        """Whether no process is left."""
        return not self._pools

    def _is_death(self, error: BaseException, future: Future) -> bool:
        return isinstance(error, BrokenProcessPool)

    def _gone(self, slot: Hashable) -> str:
        self._pools.pop(slot).shutdown()  # joins the dead process
        process, seat = self._processes.pop(slot)
        del self._futures[slot]
        self._start(seat)
        return how_it_ended(process.exitcode)

    def _refuse(self, slot: Hashable) -> None:
        del self._futures[slot]
        self._pools.pop(slot).shutdown(wait=False)
        _end(self._processes.pop(slot)[0], TIMEOUT_S)

    def renew(self, slot: Hashable) -> None:
        """Replace an idle process by a fresh one."""
        seat = self._processes[slot][1]
        self._refuse(slot)
        self._start(seat)

    def close(self) -> None:
        """Stop all processes at the end of their block; kill those that do not end."""
        self._stop.set()
        for pool in self._pools.values():
            pool.shutdown(wait=False, cancel_futures=True)
        until = time.monotonic() + TIMEOUT_S
        for process, _ in self._processes.values():
            _end(process, max(0.0, until - time.monotonic()))
        self._pools.clear()
        self._processes.clear()


def _end(process: BaseProcess, seconds: float) -> None:
    process.join(seconds)
    if process.is_alive():
        process.kill()
        process.join()


@contextmanager
def _blocked_sigint() -> Iterator[None]:
    """Block SIGINT in processes that are started inside, even while they begin; here it is delivered afterwards."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def how_it_ended(code: int | None) -> str:
    """Describe the exit code of a process."""
    if code is not None and code < 0:
        with suppress(ValueError):
            name = signal.Signals(-code).name
            return f"killed by {name}, perhaps for lack of memory" if name == "SIGKILL" else f"ended by {name}"
    return f"ended with code {code}"


LOOK_S = 0.5
"""Interval between two looks at the list of workers."""
SCHEDULER_TIMEOUT_S = 60.0
"""How long the scheduler may be silent."""


class Cluster(Workers):
    """The workers of a scheduler; the name of a slot is the worker's address.

    Args:
        address: of the scheduler.
        settings: of the batch.
        out: the folder of results, which the workers must see.

    Raises:
        InputError: `distributed` is not installed, or nothing answers at the address.
    """

    alike = False  # another machine may have the file
    hopeless = False

    def __init__(self, address: str, settings: Settings, out: Path) -> None:
        super().__init__(settings)
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
        self._out = str(out)
        self._unfit: set[Hashable] = set()
        self._looked = 0.0
        self._answered = time.monotonic()

    def _missing(self) -> list[Hashable]:
        if time.monotonic() - self._looked < LOOK_S:
            return []
        self._looked = time.monotonic()
        try:
            threads = self._client.nthreads()
        except Exception as error:  # whatever the connection raises
            if time.monotonic() - self._answered > SCHEDULER_TIMEOUT_S:
                raise RuntimeError(
                    "the scheduler no longer answers; finished scans are kept: run the same command again"
                ) from error
            return []
        self._answered = time.monotonic()
        self._unfit &= set(threads)
        self.hopeless = bool(threads) and self._unfit == set(threads)
        gone = [slot for slot in self._futures if slot not in threads]
        for slot in sorted(set(threads) - set(self._futures) - self._unfit):
            self._call(slot, begin, self._settings, __version__, self._out, threads[slot])
        return gone

    def _submit(self, slot: Hashable, function: Callable[..., Any], *arguments: Any) -> Any:
        return self._client.submit(
            function, *arguments, workers=[slot], allow_other_workers=False, pure=False, retries=0
        )

    def _is_death(self, error: BaseException, future: Future) -> bool:
        named = type(error).__name__ in ("KilledWorker", "CancelledError", "FutureCancelledError")
        return named or isinstance(error, NotBegun) or future.status in ("cancelled", "lost")  # type: ignore[attr-defined]

    def _gone(self, slot: Hashable) -> str:
        with suppress(Exception):
            self._futures.pop(slot).cancel()  # a new worker may have this address: it begins anew
        self._tasks.pop(slot, None)
        return "the worker is gone: killed, out of memory, or disconnected"

    def _refuse(self, slot: Hashable) -> None:
        self._futures.pop(slot, None)
        self._unfit.add(slot)

    def renew(self, slot: Hashable) -> None:
        """Restart a worker; without a nanny it stays as it is."""
        self._futures.pop(slot, None)
        with suppress(Exception):
            self._client.restart_workers([str(slot)], timeout=30, raise_for_error=False)

    def close(self) -> None:
        """Cancel what has not begun; a worker finishes its current scan."""
        with suppress(Exception):
            from distributed import fire_and_forget

            self._client.cancel([future for future in self._futures.values() if not future.done()])
            for slot in self._futures:
                fire_and_forget(self._client.submit(forget, self._settings.token, workers=[slot], pure=False))
        with suppress(Exception):
            self._client.close(timeout=5)


FOLDER = "slurm"
ARRAY, LAST = "array.sh", "last.sh"


def submit(
    inputs: Sequence[Path | str], out: Path | str, segmentation: SegmentOptions, options: BatchOptions
) -> Iterator[str]:
    """Write the scripts, and submit them if sbatch is installed; yields lines that report what was done.

    All nodes must see the inputs and the folder of results under the same paths.

    Raises:
        InputError: there is nothing to segment, or sbatch refuses the job.
    """
    out = absolute(out)
    bids.check_free(out)
    made_with(segmentation)  # raises if the weights are missing
    tasks = plan(find(inputs, out, options), out, segmentation.grid)
    count = min(options.slurm_tasks, len(tasks))
    array, last = out / FOLDER / ARRAY, out / FOLDER / LAST
    write_text(array, script(inputs, out, segmentation, options, count))
    write_text(last, script(inputs, out, segmentation, options))
    yield f"{len(tasks)} scans in {count} tasks: {array}, {last}"
    if shutil.which("sbatch") is None:
        yield (
            f"sbatch is not installed here. Run on a login node: "
            f"sbatch --dependency=afterany:$(sbatch --parsable {shlex.quote(str(array))}) {shlex.quote(str(last))}"
        )
        return
    number = _sbatch("--parsable", str(array)).partition(";")[0]
    after = _sbatch("--parsable", f"--dependency=afterany:{number}", str(last)).partition(";")[0]
    yield f"Submitted as job {number}, and job {after} after it for the report."


def _sbatch(*words: str) -> str:
    done = subprocess.run(["sbatch", *words], capture_output=True, text=True)
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())
        raise InputError(f"sbatch refused the job ({said}): correct --slurm-options and try again.")
    return done.stdout.strip()


def script(
    inputs: Sequence[Path | str],
    out: Path,
    segmentation: SegmentOptions,
    options: BatchOptions,
    tasks: int | None = None,
) -> str:
    """Return the script of the job array; if `tasks` is None, of the job after it."""
    logs = out / FOLDER / ("%A_%a.log" if tasks else "%j.log")
    head = [
        "#!/bin/bash",
        f"#SBATCH --job-name=napari-synthseg{'' if tasks else '-last'}",
        f'#SBATCH --output="{logs}"',
        *([f"#SBATCH --array=1-{tasks}"] if tasks else []),
        "#SBATCH --requeue",
        *(f"#SBATCH {shlex.quote(word) if ' ' in word else word}" for word in shlex.split(options.slurm_options)),
    ]
    own = replace(options, slurm=False, slurm_tasks=10, slurm_options="")
    call = [sys.executable, "-m", "napari_synthseg.cli", "batch", *map(str, map(absolute, inputs)), "-o", str(out)]
    part = f' --part "$SLURM_ARRAY_TASK_ID/{tasks}"' if tasks else ""
    threads = 'export OMP_NUM_THREADS="${SLURM_CPUS_PER_TASK:-1}"'
    return "\n".join([*head, "", threads, f"exec {shlex.join(call + typed(own) + typed(segmentation))}{part}", ""])


def typed(options: Any) -> list[str]:
    """Return the command line arguments for options, with absolute paths."""
    return shlex.split(command_text(from_json(type(options), to_json(options))))
