"""What `comparison.compare_steps` found, for people: sentences, Markdown, a table with a row a scan and structure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from napari_synthseg.atomic_io import placed, write_lines
from napari_synthseg.errors import InputError
from napari_synthseg.evaluation.comparison import LEVEL, SCORES, shown_p
from napari_synthseg.evaluation.scans import left_out, table
from napari_synthseg.io import stem

DIGITS = {"dice": 3, "sd95_mm": 2, "msd_mm": 2, "absolute_difference_percent": 1}
TSV_HEADER = (
    "method", "scan", "index", "name", "scored", "dice", "sd95_mm", "msd_mm", "volume_mm3", "truth_volume_mm3",
    "difference_percent", "absolute_difference_percent",
)  # fmt: skip
MEAN = "mean of scored"
SHORT = {"dice": "Dice", "sd95_mm": "SD95"}


def as_text(found: dict[str, Any]) -> str:
    """For the terminal: the full table of a single method; of several their means and what the tests say."""
    if len(found["methods"]) == 1:
        return table(next(iter(found["methods"].values())))
    width = max(len(name) for name in found["methods"]) + 2
    lines = [f"{'method':<{width}}{'scans':>6}" + "".join(f"{name:>20}" for name in SCORES.values())]
    for name in found["methods"]:
        cells = "".join(f"{_mean_and_std(found, score, name):>20}" for score in SCORES)
        lines.append(f"{name:<{width}}{_scans(found, name):>6}{cells}")
    lines += ["", *_tests_text(found), "", *sentences(found)]
    for name, result in found["methods"].items():
        lines += [f"{name}: {line}" for line in left_out(result)]
    return "\n".join(lines)


def sentences(found: dict[str, Any]) -> list[str]:
    """What to know about the tests and the means, a sentence each."""
    said = []
    if found["tests"]:
        said.append(
            "Two-sided Wilcoxon signed-rank tests over the scans of both methods, without those in which they are "
            f"equal; significant below {100 * LEVEL:g} % after Bonferroni's correction for "
            f"{found['tests'][0]['comparisons']} comparison(s) of methods."
        )
        few = [test for test in found["tests"] if not test["possible"] and test["p"] is not None]
        if few:
            unequal = max(test["scans"] - test["equal"] for test in few)
            said.append(
                f"{unequal} or fewer unequal scans cannot show a difference here, however large it is: the least "
                f"corrected p is {shown_p(min(1.0, 2.0 ** (1 - unequal) * few[0]['comparisons']))}."
            )
    if len({_scans(found, name) for name in found["methods"]} | {found["common_scans"]}) > 1:
        said.append(
            "The methods have not the same scans: each mean is over its own, tests are over those of both "
            f"({found['common_scans']} scans have all)."
        )
    return said


def as_markdown(found: dict[str, Any]) -> str:
    """A report: means of each method, tests, structures, and what was left out."""
    parts = ["# Evaluation", f"Against {found['truth']}.", *summary_table(found)]
    if found["tests"]:
        parts += ["## Tests", _tests_table(found), *sentences(found)]
    parts += ["## Structures", structures_table(found)]
    if found["structure_tests"]:
        parts += ["Structures in which two methods differ:", _structures_that_differ(found)]
    lines = [f"- {name}: {line}" for name, result in found["methods"].items() for line in left_out(result)]
    if lines:
        parts += ["## Left out", "\n".join(lines)]
    return "\n\n".join(parts) + "\n"


def summary_table(found: dict[str, Any]) -> list[str]:
    """Markdown: mean and standard deviation over scans of each method; the best in bold, starred where significant."""
    lines = [f"| method | scans | {' | '.join(SCORES.values())} |", f"|---|---|{'---|' * len(SCORES)}"]
    for name in found["methods"]:
        cells = [_marked(found, score, name) for score in SCORES]
        lines.append(f"| {_cell(name)} | {_scans(found, name)} | {' | '.join(cells)} |")
    note = "Means over scans (standard deviation) of each scan's mean over its scored structures."
    if any(found["best"].values()):
        note += " Bold: the best; with a star: significantly better than every other method."
    return ["\n".join(lines), note]


def structures_table(found: dict[str, Any]) -> str:
    """Markdown: for every structure and method Dice, SD95 and volume difference; * marks what enters the means."""
    names = list(found["methods"])
    heads = [
        f"{_cell(n) + ', ' if len(names) > 1 else ''}{what}" for n in names for what in ("Dice", "SD95", "volume %")
    ]
    lines = [f"| structure | {' | '.join(heads)} |", f"|---|{'---|' * len(heads)}"]
    rows: dict[str, dict[str, Any]] = {}
    for result in found["methods"].values():
        rows |= {v: s for v, s in result["structures"].items() if s["dice"] is not None and v not in rows}
    for value in sorted(rows, key=int):
        cells = []
        for result in found["methods"].values():
            s = result["structures"].get(value, {})
            cells += [
                _number(s.get("dice"), 3),
                _number(s.get("sd95_mm"), 2),
                _number(s.get("difference_percent"), 1, "+"),
            ]
        lines.append(f"| {_cell(rows[value]['name'])}{' *' if rows[value]['scored'] else ''} | {' | '.join(cells)} |")
    return "\n".join(lines)


def rows_of_scans(found: dict[str, Any]) -> list[list[str]]:
    """Every figure, header first: a row a method, scan and structure, after the row of the scan's means."""
    rows: list[list[str]] = [list(TSV_HEADER)]
    for method, result in found["methods"].items():
        for scan in result["scans"]:
            first = [method, stem(scan["truth"])]
            mean = scan["mean"]
            figures = [_number(mean[key], 6) for key in ("dice", "sd95_mm", "msd_mm")]
            rows.append(
                [*first, "", MEAN, "yes", *figures, "", "", "", _number(mean["absolute_difference_percent"], 3)]
            )
            for value, s in scan["structures"].items():
                if s["dice"] is not None:
                    off = s["difference_percent"]
                    scores = [_number(s[key], 6) for key in ("dice", "sd95_mm", "msd_mm")]
                    volumes = [_number(s[key], 3) for key in ("volume_mm3", "truth_volume_mm3", "difference_percent")]
                    scored = "yes" if s["scored"] else "no"
                    size = _number(None if off is None else abs(off), 3)
                    rows.append([*first, value, s["name"], scored, *scores, *volumes, size])
    return rows


