"""Doing the work of a run: from its config to its weights, its life written down, requests obeyed.

`python -m napari_synthseg.training.runs.work RUN` is what a run in the background is.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Generator, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from filelock import Timeout

from napari_synthseg.errors import InputError
from napari_synthseg.fields import from_json, to_json
from napari_synthseg.jobs import Progress, Stopped, run
from napari_synthseg.training import folder
from napari_synthseg.training.engine.events import EventLog, tail
from napari_synthseg.training.engine.watching import Watch, watched
from napari_synthseg.training.runs.life import lock, write_process
from napari_synthseg.training.runs.manage import check_recipe, check_steps, remove_folder
from napari_synthseg.training.runs.places import remember
from napari_synthseg.training.runs.queue import fit_for, free_device, wait_for_device
from napari_synthseg.training.runs.recipes import RecipeEntry, recipe
from napari_synthseg.training.runs.requests import Listener, ask

NAP = 0.1
"""Seconds between two looks at the requests of a run that is paused."""
BEHIND = 10
"""How much nicer than others a run in the background is, 0 to 19; NAPARI_SYNTHSEG_NICE says otherwise."""
PATIENCE = 3.0
"""Seconds to wait for the lock of a run, which somebody may be probing."""


def work(path: Path, *, wait: bool = False) -> Generator[Progress, None, Path]:
    """Train a run as its config says, from its newest checkpoints if there are any.

    Args:
        path: the run's folder.
        wait: for its device, behind those that came before.

    Returns:
        The exported weights.

    Raises:
        InputError: the folder holds no run, it is going already, or its data or options cannot be used.
    """
    config = folder.read_config(path)
    entry = recipe(config["recipe"])
    options = from_json(entry.options_type(), {**config["options"], "out": str(path)})
    begun = any((path / folder.CHECKPOINTS).glob("*.pt"))
    return (yield from recorded(entry, replace(options, resume=begun), wait=wait, keep_config=True))


def recorded(
    entry: RecipeEntry, options: Any, *, wait: bool = False, keep_config: bool = False
) -> Generator[Progress, None, Path]:
    """Train, with a record of the run's life in its folder, obeying what is asked of it there.

    Args:
        entry: the recipe.
        options: of the recipe; `out` is the run's folder.
        wait: for its device, behind those that came before.
        keep_config: leave the options in the run's config as they are.

    Returns:
        The exported weights.

    Raises:
        InputError: the run is going already, or has done more steps, or its data or options cannot be used.
    """
    out: Path = options.out
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        from napari_synthseg.training.engine import distributed

        if distributed.seat().rank:  # started by torchrun or a cluster: the first process keeps the record
            return (yield from distributed.along(entry, options, fit_for(options.device)[0]))
    new, stages = not out.exists(), entry.stages(options)
    if not options.resume:
        _check_new(out, entry, stages)
    elif not keep_config:
        check_recipe(out, entry.name)
        check_steps(out, stages)
    with _alone(out):
        before, last = folder.read_json(out / folder.CONFIG), tail(out)[0][-1:]
        if not keep_config:
            folder.write_config(out, recipe=entry.name, options=to_json(replace(options, resume=False)), stages=stages)
        remember(out)
        ask(out, do="go")
        log = EventLog(out)
        try:
            result = yield from _living(entry, options, log, wait)
        except (GeneratorExit, Stopped, KeyboardInterrupt):
            log.append({"event": "end", "how": "stopped"})
            raise
        except Exception as error:
            log.append({"event": "end", "how": "failed", "why": in_words(error)})
            if new:
                _leave_no_litter(out)
            elif before and tail(out)[0][-1:] == last:  # options that cannot be used are not the run's
                folder.write_config(out, **before)
            raise
        log.append({"event": "end", "how": "finished", "weights": result.name})
    return result


def _check_new(out: Path, entry: RecipeEntry, stages: Iterable[str]) -> None:
    """Refuse to start over before anything in the folder is touched; a stage that is not there yet may be added."""
    there = {path.stem for path in (out / folder.CHECKPOINTS).glob("*.pt")}
    if there and (folder.recipe_of(out) != entry.name or there.intersection(stages)):
        raise InputError(f"The folder {out} holds a run already: add --resume to go on, or choose another folder.")


def _living(entry: RecipeEntry, options: Any, log: EventLog, wait: bool) -> Generator[Progress, None, Path]:
    """Wait for the device, then train on it."""
    out, listener = options.out, Listener(options.out)
    held: contextlib.ExitStack | None
    if wait:
        queued = _noted(wait_for_device(out, options.device, _processes_here(options)), log)
        device, held = yield from _obeying(queued, listener, log)
    else:
        device, held = free_device(options.device, _processes_here(options))
    with held or contextlib.nullcontext():
        write_process(out, device)
        log.append({"event": "start", "device": device})
        begin = Watch(recorded=True, pictures=lambda: listener.now().pictures)
        with _helped(options, device):
            job = entry.train(replace(options, device=device) if device != options.device else options)
            with contextlib.closing(job):
                return (yield from _obeying(_watched(job, begin), listener, log))


def _processes_here(options: Any) -> int:
    """How many processes of this machine the run has, each with a GPU of its own where there are any."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:  # started by torchrun or a cluster
        return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return int(getattr(options, "devices", 1))


