"""Box plots of scores, as SynthSeg's Figure 4 and SynthSeg+'s Figure 3: methods side by side, and by structure.

For each box the central mark is the median, the edges are the quartiles, whiskers reach the last score within 1.5 times
their distance, and what lies beyond is a point.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_synthseg import anatomy
from napari_synthseg.errors import InputError
from napari_synthseg.evaluation.comparison import SCORES
from napari_synthseg.evaluation.reports import place_for

if TYPE_CHECKING:
    from matplotlib.axes import Axes

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
    """Draw what `comparison.compare_steps` found.

    Args:
        found: its result.
        path: the picture; the name's end says the format.

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
    with place_for(path) as part:
        figure.savefig(part, dpi=130)


def scores_of_scans(found: dict[str, Any], score: str) -> dict[str, list[float]]:
    """By method, the mean score of each scan that has one."""
    return {
        name: [scan["mean"][score] for scan in result["scans"] if scan["mean"][score] is not None]
        for name, result in found["methods"].items()
    }


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
    of_scans = scores_of_scans(found, score)
    boxes = axis.boxplot(list(of_scans.values()), patch_artist=True, widths=0.6)
    for number, box in enumerate(boxes["boxes"]):
        _paint(box, number)
    _blacken(boxes)
    axis.set_xticks(range(1, len(of_scans) + 1), list(of_scans), rotation=30 if len(of_scans) > 1 else 0, fontsize=8)
    axis.set_title(SCORES[score], fontsize=10)
    axis.grid(axis="y", alpha=0.3)


def _draw_structures(axis: Axes, groups: dict[str, dict[str, list[float]]], methods: list[str]) -> None:
    width = 0.8 / len(methods)
    for number, method in enumerate(methods):
        places = [i + (number - (len(methods) - 1) / 2) * width for i in range(len(groups))]
        boxes = axis.boxplot(
            [one.get(method, []) for one in groups.values()], positions=places, widths=0.85 * width, patch_artist=True,
            flierprops={"markersize": 3}, manage_ticks=False,
        )  # fmt: skip
        for box in boxes["boxes"]:
            _paint(box, number)
        _blacken(boxes)
        axis.plot([], [], "s", color=f"C{number}", label=method)
    axis.set_xticks(range(len(groups)), list(groups), rotation=45, ha="right", fontsize=8)
    axis.set_ylabel("Dice")
    axis.grid(axis="y", alpha=0.3)
    if len(methods) > 1:
        axis.legend(fontsize=8)


def _paint(box: Any, number: int) -> None:
    box.set(facecolor=f"C{number}", alpha=0.6)


def _blacken(boxes: dict[str, list[Any]]) -> None:
    for median in boxes["medians"]:
        median.set_color("black")
