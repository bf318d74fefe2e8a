"""Process of a run: launch it, train from its config to exported weights, log lifecycle events, obey requests.

`python -m napari_synthseg.training.runs.process RUN` trains a run in the background. With `--worker DEVICE` it is one
of the other processes of a run on several devices, with `--trial STEPS` it only tries a few steps of each stage.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from filelock import Timeout

from napari_synthseg.errors import InputError
from napari_synthseg.fields import to_json
from napari_synthseg.jobs import Progress, Stopped, run
from napari_synthseg.training import folder
from napari_synthseg.training.engine.events import NOBODY, EventLog, Watch, tail, watched
from napari_synthseg.training.recipe import Recipe, check_new, recipe
from napari_synthseg.training.runs.queue import devices_for, take_device, wait_for_device
from napari_synthseg.training.runs.registry import check_recipe, check_steps, read_config, remember, remove_folder
from napari_synthseg.training.runs.run import is_active, lock, read_requests, request, write_activity, write_process

logger = logging.getLogger(__name__)

PROCESS = "napari_synthseg.training.runs.process"
TRIAL = "trial.json"
"""Device and peak memory of a trial."""
LAUNCH_S = 30.0
"""Seconds that a new process may take until it holds its run's lock."""
LOCK_S = 3.0
"""Seconds to wait for the lock of a run, which somebody may be probing."""
PAUSE_S = 0.1
"""Seconds between two looks at the requests of a paused run."""
ACTIVITY_S = 0.5
"""Seconds between two messages about a run's activity between its steps."""
RUNNING = "The run {} is already running. Stop it first, or follow it with `runs show`."


# Launch


def launch(path: Path) -> int:
    """Start or resume a run in a background process that outlives this one and waits for its device behind others.

    Args:
        path: its folder, with a config.

    Returns:
        The process id.

    Raises:
        InputError: the folder holds no run, it is active already, or its process ended at once.
    """
    path = path.expanduser().absolute()
    folder.read_config(path)
    if is_active(path):
        raise InputError(RUNNING.format(path))
    remember(path)
    request(path, do="go")
    process = detached([sys.executable, "-m", PROCESS, str(path), "--wait"], path / folder.OUTPUT)
    end = time.monotonic() + LAUNCH_S
    while time.monotonic() < end and not is_active(path):
        if process.poll() is not None:
            if process.returncode == 0:  # it had nothing left to do
                break
            raise InputError(f"The run {path} could not be started: {last_line(path / folder.OUTPUT)}")
        time.sleep(0.05)
    return process.pid


def detached(command: list[str], output: Path) -> subprocess.Popen[bytes]:
    """Start a process that survives the window or terminal; its output is appended to a file."""
    apart: dict[str, Any] = {"start_new_session": True}
    if sys.platform == "win32":
        apart = {"creationflags": subprocess.DETACHED_PROCESS | subprocess.CREATE_NEW_PROCESS_GROUP}
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with output.open("ab") as f:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=f, stderr=f, env=environment, **apart)


def last_line(output: Path) -> str:
    try:
        lines = output.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except OSError:
        lines = []
    return lines[-1] if lines else "it printed nothing."


# Train


def train_run(path: Path, *, wait: bool = False) -> Generator[Progress, None, Path]:
    """Train a run according to its config, from its newest checkpoints if there are any, and return its weights.

    Args:
        path: the run's folder.
        wait: for its device, behind earlier runs.

    Raises:
        InputError: the folder holds no run, it is active already, or its data or options cannot be used.
    """
    config = read_config(path)
    options = replace(config.options, resume=any((path / folder.CHECKPOINTS).glob("*.pt")))
    return (yield from train_recorded(recipe(config.recipe), options, wait=wait, keep_config=True))


