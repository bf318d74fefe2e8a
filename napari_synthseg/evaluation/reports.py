"""The result of `comparison.compare_steps` for people: sentences, Markdown, a table by scan and structure, box plots.

Box plots are those of SynthSeg's Figure 4 and SynthSeg+'s Figure 3: the central mark is the median, the edges are the
quartiles, whiskers reach the last score within 1.5 times their distance, and what lies beyond is a point.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_synthseg import anatomy
from napari_synthseg.atomic_io import placed
from napari_synthseg.errors import InputError
from napari_synthseg.evaluation.comparison import LEVEL, SCORES, means_by_scan
from napari_synthseg.evaluation.scans import left_out, table
from napari_synthseg.io import stem

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DIGITS = {"dice": 3, "sd95_mm": 2, "msd_mm": 2, "absolute_difference_percent": 1}
TSV_HEADER = (
    "method", "scan", "index", "name", "scored", "dice", "sd95_mm", "msd_mm", "volume_mm3", "truth_volume_mm3",
    "difference_percent", "absolute_difference_percent",
)  # fmt: skip
Rows = Sequence[Sequence[str]]


def as_text(found: dict[str, Any]) -> str:
    """For the terminal: the full table of a single method; of several their means and what the tests say."""
    if len(found["methods"]) == 1:
        return table(next(iter(found["methods"].values())))
    lines = [*_aligned(_summary(found)), "", *_aligned(_tests(found)), "", *sentences(found)]
    return "\n".join(lines + _all_left_out(found))


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
    if len({len(one["scans"]) for one in found["methods"].values()} | {found["common_scans"]}) > 1:
        said.append(
            "The methods have not the same scans: each mean is over its own, tests are over those of both "
            f"({found['common_scans']} scans have all)."
        )
    return said


def as_markdown(found: dict[str, Any]) -> str:
    """A report: means of each method (the best in bold, starred if significant), tests, structures, what was left out.

    Structures have Dice, SD95 and volume difference of every method; * marks what enters the means.
    """
    note = "Means over scans (standard deviation) of each scan's mean over its scored structures."
    if any(found["best"].values()):
        note += " Bold: the best; with a star: significantly better than every other method."
    parts = ["# Evaluation", f"Against {found['truth']}.", _markdown(_summary(found, marked=True)), note]
    if found["tests"]:
        parts += ["## Tests", _markdown(_tests(found)), *sentences(found)]
    parts += ["## Structures", _markdown(_structures(found))]
    if found["structure_tests"]:
        parts += ["Structures in which two methods differ:", _structures_that_differ(found)]
    if lines := _all_left_out(found):
        parts += ["## Left out", "\n".join(f"- {line}" for line in lines)]
    return "\n\n".join(parts) + "\n"


def _all_left_out(found: dict[str, Any]) -> list[str]:
    return [f"{name}: {line}" for name, result in found["methods"].items() for line in left_out(result)]


def _summary(found: dict[str, Any], marked: bool = False) -> Rows:
    """Mean and standard deviation over scans of each method."""
    rows = [["method", "scans", *SCORES.values()]]
    for name, result in found["methods"].items():
        cells = []
        for score, digits in DIGITS.items():
            one, best = found["summary"][score][name], found["best"][score]
            text = _number(one["mean"], digits) or "-"
            text += "" if one["std"] is None else f" ({one['std']:.{digits}f})"
            if marked and best is not None and best["method"] == name:
                text = f"**{text}**{' *' if best['significantly'] else ''}"
            cells.append(text)
        rows.append([name, str(len(result["scans"])), *cells])
    return rows


def _tests(found: dict[str, Any]) -> Rows:
    rows = [["score", "methods", "scans", "equal", "median difference", "p", "corrected p", ""]]
    for test in found["tests"]:
        rows.append([
            SCORES[test["score"]], f"{test['first']} - {test['second']}", str(test["scans"]), str(test["equal"]),
            _number(test["median_difference"], DIGITS[test["score"]] + 1, "+"), shown_p(test["p"]),
            shown_p(test["corrected_p"]), "significant" if test["significant"] else "",
        ])  # fmt: skip
    return rows


def _structures(found: dict[str, Any]) -> Rows:
    several = len(found["methods"]) > 1
    heads = [f"{n}, {what}" if several else what for n in found["methods"] for what in ("Dice", "SD95", "volume %")]
    rows = [["structure", *heads]]
    named: dict[str, dict[str, Any]] = {}
    for result in found["methods"].values():
        named = {v: s for v, s in result["structures"].items() if s["dice"] is not None} | named
    for value in sorted(named, key=int):
        cells = [f"{named[value]['name']}{' *' if named[value]['scored'] else ''}"]
        for result in found["methods"].values():
            s = result["structures"].get(value, {})
            cells += [_number(s.get("dice"), 3), _number(s.get("sd95_mm"), 2)]
            cells.append(_number(s.get("difference_percent"), 1, "+"))
        rows.append(cells)
    return rows


def _structures_that_differ(found: dict[str, Any]) -> str:
    names = {v: s["name"] for result in found["methods"].values() for v, s in result["structures"].items()}
    lines = [
        f"- {names[test['structure']]}, {SCORES[test['score']].removesuffix(' (mm)')}: "
        f"{_cell(test['first'])} - {_cell(test['second'])} {_number(test['median_difference'], 4, '+')}, "
        f"corrected p = {shown_p(test['corrected_p'])}"
        for test in found["structure_tests"]
        if test["significant"]
    ]
    most = max(test["comparisons"] for test in found["structure_tests"])
    none = f"- none, in {len(found['structure_tests'])} tests (corrected for {most} comparisons a score)"
    return "\n".join(lines or [none])


def _aligned(rows: Rows) -> list[str]:
    """Align columns: those before the count of scans to the left, figures to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    texts = rows[0].index("scans")
    cells = [[f"{cell:{'<' if i < texts else '>'}{widths[i]}}" for i, cell in enumerate(row)] for row in rows]
    return ["  ".join(row).rstrip() for row in cells] if rows[1:] else []


