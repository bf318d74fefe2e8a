"""The result of `comparison.compare_steps` for people: sentences, Markdown, a table by scan and structure, box plots.

Box plots are those of SynthSeg's Figure 4 and SynthSeg+'s Figure 3: the central mark is the median, the edges are the
quartiles, whiskers reach the last score within 1.5 times their distance, and what lies beyond is a point.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_synthseg import anatomy
from napari_synthseg.atomic_io import placed
from napari_synthseg.errors import InputError
from napari_synthseg.evaluation.comparison import LEVEL, SCORES, means_by_scan, shown_p
from napari_synthseg.evaluation.scans import left_out, table
from napari_synthseg.io import stem

if TYPE_CHECKING:
    from matplotlib.axes import Axes

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
    return text.replace("|", "\\|")


# --- box plots --------------------------------------------------------------------------------------------------------

ENDINGS = (".png", ".svg", ".pdf")
MEDIANS = {"color": "black"}
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
                    groups.setdefault(_without_side(int(value), s["name"]), {}).setdefault(method, []).append(s[score])
    return dict(list(groups.items())[:MOST_STRUCTURES])


def _without_side(value: int, name: str) -> str:
    sided = anatomy.known(value) and anatomy.structure(value).side in ("left", "right")
    return name.removeprefix("Left-").removeprefix("Right-") if sided else name


def _draw_methods(axis: Axes, found: dict[str, Any], score: str) -> None:
    of_scans = {name: list(means_by_scan(result, score).values()) for name, result in found["methods"].items()}
    boxes = axis.boxplot(list(of_scans.values()), patch_artist=True, widths=0.6, medianprops=MEDIANS)
    for number, box in enumerate(boxes["boxes"]):
        box.set(facecolor=f"C{number}", alpha=0.6)
    axis.set_xticks(range(1, len(of_scans) + 1), list(of_scans), rotation=30 if len(of_scans) > 1 else 0, fontsize=8)
    axis.set_title(SCORES[score], fontsize=10)
    axis.grid(axis="y", alpha=0.3)


def _draw_structures(axis: Axes, groups: dict[str, dict[str, list[float]]], methods: list[str]) -> None:
    width = 0.8 / len(methods)
    for number, method in enumerate(methods):
        places = [i + (number - (len(methods) - 1) / 2) * width for i in range(len(groups))]
        boxes = axis.boxplot(
            [one.get(method, []) for one in groups.values()], positions=places, widths=0.85 * width, patch_artist=True,
            flierprops={"markersize": 3}, manage_ticks=False, medianprops=MEDIANS,
        )  # fmt: skip
        for box in boxes["boxes"]:
            box.set(facecolor=f"C{number}", alpha=0.6)
        axis.plot([], [], "s", color=f"C{number}", label=method)
    axis.set_xticks(range(len(groups)), list(groups), rotation=45, ha="right", fontsize=8)
    axis.set_ylabel("Dice")
    axis.grid(axis="y", alpha=0.3)
    if len(methods) > 1:
        axis.legend(fontsize=8)