def _helped(options: Any, device: str) -> contextlib.AbstractContextManager[Any]:
    """The other processes that the run is to have, or was started with by torchrun."""
    from napari_synthseg.training.engine import distributed

    count = getattr(options, "devices", 1)
    if count == 1 and distributed.seat().size == 1:
        return contextlib.nullcontext()
    return distributed.gathered(device, count, [str(options.out.absolute()), device])


def _noted(job: Generator[Progress, None, Any], log: EventLog) -> Generator[Progress, None, Any]:
    """A job that waits, with what it waits for in the run's record."""
    said = None
    with contextlib.closing(job):
        while True:
            try:
                report = next(job)
            except StopIteration as end:
                return end.value
            if report.stage != said:
                said = report.stage
                log.append({"event": "waiting", "why": said})
            yield report


def _watched(job: Generator[Progress, None, Any], by: Watch) -> Generator[Progress, None, Any]:
    """A job whose loops do what the watcher asks."""
    with contextlib.closing(job):
        while True:
            with watched(by):
                try:
                    report = next(job)
                except StopIteration as end:
                    return end.value
            yield report


def _obeying(job: Generator[Progress, None, Any], listener: Listener, log: EventLog) -> Generator[Progress, None, Any]:
    """A job that is paused and stopped as is asked in the run's folder.

    Raises:
        Stopped: it was asked to.
    """
    with contextlib.closing(job):
        while True:
            try:
                report = next(job)
            except StopIteration as end:
                return end.value
            yield report
            if listener.now().do == "pause":
                log.append({"event": "paused"})
                while listener.now().do == "pause":
                    time.sleep(NAP)
                    yield replace(report, stage="paused")
                if listener.now().do == "go":
                    log.append({"event": "continued"})
            if listener.now().do == "stop":
                job.close()
                raise Stopped("stopped as was asked")


@contextlib.contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Hold the run's lock.

    Raises:
        InputError: another process trains this run.
    """
    out.mkdir(parents=True, exist_ok=True)
    mine = lock(out)
    try:
        mine.acquire(timeout=PATIENCE)
    except Timeout:
        raise InputError(f"The run {out} is going already: stop it first, or follow it with `runs show`.") from None
    try:
        yield
    finally:
        mine.release()


def _leave_no_litter(out: Path) -> None:
    """Take away the folder of a run that failed before its first step, and that nobody had made before."""
    if not (out / folder.CHECKPOINTS).exists():
        remove_folder(out)


def in_words(error: BaseException) -> str:
    """Why a run failed, as a sentence."""
    text = " ".join(str(error).split())
    if type(error).__name__ == "OutOfMemoryError":
        return f"The GPU ran out of memory: choose a smaller batch, crop or network. ({text[:200]})"
    if isinstance(error, MemoryError) or "can't allocate memory" in text:
        return "The machine ran out of memory: choose a smaller batch, crop or network."
    if isinstance(error, InputError):
        return text
    return f"{type(error).__name__}: {text or 'no reason was given'}"


def step_back() -> None:
    """Let everything else on the machine go first: windows stay fluid, and an idle machine loses nothing.

    Linux shares its processors among sessions before it looks at single processes; this one leads a session of its own.
    Windows is told when the process is started.
    """
    nicer = os.environ.get("NAPARI_SYNTHSEG_NICE", "")
    by = int(nicer) if nicer.isdecimal() else BEHIND
    if sys.platform == "win32" or not by:
        return
    with contextlib.suppress(OSError):
        os.nice(by)
    with contextlib.suppress(OSError):
        if os.getsid(0) == os.getpid():
            Path("/proc/self/autogroup").write_text(str(min(by, 19)))


def main(arguments: list[str]) -> int:
    """Train the run that is named; the exit code is 0 (finished), 1 (failed) or 130 (stopped)."""
    path, wait = Path(arguments[0]), "--wait" in arguments
    logging.basicConfig(level=logging.WARNING)
    step_back()
    asked = False

    def stop(number: int, frame: Any) -> None:
        nonlocal asked
        asked = True

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    try:
        run(work(path, wait=wait), should_stop=lambda: asked)
    except Stopped:
        return 130
    except Exception as error:
        print(in_words(error), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
