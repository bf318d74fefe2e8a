"""What a section of the results page is, and how its benchmark is run."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

BENCHMARKS = Path(__file__).parents[1]
TRAINING = "SHARED/data/real_t1/training"
VALIDATION = "SHARED/data/real_t1/validation"
MAPS = "SHARED/data/label_maps"

FAST = ("synthseg-fast.safetensors",)
ROBUST = ("synthseg-robust.safetensors",)
CLICKS = ("mobilesam-encoder.safetensors", "synthfm-sam.safetensors")
PAPER_CLICKS = ("mobilesam-encoder.safetensors", "synthfm-mobile.safetensors")
"""Files in resources/weights."""


@dataclass(frozen=True)
class Section:
    """A part of the page, or rows that another part shows.

    Attributes:
        command: of the benchmark, from the top of a checkout. SHARED stands for the folder of development data, OUT for
            the folder that its rows go to; `NAME=VALUE` before it is for the environment. A line for each, where
            there are several.
        made: the file it leaves in OUT; empty where its rows are the lines of JSON that it prints.
        minutes: CPU-minutes of two cores, about.
        weights: the shipped files that the figures hang on; with others they are stale.
        table: Markdown of the rows, and of those of the sections named in `beside`; None where others show them.
        rows: what is kept of that file.
        beside: sections whose rows the table shows too.
        figure: draws the rows into a path, if there is a figure.
        picture: its name in docs/images.
        title: of the picture, for those who do not see it.
        times: it says how long something takes, so it wants a machine that does nothing else.
        says: does the page show the command above the table?
    """

    command: str
    made: str
    minutes: float
    weights: tuple[str, ...] = ()
    table: Callable[..., str] | None = None
    rows: Callable[[Any], Any] = lambda rows: rows
    beside: tuple[str, ...] = ()
    figure: Callable[[Any, Path], None] | None = None
    picture: str = ""
    title: str = ""
    times: bool = False
    says: bool = True

    def shown_command(self) -> str:
        """The command without the place that its rows go to."""
        return re.sub(r" --(out|json) OUT\S*| OUT/\w+\.json", "", self.command)


def rounded(content: Any, digits: int = 6) -> Any:
    """The same figures to so many digits."""
    if isinstance(content, dict):
        return {key: rounded(value, digits) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [rounded(value, digits) for value in content]
    return round(content, digits) if isinstance(content, float) else content


def benchmark(name: str) -> ModuleType:
    """One of the scripts of the folder above."""
    module_name = f"benchmarks_{name}"
    if module_name not in sys.modules:
        spec = importlib.util.spec_from_file_location(module_name, BENCHMARKS / f"{name}.py")
        assert spec is not None and spec.loader is not None
        sys.modules[module_name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[module_name])
    return sys.modules[module_name]


def words_of(line: str, places: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
    """The words of a command with their places filled in, this Python as `python`, and what the environment gets."""
    names = re.compile("|".join(map(re.escape, places)))
    words = [word.strip('"') for word in re.findall(r'"[^"]*"|\S+', line)]
    words = [sys.executable if w == "python" else names.sub(lambda found: places[found[0]], w) for w in words]
    environment = {}
    while re.match(r"[A-Z_]+=", words[0]):
        name, _, value = words.pop(0).partition("=")
        environment[name] = value
    return words, environment


def measure(section: Section, shared: Path, out: Path) -> Any:
    """Run a section's benchmark, its work in a folder that there is; returns the rows to keep.

    Raises:
        subprocess.CalledProcessError: the benchmark failed.
        OSError, ValueError: it left no rows, or none that can be read.
    """
    places = {"SHARED": str(shared), "OUT": str(out)}
    output = None if section.made else subprocess.PIPE
    printed = []
    for line in section.command.splitlines():
        words, environment = words_of(line, places)
        environment = {**os.environ, **environment}
        done = subprocess.run(words, check=True, cwd=BENCHMARKS.parent, env=environment, stdout=output, text=True)
        printed += (done.stdout or "").splitlines()
    if not section.made:
        return section.rows([json.loads(line) for line in printed])
    return section.rows(json.loads((out / section.made).read_text(encoding="utf-8")))
