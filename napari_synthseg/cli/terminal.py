"""Shared parts of all sub-commands: exit codes, one-sentence errors, progress bar, options made from dataclasses."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import json
import logging
import os
import signal
import sys
import threading
import traceback
import typing
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, is_dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm
from tyro.constructors import ConstructorRegistry, StructConstructorSpec, StructFieldSpec, StructTypeInfo

from napari_synthseg.atomic_io import write_text
from napari_synthseg.errors import printable
from napari_synthseg.fields import Field, fields_of
from napari_synthseg.jobs import Progress, run

PACKAGE, PROGRAM = "napari_synthseg", "napari-synthseg"
DONE, SOME_FAILED, BAD_INPUT, STOPPED = 0, 1, 2, 130
STUDIES, IMAGES, TRAINING = "Measures and studies", "Synthetic images", "Training"
"""Headings in the list of commands; what most people want stands above them."""

Out = Annotated[Path, tyro.conf.arg(aliases=["-o"])]
Count = Annotated[int, tyro.conf.arg(aliases=["-n"], metavar="N")]
Overwrite = Annotated[bool, tyro.conf.arg(help="replace existing files of these names.")]
Json = Annotated[bool, tyro.conf.arg(name="json", help="print JSON.")]
RunName = Annotated[
    str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN", help="the run's folder, or the folder's name.")
]
JsonFile = Annotated[Path | None, tyro.conf.arg(name="json")]

METAVARS = {"file": "FILE", "folder": "FOLDER"}
MARKERS = (tyro.conf.DisallowNone, tyro.conf.OmitArgPrefixes)
"""No word for "nothing", and no prefixes: --threads, not --segmentation.threads."""
REGISTRY = ConstructorRegistry()

Job = Generator[Progress, None, Any]


@dataclass(frozen=True)
class Command:
    """A sub-command.

    Attributes:
        make: return its function, from the words that follow its name.
        summary: one line on it.
        heading: above it in the list of commands; empty for those that come first.
        translate: replace words that users of other programs type.
    """

    make: Callable[[Sequence[str]], Callable[..., int]]
    summary: str
    heading: str = ""
    translate: Callable[[Sequence[str]], list[str]] = list


COMMANDS: dict[str, Command] = {}
"""All sub-commands by name, such as "segment" and "train synthseg"."""


def command(name: str, *modules: str, heading: str = "", translate: Any = list) -> Callable[[Any], Any]:
    """Register a function as a sub-command; its docstring is the help.

    Args:
        name: what is typed.
        modules: below this package, imported when the command runs: they have the dataclasses that the function's
            annotations name, so that the help of another command does not load torch.
        heading, translate: see `Command`.
    """

    def register(function: Callable[..., int]) -> Callable[..., int]:
        summary = (function.__doc__ or "").partition("\n")[0]
        COMMANDS[name] = Command(lambda _: typed(function, modules), summary, heading, translate)
        return function

    return register


def typed(function: Callable[..., int], modules: Sequence[str] = ()) -> Callable[..., int]:
    """Return a function with types in place of their names, which says what folder it made for its `out`."""
    names: dict[str, Any] = {}
    for module in modules:
        names |= vars(importlib.import_module(f"{PACKAGE}.{module}"))
    hints = typing.get_type_hints(function, localns=names, include_extras=True)

    signature = inspect.signature(function)

    def call(*args: Any, **options: Any) -> int:
        out = signature.bind(*args, **options).arguments.get("out")
        absent = [] if out is None else [path for path in (out, *out.parents) if not path.exists()]
        code = function(*args, **options)
        if made := next((path for path in absent if path.is_dir()), None):
            say(f"made the folder {made}")
        return code

    call.__doc__, call.__annotations__ = function.__doc__, hints
    call.__signature__ = signature  # type: ignore[attr-defined]
    return call


def run_command(name: str, words: Sequence[str]) -> int:
    """Parse the words that follow the name of a sub-command, and run it; return its exit code."""
    chosen = COMMANDS[name]
    words = chosen.translate(words)
    function = chosen.make(words)
    hint = tyro.conf.arg(help_behavior_hint=default_hint)
    given = {k: v if k == "return" else Annotated[v, hint] for k, v in function.__annotations__.items()}
    function.__annotations__ = given
    return tyro.cli(function, prog=f"{PROGRAM} {name}", args=words, config=MARKERS, registry=REGISTRY)


def default_hint(default: str) -> str:
    """Return the end of an option's help: its default, unless that is nothing."""
    return f"(default: {default})" if default not in ("None", "", "''") else ""


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
        metavar = METAVARS.get(field.info.path or "")
        arg = tyro.conf.arg(metavar=metavar, help_behavior_hint=default_hint, aliases=field.info.aliases)
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
    say(f"error: {sentence}")
    return code


def say(text: str) -> None:
    """Print a line to standard error, after the program's name."""
    print(f"{PROGRAM}: {printable(text)}", file=sys.stderr)


def put(text: object) -> None:
    """Print a line of results: as it is for programs, without control sequences of file names on a terminal."""
    print(printable(str(text)) if sys.stdout.isatty() else text)


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
