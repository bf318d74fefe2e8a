"""Two label layers compared in a thread, and the rows of the table of scores. No Qt here."""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_synthseg import anatomy
from napari_synthseg.errors import InputError
from napari_synthseg.jobs import Progress
from napari_synthseg.widgets.layers.geometry import LayerScan
from napari_synthseg.widgets.layers.labels_layer import INDEX, NAME

if TYPE_CHECKING:
    from napari.layers import Labels

    from napari_synthseg.volume import Volume

MOST_LABELS = 2000
NOT_KNOWN = float("nan")
HEADER = (
    "index", "name", "side", "scored", "dice", "sd95_mm", "msd_mm", "volume_mm3", "truth_volume_mm3",
    "difference_percent",
)  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """What came of comparing two layers.

    Attributes:
        scores: what `metrics.scores` says.
        errors: (S, A, R) uint8 on the voxels of the true layer, see `differences.ERRORS`.
        found: (N,) what the segmentation says in the voxels that are wrong, in the order of `errors`.
        true: (N,) what the truth says there.
        worst: by value, the index in the true layer's array to look at across each of its three axes.
        resampled: whether the segmentation had to be put on the grid of the truth.
        notes: sentences on values that were mapped.
    """

    scores: dict[str, Any]
    errors: np.ndarray
    found: np.ndarray
    true: np.ndarray
    worst: dict[int, tuple[tuple[int, int, int], ...]]
    resampled: bool
    notes: tuple[str, ...] = ()


def compare_layers(pred: LayerScan, truth: LayerScan) -> Generator[Progress, None, Outcome]:
    """Compare two label layers on the voxels of the true one.

    Args:
        pred: the segmentation, taken of its layer on the main thread.
        truth: likewise.

    Raises:
        InputError: there is nothing to compare: no labels, too many of them, or no place that both cover.
    """
    yield Progress("Reading the layers")
    from napari_synthseg.evaluation.locations import error_map, worst_voxels
    from napari_synthseg.evaluation.metrics import count_labels, in_table, scores_steps

    true = truth.read()
    found, resampled = yield from _on_grid_of(true, pred)
    a, b = found.data.astype(np.int32), true.data.astype(np.int32)
    both = set(count_labels(a)) & set(count_labels(b))  # two parcellations are compared part by part
    (a, b), notes = in_table(a, b, (f'"{pred.name}"', f'"{truth.name}"'), keep=both)
    values = _values(a, b, pred.name, truth.name)
    evaluated = set(anatomy.evaluated_values()) & set(values)
    scores = yield from scores_steps(a, b, true.spacing, values, evaluated or set(values))
    worst = yield from worst_voxels(a, b, values)
    in_layer = {value: tuple(v[::-1] for v in reversed(voxels)) for value, voxels in worst.items()}
    errors = np.ascontiguousarray(error_map(a, b).transpose(2, 1, 0))
    wrong = errors > 0
    in_errors = a.transpose(2, 1, 0)[wrong], b.transpose(2, 1, 0)[wrong]
    return Outcome(scores, errors, *in_errors, in_layer, resampled, tuple(notes))


def errors_of_structure(outcome: Outcome, value: int) -> np.ndarray:
    """(S, A, R) errors of one structure: where it was missed, or added, whatever the other layer has there."""
    from napari_synthseg.evaluation.locations import ADDED, MISSED

    errors = np.zeros_like(outcome.errors)
    kinds = np.where(outcome.true == value, MISSED, np.where(outcome.found == value, ADDED, 0))
    errors[outcome.errors > 0] = kinds
    return errors


def _on_grid_of(true: Volume, pred: LayerScan) -> Generator[Progress, None, tuple[Volume, bool]]:
    """The segmentation on the voxels of the truth, and whether it lay on others."""
    from napari_synthseg.volume import resample_labels_to, same_grid, to_canonical

    volume = pred.read()
    if volume.shape == true.shape and same_grid(volume, true, tolerance=0.05):
        return volume, False
    same = same_grid(to_canonical(volume), to_canonical(true), tolerance=0.05)
    if not same:
        yield Progress("Putting both on one grid")
    moved = resample_labels_to(volume, true.shape, true.affine)
    if not moved.data.any() and volume.data.any():
        raise InputError(
            f'The labels of "{pred.name}" lie nowhere in the field of view of the truth: check that both layers are of '
            "the same scan, with its scale and position."
        )
    return moved, not same


def _values(a: np.ndarray, b: np.ndarray, *names: str) -> list[int]:
    from napari_synthseg.evaluation.metrics import count_labels

    values = sorted({*count_labels(a), *count_labels(b)} - {0})
    if not values:
        raise InputError(f'Neither "{names[0]}" nor "{names[1]}" holds a label: choose layers with labels.')
    if len(values) > MOST_LABELS:
        raise InputError(
            f'"{names[0]}" and "{names[1]}" hold {len(values)} labels, more than {MOST_LABELS}: choose segmentations '
            "of structures, not of single objects."
        )
    return values


# Rows


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


def score_lines(rows: Sequence[ScoreRow], scores: Mapping[str, Any]) -> list[list[str]]:
    """All that is known, header first, the means before the structures."""
    mean = scores["mean"]
    means = [_text(mean[key], 6) for key in ("dice", "sd95_mm", "msd_mm")]
    first = ["", "mean of scored", "", "", *means, "", "", ""]
    found = [list(HEADER), first]
    for row in rows:
        figures = [_text(getattr(row, key), 6 if key in ("dice", "sd95_mm", "msd_mm") else 3) for key in HEADER[4:]]
        found.append([str(row.value), row.name, row.side, "yes" if row.scored else "no", *figures])
    return found


def _known(figure: float | None) -> float:
    return NOT_KNOWN if figure is None else float(figure)


def _text(figure: float | None, digits: int) -> str:
    return "" if figure is None or math.isnan(figure) else f"{figure:.{digits}f}"
