"""Shared parts of all sub-commands: exit codes, one-sentence errors, progress bar, options made from dataclasses."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import sys
import threading
import traceback
import typing
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import MISSING, is_dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm
from tyro.constructors import ConstructorRegistry, StructConstructorSpec, StructFieldSpec, StructTypeInfo

from napari_synthseg.atomic_io import write_text
from napari_synthseg.fields import Field, fields_of
from napari_synthseg.jobs import Progress, run

PACKAGE, PROGRAM = "napari_synthseg", "napari-synthseg"
DONE, SOME_FAILED, BAD_INPUT, STOPPED = 0, 1, 2, 130

Out = Annotated[Path, tyro.conf.arg(aliases=["-o"])]
Count = Annotated[int, tyro.conf.arg(aliases=["-n"], metavar="N")]
JsonFile = Annotated[Path | None, tyro.conf.arg(name="json")]

METAVARS = {"file": "FILE", "folder": "FOLDER"}
MARKERS = (tyro.conf.DisallowNone, tyro.conf.OmitArgPrefixes)
"""No word for "nothing", and no prefixes: --threads, not --segmentation.threads."""
REGISTRY = ConstructorRegistry()

Command = Callable[..., int]
Job = Generator[Progress, None, Any]


def run_command(command: Command, name: str, words: Sequence[str]) -> int:
    """Parse the words of a sub-command and run it.

    Args:
        command: a function of its options, which may be dataclasses.
        name: of the sub-command.
        words: what follows it.
    """
    hints = typing.get_type_hints(command, include_extras=True)
    hint = tyro.conf.arg(help_behavior_hint=default_hint)
    command.__annotations__ = {k: v if k == "return" else Annotated[v, hint] for k, v in hints.items()}
    return tyro.cli(command, prog=f"{PROGRAM} {name}", args=words, config=MARKERS, registry=REGISTRY)


def default_hint(default: str) -> str:
    """Return the end of an option's help: its default, unless that is nothing."""
    return f"(default: {default})" if default not in ("None", "") else ""


@REGISTRY.struct_rule
def options_rule(info: StructTypeInfo) -> StructConstructorSpec | None:
    """Make the arguments of a dataclass from its annotated fields: units, symbols and limits in their help."""
    if not is_dataclass(info.type):
        return None
    options: Any = info.type
    hints = typing.get_type_hints(options, include_extras=True)

    def default_of(field: Field) -> Any:
        if isinstance(info.default, options):
            return getattr(info.default, field.name)
        if info.default is tyro.MISSING:
            return tyro.MISSING
        return tyro.MISSING_NONPROP if field.default is MISSING else field.default

    def type_of(field: Field) -> Any:
        arg = tyro.conf.arg(metavar=METAVARS.get(field.info.path or ""), help_behavior_hint=default_hint)
        return Annotated[hints[field.name], arg]

    found = [StructFieldSpec(f.name, type_of(f), default_of(f), f.help) for f in fields_of(options)]
    return StructConstructorSpec(instantiate=options, fields=tuple(found))


def complain(error: Exception, code: int) -> int:
    """Print an error as one sentence (and the traceback if NAPARI_SYNTHSEG_DEBUG is set); return `code`."""
    if os.environ.get("NAPARI_SYNTHSEG_DEBUG"):
        traceback.print_exception(error)
    sentence = " ".join(str(error).split()) or "no reason was given"
    if not isinstance(error, ValueError):
        sentence = f"{type(error).__name__}: {sentence} (NAPARI_SYNTHSEG_DEBUG=1 shows where)"
    print(f"{PROGRAM}: error: {sentence}", file=sys.stderr)
    return code


def write_json(path: Path, content: Any) -> None:
    """Write `content` as JSON, all or nothing, making the folder."""
    write_text(path, json.dumps(content, indent=1) + "\n")


def follow(job: Job) -> Any:
    """Run a job to its result with a progress bar; the first Ctrl+C asks it to stop, the second one stops at once."""
    ours = [logging.getLogger(PACKAGE)]
    with stop_requests() as should_stop, progress_bar() as show, logging_redirect_tqdm(ours):  # warnings above the bar
        return run(job, show, should_stop)


@contextlib.contextmanager
def progress_bar() -> Iterator[Callable[[Progress], None]]:
    """Give a function that shows reports: a bar for every stage on a terminal, nothing elsewhere."""
    bar: tqdm | None = None

    def show(report: Progress) -> None:
        nonlocal bar
        if bar is None or bar.desc != report.stage or bar.total != (report.total or None):
            if bar is not None:
                bar.close()
            bar = tqdm(total=report.total or None, desc=report.stage, disable=None, leave=False, dynamic_ncols=True)
            bar.desc = report.stage
        bar.set_postfix(short_figures(report), refresh=False)
        bar.update(report.done - bar.n)

    try:
        yield show
    finally:
        if bar is not None:
            bar.close()


def short_figures(report: Progress) -> dict[str, str]:
    """Return the figures of a report as short texts."""
    simple = {name: value for name, value in report.figures.items() if not isinstance(value, Mapping)}
    return {name: f"{value:.4g}" if isinstance(value, float) else str(value) for name, value in simple.items()}


@contextlib.contextmanager
def stop_requests() -> Iterator[Callable[[], bool]]:
    """Give a function that says whether SIGINT or SIGTERM came; a second SIGINT raises KeyboardInterrupt."""
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
