"""Writes the tables and figures of docs/results.md anew from what was measured, and measures it anew if asked to.

    python benchmarks/report.py [SECTION ...]                     tables and figures from docs/results/*.json
    python benchmarks/report.py [SECTION ...] --measure SHARED    run the benchmarks first; SHARED holds data/real_t1
    python benchmarks/report.py --check                           exit code 1 where the page says something else

A section of the page stands between `<!-- NAME: begin -->` and `<!-- NAME: end -->`, and nothing else is touched. Its
rows lie in docs/results/NAME.json, as its benchmark wrote them; the benchmark's own functions make the table and the
figure of them. A new section: a line in `SECTIONS`, its rows, and the two marks in the page.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

BENCHMARKS = Path(__file__).parent
DOCS = BENCHMARKS.parent / "docs"
VALIDATION = "data/real_t1/validation"


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        command: of the benchmark, from the top of a checkout; SHARED and OUT stand for folders.
        made: the file it leaves in OUT.
        table: Markdown from the rows.
        rows: what is kept of that file.
        figure: draws the rows into a path, if there is a figure.
        picture: its name in docs/images.
    """

    command: str
    made: str
    table: Callable[[Any], str]
    rows: Callable[[Any], Any] = lambda rows: rows
    figure: Callable[[Any, Path], None] | None = None
    picture: str = ""


def benchmark(name: str) -> ModuleType:
    """One of the scripts beside this one."""
    module_name = f"benchmarks_{name}"
    if module_name not in sys.modules:
        spec = importlib.util.spec_from_file_location(module_name, BENCHMARKS / f"{name}.py")
        assert spec is not None and spec.loader is not None
        sys.modules[module_name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[module_name])
    return sys.modules[module_name]


def accuracy_table(scores: dict[str, Any]) -> str:
    """Means over scans, and every structure."""
    mean = scores["mean"]
    lines = [
        f"Mean of {mean['scans']} scans: Dice {mean['dice']:.3f}, SD95 {mean['sd95_mm']:.2f} mm, mean surface distance "
        f"{mean['msd_mm']:.2f} mm, volumes {mean['absolute_difference_percent']:.0f} % off. Single scans: "
        f"{', '.join(format(scan['dice'], '.3f') for scan in scores['scans'])}.",
        "",
        "| structure | Dice | SD95 (mm) | mean distance (mm) | volume, % off | in the mean |",
        "|---|---|---|---|---|---|",
    ]
    for s in scores["structures"].values():
        figures = f"{s['dice']:.3f} | {s['sd95_mm']:.2f} | {s['msd_mm']:.2f} | {s['difference_percent']:+.0f}"
        lines.append(f"| {s['name']} | {figures} | {'yes' if s['scored'] else 'no'} |")
    return "\n".join(lines)


def accuracy_rows(scores: dict[str, Any]) -> dict[str, Any]:
    """What of `evaluate --json` the table needs: no paths, and no structures of single scans."""
    scans = [{"scan": Path(scan["truth"]).name.split(".")[0], **scan["mean"]} for scan in scores["scans"]]
    structures = {v: s for v, s in scores["structures"].items() if None not in (s["dice"], s["sd95_mm"])}
    return {"mean": scores["mean"], "structures": structures, "scans": scans}