def train_recorded(
    entry: Recipe, options: Any, *, wait: bool = False, keep_config: bool = False
) -> Generator[Progress, None, Path]:
    """Train, record the lifecycle in the run's folder, obey the requests made there, and return the exported weights.

    Args:
        entry: the recipe.
        options: of the recipe; `out` is the run's folder.
        wait: for its device, behind earlier runs.
        keep_config: leave the options in the run's config as they are.

    Raises:
        InputError: the run is active already, has done more steps, or its data or options cannot be used.
    """
    out: Path = options.out
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        from napari_synthseg.training.engine import distributed

        if distributed.own_rank().rank:  # started by torchrun or a cluster: the main process keeps the record
            return (yield from distributed.follow_main(entry, options, devices_for(options.device)[0]))
    new, stages = not out.exists(), entry.stages(options)
    if not options.resume:
        check_new(out, entry.name, stages)
    elif not keep_config:
        check_recipe(out, entry.name)
        check_steps(out, stages)
    with _locked(out):
        before, last = folder.read_json(out / folder.CONFIG), tail(out)[0][-1:]
        if not keep_config:
            own = to_json(replace(options, resume=False))
            folder.write_config(out, recipe=entry.name, options=own, stages=stages)
        remember(out)
        request(out, do="go")
        log = EventLog(out)
        try:
            result = yield from _train(entry, options, log, wait)
        except (GeneratorExit, Stopped, KeyboardInterrupt):
            log.append({"event": "end", "how": "stopped"})
            raise
        except Exception as error:
            log.append({"event": "end", "how": "failed", "why": explain(error)})
            if new and not (out / folder.CHECKPOINTS).exists():  # nothing to keep
                remove_folder(out)
            elif before and tail(out)[0][-1:] == last:  # unusable options do not replace the run's own
                folder.write_config(out, **before)
            raise
        log.append({"event": "end", "how": "finished", "weights": result.name})
    return result


@contextlib.contextmanager
def _locked(out: Path) -> Iterator[None]:
    """Hold the run's lock.

    Raises:
        InputError: another process trains this run.
    """
    out.mkdir(parents=True, exist_ok=True)
    own = lock(out)
    try:
        own.acquire(timeout=LOCK_S)
    except Timeout:
        raise InputError(RUNNING.format(out)) from None
    try:
        yield
    finally:
        own.release()


def _train(entry: Recipe, options: Any, log: EventLog, wait: bool) -> Generator[Progress, None, Path]:
    out, count, told = options.out, _local_processes(options), ""

    def waits(report: Progress) -> None:
        nonlocal told
        if report.stage != told:
            log.append({"event": "waiting", "why": report.stage})
        told = report.stage

    held: contextlib.ExitStack | None
    if wait:
        device, held = yield from _obey(wait_for_device(out, options.device, count), out, log, waits)
    else:
        device, held = take_device(options.device, count)
    with held or contextlib.nullcontext():
        write_process(out, device)
        log.append({"event": "start", "device": device})
        activity = _Activity(out, entry.stages(options))
        watch = Watch(recorded=True, pictures=lambda: read_requests(out).pictures, doing=activity.tell)
        with _process_group(options, device):
            job = entry.train(replace(options, device=device) if device != options.device else options)
            return (yield from _obey(job, out, log, activity.report, watch))


def _local_processes(options: Any) -> int:
    """Return the number of processes of the run on this machine, each with a GPU of its own if there are any."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:  # started by torchrun or a cluster
        return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return int(getattr(options, "devices", 1))


def _process_group(options: Any, device: str) -> contextlib.AbstractContextManager[Any]:
    """Connect with the other processes of the run, and start those that torchrun has not."""
    from napari_synthseg.training.engine import distributed

    count = getattr(options, "devices", 1)
    if count == 1 and distributed.own_rank().size == 1:
        return contextlib.nullcontext()
    return distributed.launched(device, count, [str(options.out.absolute()), "--worker", device])


class _Activity:
    """Writes the activity between steps of the stages into the run's folder, at most a few times a second."""

    def __init__(self, out: Path, stages: Iterable[str]) -> None:
        self.out, self.stages, self.stage, self.told = out, set(stages), "", 0.0

    def tell(self, stage: str, done: int = 0, total: int = 0) -> None:
        """Record an activity, such as "Reading scans, 7 of 20"."""
        now = time.monotonic()
        if stage != self.stage or now - self.told >= ACTIVITY_S:
            self.stage, self.told = stage, now
            write_activity(self.out, stage.capitalize() + (f", {done} of {total}" if total else ""))

    def report(self, report: Progress) -> None:
        """Record a report of the training that is no step."""
        if report.stage not in self.stages:
            self.tell(report.stage, report.done, report.total)
        else:
            self.stage = ""


