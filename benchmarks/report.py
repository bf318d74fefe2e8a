"""Writes the figures of all pages anew from what was measured, and measures it anew if asked to.

    python benchmarks/report.py [SECTION ...]                     tables and figures from docs/results/*.json
    python benchmarks/report.py [SECTION ...] --measure SHARED    run the benchmarks first; SHARED holds data/real_t1
    python benchmarks/report.py --list                            what there is, and with which weights it was measured
    python benchmarks/report.py --stale --measure SHARED          only what was measured with other weights
    python benchmarks/report.py --weights synthseg-fast ...       only what hangs on these weights
    python benchmarks/report.py --check                           exit code 1 where a page says something else

A section stands on a page between `<!-- NAME: begin -->` and `<!-- NAME: end -->`; `reporting/page.py` has the marks of
plain tables and of single figures in a sentence; nothing else is touched. Its rows lie in docs/results/NAME.json, as
its benchmark wrote them; the benchmark's own functions make the table and the figure of them. Where weights were
replaced since, the page says so below the command. A new section: an entry in one of `benchmarks/reporting/*.py`, its
rows, and the two marks in a page.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from reporting import brains, clicks, costs, learning, stored
from reporting.page import rendered, rows_table, with_figures, with_section
from reporting.sections import BENCHMARKS, Section, measure

DOCS = BENCHMARKS.parent / "docs"
SECTIONS: dict[str, Section] = {**brains.SECTIONS, **learning.SECTIONS, **clicks.SECTIONS, **costs.SECTIONS}


def main(words: Sequence[str] | None = None) -> int:
    parser = arguments()
    args = parser.parse_intermixed_args(words)
    if unknown := set(args.sections) - set(SECTIONS):
        parser.error(f"there is no section {sorted(unknown)[0]}, but {', '.join(SECTIONS)}")
    if args.measure is not None and not args.measure.is_dir():
        parser.error(f"there is no folder {args.measure}")
    names = chosen(args)
    if args.list:
        print("\n".join(told(name, args.docs) for name in names) or "Nothing.")
        return 0
    failed = [name for name in names if not measured(name, args)] if args.measure is not None else []
    try:
        pages = anew(names, args)
    except ValueError as error:
        print(f"report: {error}", file=sys.stderr)
        return 2
    other = {path: text for path, text in pages.items() if path.read_text(encoding="utf-8") != text}
    if args.check:
        print("\n".join(f"{path}: says something else than docs/results/*.json" for path in other) or "up to date")
        return 1 if other else 0
    for path, text in other.items():
        path.write_text(text, encoding="utf-8")
    return 1 if failed else 0


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"{', '.join(SECTIONS)}; by default all")
    parser.add_argument(
        "--weights", metavar="NAME", help="only sections that hang on these weights: synthseg-fast, ..."
    )
    parser.add_argument("--stale", action="store_true", help="only sections that the shipped weights have left behind")
    parser.add_argument("--list", action="store_true", help="say what was measured when, with what, and what is stale")
    parser.add_argument("--measure", type=Path, metavar="SHARED", help="run the benchmarks on the data of this folder")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep a benchmark's runs here, and go on with them")
    parser.add_argument("--check", action="store_true", help="change nothing; say whether the page is up to date")
    parser.add_argument("--docs", type=Path, default=DOCS, help="folder of results.md, results/ and images/")
    return parser


def chosen(args: argparse.Namespace) -> list[str]:
    names = [name for name in SECTIONS if not args.sections or name in args.sections]
    if args.weights:
        names = [n for n in names if any(file.startswith(f"{args.weights}.") for file in SECTIONS[n].weights)]
    return [name for name in names if reasons(name, args.docs)] if args.stale else names


def reasons(name: str, docs: Path) -> list[str]:
    """Why a section is stale."""
    found = stored.read(docs, name)
    return stored.stale(SECTIONS[name], found["about"]) if found else ["never measured"]


def told(name: str, docs: Path) -> str:
    section, found = SECTIONS[name], stored.read(docs, name)
    about = found["about"] if found else {}
    state = "; ".join(reasons(name, docs))
    files = ", ".join(file.removesuffix(".safetensors") for file in section.weights) or "no weights"
    quiet = "; wants a quiet machine" if section.times else ""
    line = f"{name}: {about.get('date', '-')}, {files}, about {section.minutes:g} CPU-minutes{quiet}"
    return f"{line}\n    STALE: {state}" if state else line


def measured(name: str, args: argparse.Namespace) -> bool:
    """Measure a section and store its rows; says so where that cannot be."""
    section = SECTIONS[name]
    print(f"report: {name}, about {section.minutes:g} CPU-minutes", file=sys.stderr, flush=True)
    with ExitStack() as stack:
        out = Path(stack.enter_context(tempfile.TemporaryDirectory())) if args.keep is None else args.keep / name
        out.mkdir(parents=True, exist_ok=True)
        try:
            rows = measure(section, args.measure.resolve(), out.resolve())
        except subprocess.CalledProcessError as error:
            print(f"report: {name} was not measured: its benchmark ended with {error.returncode}.", file=sys.stderr)
            return False
        except (OSError, ValueError, KeyError) as error:
            print(f"report: {name} was not measured: {error!r}", file=sys.stderr)
            return False
    stored.write(args.docs, name, section, rows)
    return True


def anew(names: Sequence[str], args: argparse.Namespace) -> dict[Path, str]:
    """All pages with their sections, tables and figures anew; draws pictures unless only asked to check.

    Raises:
        ValueError: no page has the marks of a section, or a mark leads nowhere.
    """
    files = [path for path in (*sorted(args.docs.rglob("*.md")), args.docs.parent / "README.md") if path.is_file()]
    pages = {path: path.read_text(encoding="utf-8") for path in files}
    for name, section in SECTIONS.items():
        parts = (name, *section.beside)
        if section.table is None or not set(parts) & set(names):
            continue
        found = {part: stored.read(args.docs, part) for part in parts}
        if lacking := [part for part, one in found.items() if one is None]:
            path = stored.file_of(args.docs, lacking[0])
            print(f"report: {path} is not there yet: measure it with --measure SHARED.", file=sys.stderr)
            continue
        rows = [one["rows"] for one in found.values() if one is not None]
        replaced = {f: None for p in parts for f in stored.other_weights(SECTIONS[p], (found[p] or {})["about"])}
        text = rendered(name, section, rows[0], rows[1:], list(replaced))
        where = next((p for p, page in pages.items() if f"<!-- {name}: begin -->" in page), args.docs / "results.md")
        pages[where] = with_section(pages.get(where, ""), name, text)
        if section.figure is not None and not args.check:
            section.figure(rows[0], args.docs / "images" / section.picture)
    for path, page in pages.items():
        for name in re.findall(r"<!-- rows (\S+): begin -->", page):
            page = with_section(page, f"rows {name}", f"\n{rows_table(rows_of(args.docs, name))}\n\n")
        pages[path] = with_figures(page, lambda name: rows_of(args.docs, name))
    return pages


def rows_of(docs: Path, name: str) -> Any:
    """The rows of a section, or what stands in a JSON file beside the shipped weights; None if there is none yet."""
    beside = stored.WEIGHTS / f"{name}.json"
    if beside.is_file():
        return json.loads(beside.read_text(encoding="utf-8"))
    return (stored.read(docs, name) or {"rows": None})["rows"]


if __name__ == "__main__":
    sys.exit(main())