def in_order(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of benchmarks/robustness.py in the order of its kinds and levels."""
    kinds = ["none", *benchmark("robustness").LEVELS]
    return sorted(rows, key=lambda row: (kinds.index(row["kind"]), _place(row)))


def _place(row: dict[str, Any]) -> int:
    levels = benchmark("robustness").LEVELS.get(row["kind"], (0.0,))
    return [float(level) for level in levels].index(row["level"])


SECTIONS: dict[str, Section] = {
    "accuracy": Section(
        f"python benchmarks/accuracy.py SHARED/{VALIDATION} --out OUT", "scores.json", accuracy_table, accuracy_rows
    ),
    "robustness-all": Section(
        f'python benchmarks/robustness.py SHARED/{VALIDATION} --robust synthseg-robust --kinds "all at once" --fast '
        "--threads 1 --out OUT",
        "rows.json",
        lambda rows: benchmark("robustness").table(rows),
        in_order,
    ),
    "robustness-kinds": Section(
        f"python benchmarks/robustness.py SHARED/{VALIDATION} --robust synthseg-robust --kinds noise blur "
        '"sagittal slices" "coronal slices" "axial slices" bias contrast --only 1002 1110 --fast --threads 1 --out OUT',
        "rows.json",
        lambda rows: benchmark("robustness").table(rows),
        in_order,
        lambda rows, path: benchmark("robustness").draw_figure(rows, path),
        "robustness.png",
    ),
    "resolution": Section(
        f"python benchmarks/resolution.py SHARED/{VALIDATION} --what resolution --fast --threads 1 --out OUT",
        "rows.json",
        lambda rows: benchmark("resolution").as_markdown(rows),
        lambda rows: benchmark("resolution").complete(rows, "resolution"),
        lambda rows, path: benchmark("resolution").draw_figure(rows, path),
        "resolution.png",
    ),
    "contrast": Section(
        f"python benchmarks/resolution.py SHARED/{VALIDATION} --what contrast --fast --threads 1 --out OUT",
        "rows.json",
        lambda rows: benchmark("resolution").as_markdown(rows),
        lambda rows: benchmark("resolution").complete(rows, "contrast"),
        lambda rows, path: benchmark("resolution").draw_figure(rows, path),
        "contrast.png",
    ),
}


def measure(section: Section, shared: Path) -> Any:
    """Run a section's benchmark in a folder of its own; returns the rows to keep."""
    with tempfile.TemporaryDirectory() as out:
        words = re.findall(r'"[^"]*"|\S+', section.command)
        places = {"SHARED": str(shared), "OUT": out}
        command = [re.sub("SHARED|OUT", lambda found: places[found[0]], word.strip('"')) for word in words]
        subprocess.run([sys.executable, *command[1:]], check=True, cwd=BENCHMARKS.parent)
        return section.rows(json.loads((Path(out) / section.made).read_text(encoding="utf-8")))


def rendered(name: str, section: Section, rows: Any) -> str:
    """What stands between the marks of a section."""
    command = section.command.replace(" --out OUT", "")
    text = f"\n    {command}\n\n{section.table(rows)}\n\n"
    return f"{text}![mean Dice, {name}](images/{section.picture})\n\n" if section.picture else text


def with_section(page: str, name: str, text: str) -> str:
    """The page with another text between the marks of a section.

    Raises:
        ValueError: the page has no such marks.
    """
    begin, end = (f"<!-- {name}: {what} -->\n" for what in ("begin", "end"))
    before, found, rest = page.partition(begin)
    inside, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"The page has no {begin.strip()} and {end.strip()}: put both where the section shall stand.")
    return f"{before}{begin}{text}{end}{after}"


def main(words: Sequence[str] | None = None) -> int:
    """Measures if asked to, and writes the page and its figures; returns 1 where --check finds a difference."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"{', '.join(SECTIONS)}; by default all")
    parser.add_argument("--measure", type=Path, metavar="SHARED", help="run the benchmarks on the data of this folder")
    parser.add_argument("--check", action="store_true", help="change nothing; say whether the page is up to date")
    parser.add_argument("--docs", type=Path, default=DOCS, help="folder of results.md, results/ and images/")
    args = parser.parse_args(words)
    if unknown := set(args.sections) - set(SECTIONS):
        parser.error(f"there is no section {sorted(unknown)[0]}, but {', '.join(SECTIONS)}")
    page_path = args.docs / "results.md"
    page = written = page_path.read_text(encoding="utf-8")
    for name in args.sections or SECTIONS:
        section, store = SECTIONS[name], args.docs / "results" / f"{name}.json"
        if args.measure is not None:
            store.parent.mkdir(parents=True, exist_ok=True)
            store.write_text(json.dumps(measure(section, args.measure), indent=0) + "\n", encoding="utf-8")
        if not store.exists():
            print(f"report: {store} is not there yet: measure it with --measure SHARED.", file=sys.stderr)
            continue
        rows = json.loads(store.read_text(encoding="utf-8"))
        try:
            page = with_section(page, name, rendered(name, section, rows))
        except ValueError as error:
            print(f"report: {name}: {error}", file=sys.stderr)
            return 2
        if section.figure is not None and not args.check:
            section.figure(rows, args.docs / "images" / section.picture)
    if args.check:
        same = page == written
        print(f"{page_path}: {'up to date' if same else 'says something else than docs/results/*.json'}")
        return 0 if same else 1
    page_path.write_text(page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