def _obey(
    job: Generator[Progress, None, Any],
    out: Path,
    log: EventLog,
    on_report: Callable[[Progress], None],
    watch: Watch = NOBODY,
) -> Generator[Progress, None, Any]:
    """Drive a job, and pause and stop it as requested in the run's folder; loops inside it obey `watch`.

    Raises:
        Stopped: on request.
    """
    with contextlib.closing(job):
        while True:
            try:
                with watched(watch):
                    report = next(job)
            except StopIteration as end:
                return end.value
            on_report(report)
            yield report
            if (do := read_requests(out).do) == "pause":
                log.append({"event": "paused"})
                while (do := read_requests(out).do) == "pause":
                    time.sleep(PAUSE_S)
                    yield replace(report, stage="paused")
                if do == "go":
                    log.append({"event": "continued"})
            if do == "stop":
                job.close()
                raise Stopped("stopped on request")


def explain(error: BaseException) -> str:
    """Return why a run failed, as a sentence."""
    text = " ".join(str(error).split())
    if type(error).__name__ == "OutOfMemoryError":
        return f"The GPU ran out of memory: choose a smaller batch, crop or network. ({text[:200]})"
    if isinstance(error, MemoryError) or "can't allocate memory" in text:
        return "The machine ran out of memory: choose a smaller batch, crop or network."
    if isinstance(error, InputError):
        return text
    return f"{type(error).__name__}: {text or 'no reason was given'}"


# Entry points of the processes


def lower_priority() -> None:
    """Raise the niceness of this process by NAPARI_SYNTHSEG_NICE (1 to 19); by default it has its fair share.

    The niceness of its session (autogroup) is left alone: lowered, it would starve on a busy machine.
    """
    nicer = os.environ.get("NAPARI_SYNTHSEG_NICE", "")
    if sys.platform != "win32" and nicer.isdecimal():
        with contextlib.suppress(OSError):
            os.nice(int(nicer))


def work(path: Path, wait: bool) -> int:
    """Train a run in this process; the exit code is 0 (finished), 1 (failed) or 130 (stopped)."""
    lower_priority()
    asked: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda one, frame: asked.append(one))
    try:
        run(train_run(path, wait=wait), should_stop=lambda: bool(asked))
    except Stopped:
        return 130
    except Exception as error:
        print(explain(error), file=sys.stderr)
        return 1
    return 0


def ddp_worker(path: Path, device: str) -> int:
    """Train along with the main process of a run in `path`, which trains on `device`; the exit code is 0 or 1."""
    from napari_synthseg.training.engine.distributed import follow_main

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the main process decides
    config = read_config(path)
    try:
        run(follow_main(recipe(config.recipe), config.options, device))
    except Stopped:
        return 0
    except RuntimeError as error:
        logger.warning("This process ends because the main process has ended: %s", str(error).splitlines()[0])
        return 1
    return 0


def try_out(path: Path, steps: int) -> int:
    """Make a few steps of each stage of a run, write device and peak memory beside them; the exit code is 0 or 1."""
    import torch

    from napari_synthseg.devices import memory_used

    try:
        config = read_config(path)
        device = devices_for(config.options.device)[0]
        with watched(Watch(trial=steps)):
            run(recipe(config.recipe).train(replace(config.options, device=device)))
    except Exception as error:
        print(explain(error), file=sys.stderr)
        return 1
    (path / TRIAL).write_text(json.dumps({"device": device, "memory": memory_used(torch.device(device))}))
    return 0


def main(arguments: list[str]) -> int:
    """Be the process of a run: RUN [--wait], or RUN --worker DEVICE, or RUN --trial STEPS."""
    logging.basicConfig(level=logging.WARNING)
    path, *how = arguments
    if "--worker" in how:
        return ddp_worker(Path(path), how[1])
    if "--trial" in how:
        return try_out(Path(path), int(how[1]))
    return work(Path(path), "--wait" in how)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