def _markdown(rows: Rows) -> str:
    lines = [f"| {' | '.join(map(_cell, row))} |" for row in rows]
    return "\n".join([lines[0], f"|{'---|' * len(rows[0])}", *lines[1:]])


def rows_of_scans(found: dict[str, Any]) -> list[list[str]]:
    """Every figure, header first: a row a method, scan and structure, after the row of the scan's means."""
    rows: list[list[str]] = [list(TSV_HEADER)]
    for method, result in found["methods"].items():
        for scan in result["scans"]:
            means = {"name": "mean of scored", "scored": True, **scan["mean"]}
            for value, one in {"": means, **scan["structures"]}.items():
                if value and one["dice"] is None:
                    continue
                off = one.get("difference_percent")
                size = one["absolute_difference_percent"] if not value else None if off is None else abs(off)
                scores = [_number(one[key], 6) for key in ("dice", "sd95_mm", "msd_mm")]
                volumes = [_number(one.get(key), 3) for key in ("volume_mm3", "truth_volume_mm3", "difference_percent")]
                first = [method, stem(scan["truth"]), value, one["name"], "yes" if one["scored"] else "no"]
                rows.append([*first, *scores, *volumes, _number(size, 3)])
    return rows


def shown_p(p: float | None) -> str:
    """A p-value in a sentence: "0.031", "< 0.001"."""
    return "-" if p is None else "< 0.001" if p < 0.001 else f"{p:.2g}" if p < 0.1 else f"{p:.2f}"


def _number(figure: float | None, digits: int, sign: str = "") -> str:
    return "" if figure is None else f"{figure:{sign}.{digits}f}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


# --- box plots --------------------------------------------------------------------------------------------------------

ENDINGS = (".png", ".svg", ".pdf")
MOST_STRUCTURES = 40
"""Of labels that are no brain's there may be hundreds: the first ones are drawn."""


