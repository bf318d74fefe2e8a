"""How long jobs report and stop: a job is a generator that yields `Progress` and returns its result."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

Result = TypeVar("Result")


@dataclass(frozen=True)
class Progress:
    """One report of a running job.

    Attributes:
        stage: what is being done, in words fit for a progress bar.
        done: units finished in this stage.
        total: units in this stage; 0 when unknown.
        figures: named numbers worth showing or logging (a loss, a Dice score, a path).
    """

    stage: str
    done: int = 0
    total: int = 0
    figures: dict[str, Any] = field(default_factory=dict)


Report = TypeVar("Report", bound=Progress)


class Stopped(Exception):
    """A job ended because it was asked to; nothing half-made is left behind."""


_asked: ContextVar[Callable[[], bool]] = ContextVar("asked", default=lambda: False)


@contextmanager
def stoppable(should_stop: Callable[[], bool]) -> Iterator[None]:
    """Inside, in this thread, `checkpoint` asks `should_stop`."""
    token = _asked.set(should_stop)
    try:
        yield
    finally:
        _asked.reset(token)


def checkpoint() -> None:
    """Called in the middle of what takes long without a report (layers of a network, slices of a volume).

    Raises:
        Stopped: if the job that this thread drives was asked to stop.
    """
    if _asked.get()():
        raise Stopped("stopped")


def mapped(
    job: Generator[Report, None, Result], change: Callable[[Report], Progress]
) -> Generator[Progress, None, Result]:
    """Run a job inside another one, which passes its reports on changed, and closes it with itself."""
    with closing(job):
        while True:
            try:
                report = next(job)
            except StopIteration as end:
                return end.value
            yield change(report)


def titled(
    job: Generator[Progress, None, Result], before: str = "", after: str = ""
) -> Generator[Progress, None, Result]:
    """Run a job whose stages get a text before or after them, such as the name of a scan."""
    return mapped(job, lambda report: replace(report, stage=f"{before}{report.stage}{after}"))


def run(
    job: Generator[Progress, None, Result],
    on_progress: Callable[[Progress], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Result:
    """Drive a job to its result.

    Args:
        job: a generator of `Progress` that returns its result.
        on_progress: called with every report.
        should_stop: asked after every report; when true the job is closed.

    Returns:
        What the job returns.

    Raises:
        Stopped: if `should_stop` said so.
    """
    while True:
        try:
            with stoppable(should_stop or _asked.get()):
                report = next(job)
        except StopIteration as end:
            return end.value
        if on_progress is not None:
            on_progress(report)
        if should_stop is not None and should_stop():
            job.close()
            raise Stopped(f"stopped during: {report.stage}")


def duration(seconds: float | None) -> str:
    """Format a time in at most two units: "3 h 12 min", "40 s"; empty if unknown."""
    if seconds is None or seconds != seconds or seconds < 0:
        return ""
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes and hours < 10 else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} days {hours} h" if hours and days < 10 else f"{days} days"
