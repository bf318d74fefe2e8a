"""Shared by the benchmarks: their command line, labelled scans, rows that survive a stop, means, tables and files.

    args = arguments(__doc__, "folder", "--weights", "--threads", seeds={"nargs": "+", "type": int, "default": [1]})

makes the options named in `OPTIONS` and those given as keywords; `@command` on `main` turns an error that the user can
correct into one sentence and exit code 2.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from napari_synthseg.errors import InputError
from napari_synthseg.weights.catalogue import DEFAULT

Row = dict[str, Any]
OPTIONS: dict[str, dict[str, Any]] = {
    "folder": {"type": Path, "help": "scans with label files beside them"},
    "label_maps": {"type": Path, "help": "label maps, as `train synthseg` takes them"},
    "what": {},
    "manifest": {"type": Path},
    "training": {"type": Path},
    "validation": {"type": Path},
    "out": {"type": Path},
    "--out": {"type": Path, "help": "folder of the results"},
    "--json": {"type": Path, "help": "write the figures into this file"},
    "--weights": {"default": DEFAULT},
    "--threads": {"type": int},
    "--seed": {"type": int, "default": 1},
    "--scans": {"type": int, "help": "use the first N scans of the folder"},
    "--only": {"nargs": "+", "metavar": "NAME"},
    "--fast": {"action": "store_true", "help": "without flips: half the time, a little less exact"},
    "--hold-out": {"nargs": "+", "required": True, "help": "names of the maps that the weights have not seen"},
}
"""Options that several benchmarks have."""
PROFILE = math.log(10) / math.pi
"""Standard deviation of a slice's profile as a share of its thickness (SynthSeg, eq. 23)."""


def arguments(doc: str | None, *common: str, unknown: bool = False, **own: Mapping[str, Any]) -> argparse.Namespace:
    """Parse the command line and set the number of threads.

    Args:
        doc: docstring of the benchmark; the first line is its description.
        common: names in `OPTIONS`.
        unknown: keep unknown words, as `args.words`.
        own: further options by their names, `_` for a positional one at the end; arguments of `add_argument`.
    """
    line = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    for name in common:
        line.add_argument(name, **OPTIONS[name] | dict(own.pop(name.removeprefix("--").replace("-", "_"), {})))
    for name, how in own.items():
        flag = f"-{name}" if len(name) == 1 else f"--{name.replace('_', '-')}"
        line.add_argument(name[:-1] if name.endswith("_") else flag, **how)
    args, words = line.parse_known_args() if unknown else (line.parse_args(), [])
    args.words = words
    if getattr(args, "threads", None):
        import torch

        torch.set_num_threads(args.threads)
    return args


def command(main: Callable[[], int | None]) -> Callable[[], int]:
    """Make `main` return its exit code: 0, or 2 after one sentence about an error that the user can correct."""

    @functools.wraps(main)
    def wrapped() -> int:
        try:
            return main() or 0
        except (InputError, OSError) as error:
            print(f"{Path(sys.argv[0]).stem}: {error}", file=sys.stderr)
            return 2

    return wrapped


def labelled_pairs(
    folder: Path, count: int | None = None, only: Sequence[str] | None = None
) -> list[tuple[Path, Path]]:
    """Return the scans of a folder with their label files.

    Args:
        folder: of both.
        count: the first ones only.
        only: beginnings of names.

    Raises:
        InputError: there are none.
    """
    from napari_synthseg.evaluation.scans import labelled_scans
    from napari_synthseg.io import stem

    pairs = [pair for pair in labelled_scans(folder) if stem(pair[0]).startswith(tuple(only or ("",)))][:count]
    if not pairs:
        raise InputError(f"{folder} holds no scan with a label file beside it: give another folder.")
    return pairs