def check_ending(path: Path) -> None:
    """Refuse a picture of a kind that is not drawn.

    Raises:
        InputError: the name ends in none of `ENDINGS`.
    """
    if path.suffix.lower() not in ENDINGS:
        raise InputError(f"{path} cannot be drawn: its name must end with one of {', '.join(ENDINGS)}.")


def draw_boxes(found: dict[str, Any], path: Path) -> None:
    """Draw the result of `comparison.compare_steps` into a picture of the format that the name's end says.

    Raises:
        InputError: an unknown ending, nothing was scored, or the file cannot be written.
    """
    check_ending(path)
    if not any(result["scans"] for result in found["methods"].values()):
        raise InputError(f"{path} was not drawn: no scan was scored.")
    from matplotlib.figure import Figure

    groups = scores_of_structures(found, "dice")
    width = max(9.0, 0.34 * len(groups) * max(1, len(found["methods"]) * 0.6))
    figure = Figure(figsize=(width, 7.5), layout="constrained")
    halves = figure.subfigures(2, 1, squeeze=False)
    top, bottom = halves[0, 0], halves[1, 0]
    for axis, score in zip(top.subplots(1, len(SCORES)), SCORES, strict=True):
        _draw_methods(axis, found, score)
    _draw_structures(bottom.subplots(), groups, list(found["methods"]))
    with placed(path) as part:
        figure.savefig(part, dpi=130)


def scores_of_structures(found: dict[str, Any], score: str) -> dict[str, dict[str, list[float]]]:
    """By structure that enters the means (both sides of it together) and method, the score of each scan and side."""
    groups: dict[str, dict[str, list[float]]] = {}
    for method, result in found["methods"].items():
        for scan in result["scans"]:
            for value, s in scan["structures"].items():
                if s["scored"] and s[score] is not None:
                    sided = anatomy.known(int(value)) and anatomy.structure(int(value)).side in ("left", "right")
                    name = s["name"].removeprefix("Left-").removeprefix("Right-") if sided else s["name"]
                    groups.setdefault(name, {}).setdefault(method, []).append(s[score])
    return dict(list(groups.items())[:MOST_STRUCTURES])


def _draw_methods(axis: Axes, found: dict[str, Any], score: str) -> None:
    of_scans = {name: list(means_by_scan(result, score).values()) for name, result in found["methods"].items()}
    for number, scores in enumerate(of_scans.values()):
        _draw_box(axis, [scores], [number + 1], 0.6, number)
    axis.set_xticks(range(1, len(of_scans) + 1), list(of_scans), rotation=30 if len(of_scans) > 1 else 0, fontsize=8)
    axis.set_title(SCORES[score], fontsize=10)
    axis.grid(axis="y", alpha=0.3)


def _draw_structures(axis: Axes, groups: dict[str, dict[str, list[float]]], methods: list[str]) -> None:
    width = 0.8 / len(methods)
    for number, method in enumerate(methods):
        places = [i + (number - (len(methods) - 1) / 2) * width for i in range(len(groups))]
        _draw_box(axis, [one.get(method, []) for one in groups.values()], places, 0.85 * width, number)
        axis.plot([], [], "s", color=f"C{number}", label=method)
    axis.set_xticks(range(len(groups)), list(groups), rotation=45, ha="right", fontsize=8)
    axis.set_ylabel("Dice")
    axis.grid(axis="y", alpha=0.3)
    if len(methods) > 1:
        axis.legend(fontsize=8)


def _draw_box(axis: Axes, scores: list[list[float]], places: Sequence[float], width: float, number: int) -> None:
    boxes = axis.boxplot(scores, positions=places, widths=width, patch_artist=True, flierprops={"markersize": 3},
                         manage_ticks=False, medianprops={"color": "black"})  # fmt: skip
    for box in boxes["boxes"]:
        box.set(facecolor=f"C{number}", alpha=0.6)
