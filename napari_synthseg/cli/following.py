"""Following a job in a terminal: a progress bar, and Ctrl+C as a request to stop."""

from __future__ import annotations

import contextlib
import logging
import signal
import sys
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Any

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from napari_synthseg.cli.ends import PROGRAM
from napari_synthseg.jobs import Progress, run

PACKAGE = "napari_synthseg"

Job = Generator[Progress, None, Any]


def follow(job: Job) -> Any:
    """Drive a job to its result with a progress bar; the first Ctrl+C asks it to stop, the second one insists."""
    ours = [logging.getLogger(PACKAGE)]
    with stop_requests() as should_stop, progress_bar() as show, logging_redirect_tqdm(ours):  # warnings above the bar
        return run(job, show, should_stop)


@contextlib.contextmanager
def progress_bar() -> Iterator[Callable[[Progress], None]]:
    """Gives a function that shows reports: a bar for every stage on a terminal, nothing elsewhere."""
    bar: tqdm | None = None

    def show(report: Progress) -> None:
        nonlocal bar
        if bar is None or bar.desc != report.stage or bar.total != (report.total or None):
            if bar is not None:
                bar.close()
            bar = tqdm(total=report.total or None, desc=report.stage, disable=None, leave=False, dynamic_ncols=True)
            bar.desc = report.stage
        bar.set_postfix(figures_for_a_bar(report), refresh=False)
        bar.update(report.done - bar.n)

    try:
        yield show
    finally:
        if bar is not None:
            bar.close()


def figures_for_a_bar(report: Progress) -> dict[str, str]:
    """The figures of a report, short."""
    simple = {name: value for name, value in report.figures.items() if not isinstance(value, Mapping)}
    return {name: f"{value:.4g}" if isinstance(value, float) else str(value) for name, value in simple.items()}


@contextlib.contextmanager
def stop_requests() -> Iterator[Callable[[], bool]]:
    """Gives a function that says whether SIGINT or SIGTERM came; a second SIGINT raises KeyboardInterrupt."""
    asked = False

    def ask(number: int, frame: Any) -> None:
        nonlocal asked
        if asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked = True
        print(f"\n{PROGRAM}: stopping; press Ctrl+C again to stop at once", file=sys.stderr)

    if threading.current_thread() is not threading.main_thread():  # only the main thread may listen to signals
        yield lambda: False
        return
    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
