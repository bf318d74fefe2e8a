"""What the table of scores lists, and how it is written down: a row a structure. No Qt."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_synthseg import anatomy
from napari_synthseg.widgets.layers.labels_layer import INDEX, NAME

if TYPE_CHECKING:
    from napari.layers import Labels

NOT_KNOWN = float("nan")
HEADER = (
    "index", "name", "side", "scored", "dice", "sd95_mm", "msd_mm", "volume_mm3", "truth_volume_mm3",
    "difference_percent",
)  # fmt: skip


@dataclass(frozen=True)
class ScoreRow:
    """One structure: FreeSurfer value, name, side, its scores (NaN where there are none), and volumes in mm^3."""

    value: int
    name: str
    side: str
    scored: bool
    dice: float
    sd95_mm: float
    msd_mm: float
    volume_mm3: float
    truth_volume_mm3: float
    difference_percent: float

    @property
    def values(self) -> tuple[int, ...]:
        """The labels the row stands for."""
        return (self.value,)

    @property
    def short_name(self) -> str:
        """The name without the side it starts with."""
        return self.name.removeprefix("Left-").removeprefix("Right-") if self.side in ("left", "right") else self.name

    @property
    def mark(self) -> str:
        """L or R before the name of what has sides."""
        return f"{self.side[0].upper()} " if self.side in ("left", "right") else ""

    @property
    def searched(self) -> str:
        """What a filter looks in."""
        return f"{self.name} {self.side} {self.value}".lower()

    @property
    def lack(self) -> str:
        """What is wrong with a structure that only one layer holds; empty for others."""
        if self.volume_mm3 == 0:
            return "only in the truth"
        return "only in the labels" if self.truth_volume_mm3 == 0 else ""


def rows_of(scores: Mapping[str, Any], names: Mapping[int, str] | None = None) -> list[ScoreRow]:
    """Rows of what `metrics.scores` says, in the order of the labels.

    Args:
        scores: its result.
        names: what labels are called that are not FreeSurfer's.
    """
    names = names or {}
    rows = []
    for text, s in scores["structures"].items():
        value = int(text)
        own = names.get(value, s["name"])
        side = anatomy.structure(value).side if anatomy.known(value) and own == s["name"] else ""
        figures = {key: _known(s[key]) for key in HEADER[4:]}
        rows.append(ScoreRow(value, own, side, s["scored"], **figures))
    return sorted(rows, key=lambda row: row.value)


def names_of(*layers: Labels) -> dict[int, str]:
    """What the features of layers call their labels; earlier layers go first."""
    names: dict[int, str] = {}
    for layer in layers:
        if INDEX in layer.features.columns and NAME in layer.features.columns:
            pairs = zip(layer.features[INDEX], layer.features[NAME], strict=True)
            names = {int(index): str(name) for index, name in pairs} | names
    return names


def summary(scores: Mapping[str, Any]) -> str:
    """The means, in a sentence or two."""
    mean = scores["mean"]
    parts = [f"Dice {_text(mean['dice'], 3)}"]
    if mean["sd95_mm"] is not None:
        parts += [f"SD95 {_text(mean['sd95_mm'], 2)} mm", f"mean distance {_text(mean['msd_mm'], 2)} mm"]
    if mean["absolute_difference_percent"] is not None:
        parts.append(f"volumes {_text(mean['absolute_difference_percent'], 1)} % off")
    text = f"Mean of {mean['structures']} scored: {', '.join(parts)}."
    for key, words in (("missing", "only in the truth"), ("extra", "only in the labels")):
        if mean[key]:
            text += f" {len(mean[key])} {words}: Dice 0."
    return text


def lines(rows: Sequence[ScoreRow], scores: Mapping[str, Any]) -> list[list[str]]:
    """All that is known, header first, the means before the structures."""
    mean = scores["mean"]
    means = [_text(mean[key], 6) for key in ("dice", "sd95_mm", "msd_mm")]
    first = ["", "mean of scored", "", "", *means, "", "", ""]
    found = [list(HEADER), first]
    for row in rows:
        figures = [_text(getattr(row, key), 6 if key in ("dice", "sd95_mm", "msd_mm") else 3) for key in HEADER[4:]]
        found.append([str(row.value), row.name, row.side, "yes" if row.scored else "no", *figures])
    return found


def write(path: Path, rows: Sequence[ScoreRow], scores: Mapping[str, Any]) -> None:
    """Write `lines` with tabs, or with commas where the name ends in .csv; complete or not at all.

    Raises:
        InputError: the file cannot be written.
    """
    from napari_synthseg.evaluation.reports import write_rows  # here: slow to import, not needed to open

    write_rows(path, lines(rows, scores))


def _known(figure: float | None) -> float:
    return NOT_KNOWN if figure is None else float(figure)


def _text(figure: float | None, digits: int) -> str:
    return "" if figure is None or math.isnan(figure) else f"{figure:.{digits}f}"