def write_rows(path: Path, rows: Sequence[Sequence[str]]) -> None:
    """Write a table with tabs, or with commas if its name ends in .csv; it appears complete or not at all.

    Raises:
        InputError: the file cannot be written.
    """
    try:
        write_lines(path, rows, "," if path.suffix.lower() == ".csv" else "\t")
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror or error}): choose another place.") from error


def write_text(path: Path, text: str) -> None:
    """Write a text file that appears complete or not at all, making its folder.

    Raises:
        InputError: the file cannot be written.
    """
    with place_for(path) as part:
        part.write_text(text, encoding="utf-8")


@contextmanager
def place_for(path: Path) -> Iterator[Path]:
    """A file to write beside its place, moved there at the end.

    Raises:
        InputError: the place cannot be written to.
    """
    try:
        with placed(path) as part:
            yield part
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror or error}); choose another place.") from error


def _tests_table(found: dict[str, Any]) -> str:
    lines = [
        "| score | methods | scans | equal | median difference | p | corrected p | |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for test in found["tests"]:
        digits = DIGITS[test["score"]] + 1
        cells = [
            SCORES[test["score"]], f"{_cell(test['first'])} - {_cell(test['second'])}", str(test["scans"]),
            str(test["equal"]), _number(test["median_difference"], digits, "+"), shown_p(test["p"]),
            shown_p(test["corrected_p"]), "significant" if test["significant"] else "",
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _tests_text(found: dict[str, Any]) -> list[str]:
    """The same for the terminal."""
    names = {(t["first"], t["second"]): f"{t['first']} - {t['second']}" for t in found["tests"]}
    width = max((len(name) for name in names.values()), default=0) + 2
    lines = [f"{'score':<20}{'methods':<{width}}{'scans':>6}{'equal':>6}{'median diff.':>14}{'p':>9}{'corrected':>11}"]
    for t in found["tests"]:
        median = _number(t["median_difference"], DIGITS[t["score"]] + 1, "+")
        p = f"{shown_p(t['p']):>9}{shown_p(t['corrected_p']):>11}{' *' if t['significant'] else ''}"
        what = f"{SCORES[t['score']]:<20}{names[t['first'], t['second']]:<{width}}"
        lines.append(f"{what}{t['scans']:>6}{t['equal']:>6}{median:>14}{p}")
    return lines if found["tests"] else []


def _structures_that_differ(found: dict[str, Any]) -> str:
    """A list of the significant tests of structures, or that there is none."""
    names = {v: s["name"] for result in found["methods"].values() for v, s in result["structures"].items()}
    lines = [
        f"- {names[test['structure']]}, {SHORT[test['score']]}: {_cell(test['first'])} - {_cell(test['second'])} "
        f"{_number(test['median_difference'], 4, '+')}, corrected p = {shown_p(test['corrected_p'])}"
        for test in found["structure_tests"]
        if test["significant"]
    ]
    counts = {test["comparisons"] for test in found["structure_tests"]}
    none = f"- none, in {len(found['structure_tests'])} tests (corrected for {max(counts)} comparisons a score)"
    return "\n".join(lines or [none])


def _marked(found: dict[str, Any], score: str, name: str) -> str:
    text, best = _mean_and_std(found, score, name), found["best"][score]
    if best is None or best["method"] != name:
        return text
    return f"**{text}**{' *' if best['significantly'] else ''}"


def _mean_and_std(found: dict[str, Any], score: str, name: str) -> str:
    one, digits = found["summary"][score][name], DIGITS[score]
    mean = _number(one["mean"], digits) or "-"
    return mean if one["std"] is None else f"{mean} ({one['std']:.{digits}f})"


def _scans(found: dict[str, Any], name: str) -> int:
    return len(found["methods"][name]["scans"])


def _number(figure: float | None, digits: int, sign: str = "") -> str:
    return "" if figure is None else f"{figure:{sign}.{digits}f}"


def _cell(text: str) -> str:
    """A text in a Markdown table."""
    return text.replace("|", "\\|")