def sweep(
    pairs: Iterable[tuple[Path, Path]],
    variants: Sequence[Row],
    models: Mapping[str, Any],
    done: Sequence[Row],
    change: Callable[..., Any],
    score: Callable[..., Row],
    by: str,
) -> Iterator[Row]:
    """Score every model on every labelled scan changed in every way; yield the rows that are not among those done.

    Args:
        variants: marks of each way in its rows.
        change: makes the scan of a variant, from scan, truth, variant and number of the scan.
        score: what a row says of a model, from the model, the changed scan, and the truth.
        by: the column of the model's name.
    """  # fmt: skip
    from napari_synthseg.io import read_labels, read_volume, stem

    for number, (scan_path, truth_path) in enumerate(pairs):
        scan, truth = read_volume(scan_path), read_labels(truth_path)
        for variant in variants:
            rows = {name: {"scan": stem(scan_path), by: name, **variant} for name in models}
            rows = {name: row for name, row in rows.items() if not any(row.items() <= one.items() for one in done)}
            changed = change(scan, truth, variant, number) if rows else None
            for name, row in rows.items():
                started = time.perf_counter()
                scores = score(models[name], changed, truth)
                yield {**row, **scores, "seconds": round(time.perf_counter() - started, 2)}


class Rows(list[Row]):
    """Rows in `rows.json` of a folder: those of an earlier run first, each saved as it comes."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "rows.json"
        super().__init__(json.loads(self.path.read_text(encoding="utf-8")) if self.path.exists() else [])

    def collect(self, rows: Iterable[Row], text: str) -> None:
        """Add rows and print each of them, `text` being their format."""
        for row in rows:
            self.append(row)
            write_json(self.path, self, indent=0)
            print(text.format(**row), flush=True)


def write_json(path: Path | None, content: Any, indent: int = 1) -> None:
    """Write JSON, if there is a path."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=indent) + "\n", encoding="utf-8")


def kept(file: Path, measure: Callable[[], Any]) -> Any:
    """Return the content of a JSON file; measured now, and written, unless it is there."""
    if not file.exists():
        write_json(file, measure())
    return json.loads(file.read_text(encoding="utf-8"))


def cells(out: Path, names: Iterable[str], wanted: Iterable[str], measure: Callable[[str], Any]) -> dict[str, Any]:
    """Measure those that are wanted and not in OUT yet; return what OUT holds, by name."""
    for name in wanted:
        kept(out / f"{name}.json", functools.partial(measure, name))
    files = {name: out / f"{name}.json" for name in names}
    return {name: json.loads(file.read_text(encoding="utf-8")) for name, file in files.items() if file.exists()}


def cost(who: int = resource.RUSAGE_SELF) -> tuple[float, float]:
    """Return (wall, CPU) seconds so far, of this process or of its children (`resource.RUSAGE_CHILDREN`)."""
    usage = resource.getrusage(who)
    return time.perf_counter(), usage.ru_utime + usage.ru_stime


def since(started: tuple[float, float], who: int = resource.RUSAGE_SELF) -> dict[str, float]:
    """Return wall and CPU seconds since `cost` was asked."""
    wall, cpu = (round(now - then, 3) for now, then in zip(cost(who), started, strict=True))
    return {"wall_s": wall, "cpu_s": cpu}


def peak_gib() -> float:
    """Return the most memory that the process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)


def script_output(script: str, *words: object, threads: int | None = None) -> list[str]:
    """Run a script in a process of its own, where nothing else has grown before; return the lines it prints."""
    limit = {"OMP_NUM_THREADS": str(threads)} if threads else {}
    line = [sys.executable, script, *map(str, words)]
    done = subprocess.run(line, env={**os.environ, **limit}, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.splitlines()


def finish(text: str, folder: Path | None = None) -> int:
    """Print a report, and write it to `table.md` of a folder; return the exit code."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "table.md").write_text(text + "\n", encoding="utf-8")
    print(text)
    return 0


def means(rows: Iterable[Row], of: Sequence[str], by: str, score: str = "dice") -> dict[tuple, dict[str, float]]:
    """Return means of a score by the values of some columns (`of`) and then of another one (`by`), in their order."""
    found: dict[tuple, dict[str, list[float]]] = {}
    for row in rows:
        if row[score] is not None:
            found.setdefault(tuple(row[name] for name in of), {}).setdefault(row[by], []).append(row[score])
    return {key: {name: statistics.mean(one) for name, one in rest.items()} for key, rest in found.items()}


def markdown(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Format a Markdown table; numbers get three digits, None an empty cell."""
    cells = ["" if c is None else f"{c:.3f}" if isinstance(c, float) else str(c) for row in rows for c in row]
    width = len(header)
    lines = [cells[at : at + width] for at in range(0, len(cells), width)]
    top = [f"| {' | '.join(header)} |".replace("|  |", "| |"), "|" + "---|" * width]
    return "\n".join([*top, *(f"| {' | '.join(line)} |" for line in lines)])
