"""Qt-free model of *Evaluate*: the comparison of two label layers, rows of scores, and the layer of errors."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels
from napari.utils.colormaps import DirectLabelColormap

from napari_synthseg import anatomy
from napari_synthseg.errors import InputError
from napari_synthseg.jobs import Progress
from napari_synthseg.widgets.layers.geometry import METADATA_KEY, LayerScan, kept_with
from napari_synthseg.widgets.layers.labels_layer import INDEX, NAME, OTHER_COLOR, VOLUME, StructureRow

if TYPE_CHECKING:
    from napari.layers import Layer

    from napari_synthseg.volume import Volume

MOST_LABELS = 2000
NOT_KNOWN = float("nan")
HEADER = (
    "index", "name", "side", "scored", "dice", "sd95_mm", "msd_mm", "volume_mm3", "truth_volume_mm3",
    "difference_percent",
)  # fmt: skip


@dataclass(frozen=True)
class LayerComparison:
    """A comparison of two layers.

    Attributes:
        scores: the result of `metrics.scores`.
        errors: (S, A, R) uint8 on the voxels of the true layer, see `locations.ERRORS`.
        worst: by label, the index in the true layer's array with the largest error, for each of its three axes.
        resampled: whether the segmentation was resampled to the grid of the truth.
        notes: sentences on labels that were mapped, and on structures that one layer lacks.
    """

    scores: dict[str, Any]
    errors: np.ndarray
    worst: dict[int, tuple[tuple[int, int, int], ...]]
    resampled: bool
    notes: tuple[str, ...] = ()


def compare_layers(pred: LayerScan, truth: LayerScan) -> Generator[Progress, None, LayerComparison]:
    """Compare two label layers on the voxels of the true one.

    Raises:
        InputError: there is nothing to compare: no labels, too many of them, or no place that both cover.
    """
    yield Progress("Reading the layers")
    from napari_synthseg.evaluation.locations import error_map, worst_voxels
    from napari_synthseg.evaluation.metrics import count_labels, in_table, lacking, scores_steps

    true = truth.read()
    found, resampled = yield from _on_grid_of(true, pred)
    a, b = found.data.astype(np.int32), true.data.astype(np.int32)
    both = set(count_labels(a)) & set(count_labels(b))  # two parcellations are compared part by part
    names = f'"{pred.name}"', f'"{truth.name}"'
    (a, b), notes = in_table(a, b, names, keep=both)
    values = _values(a, b, pred.name, truth.name)
    evaluated = set(anatomy.evaluated_values()) & set(values)
    scores = yield from scores_steps(a, b, true.spacing, values, evaluated or set(values))
    notes += lacking([scores["structures"]], names)
    worst = yield from worst_voxels(a, b, values)
    in_layer = {value: tuple(v[::-1] for v in reversed(voxels)) for value, voxels in worst.items()}
    errors = np.ascontiguousarray(error_map(a, b).transpose(2, 1, 0))
    return LayerComparison(scores, errors, in_layer, resampled, tuple(notes))


def _on_grid_of(true: Volume, pred: LayerScan) -> Generator[Progress, None, tuple[Volume, bool]]:
    """Return the segmentation on the voxels of the truth, and whether it was resampled."""
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
class ScoreRow(StructureRow):
    """A structure with its scores (NaN if unknown) and volumes."""

    scored: bool
    dice: float
    sd95_mm: float
    msd_mm: float
    volume_mm3: float
    truth_volume_mm3: float
    difference_percent: float

    @property
    def mark(self) -> str:
        return f"{self.side[0].upper()} " if self.side in ("left", "right") else ""

    @property
    def lack(self) -> str:
        """Which layer alone holds the structure; empty if both do."""
        if self.volume_mm3 == 0:
            return "only in the truth"
        return "only in the labels" if self.truth_volume_mm3 == 0 else ""


def rows_of(scores: Mapping[str, Any], names: Mapping[int, str] | None = None) -> list[ScoreRow]:
    """Return rows of the result of `metrics.scores`, in the order of the labels; `names` go before FreeSurfer's."""
    names = names or {}
    rows = []
    for text, s in scores["structures"].items():
        value = int(text)
        own = names.get(value, s["name"])
        side = anatomy.structure(value).side if anatomy.known(value) and own == s["name"] else ""
        figures = {key: NOT_KNOWN if s[key] is None else float(s[key]) for key in HEADER[4:]}
        rows.append(ScoreRow(value, own, side, s["scored"], **figures))
    return sorted(rows, key=lambda row: row.value)


def summary(scores: Mapping[str, Any]) -> str:
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
    mean = scores["mean"]
    means = [_text(mean[key], 6) for key in ("dice", "sd95_mm", "msd_mm")]
    first = ["", "mean of scored", "", "", *means, "", "", ""]
    found = [list(HEADER), first]
    for row in rows:
        figures = [_text(getattr(row, key), 6 if key in ("dice", "sd95_mm", "msd_mm") else 3) for key in HEADER[4:]]
        found.append([str(row.value), row.name, row.side, "yes" if row.scored else "no", *figures])
    return found


def _text(figure: float | None, digits: int) -> str:
    return "" if figure is None or math.isnan(figure) else f"{figure:.{digits}f}"


# Layers of errors

MARK = "errors of"
COLORS = {1: (0.34, 0.71, 0.91, 1.0), 2: (0.90, 0.62, 0.0, 1.0), 3: (0.80, 0.47, 0.65, 1.0)}
"""Missed, added, other label: sky blue, orange and purple, which the color-blind tell apart (Okabe and Ito)."""
OPACITY = 0.85


def error_layer(errors: np.ndarray, pred: Layer, truth: Layer, geometry: dict[str, Any], voxel_mm3: float) -> Labels:
    """Return a Labels layer of a map of errors (S, A, R), see `locations.ERRORS`, with names, volumes and colors."""
    kept = geometry["metadata"].get(METADATA_KEY, {}) | {MARK: _pair_of(pred, truth)}
    metadata = {**geometry["metadata"], METADATA_KEY: kept}
    colors = DirectLabelColormap(color_dict={0: (0.0, 0.0, 0.0, 0.0), **COLORS, None: OTHER_COLOR})
    looks = {"colormap": colors, "features": _features(errors, voxel_mm3), "opacity": OPACITY}
    return Labels(errors, name=f"{pred.name} errors", **{**geometry, "metadata": metadata}, **looks)


def is_errors(layer: Layer) -> bool:
    return MARK in kept_with(layer)


def errors_of(layers: Iterable[Layer], pred: Layer, truth: Layer) -> Labels | None:
    for layer in layers:
        if isinstance(layer, Labels) and kept_with(layer).get(MARK) == _pair_of(pred, truth):
            return layer
    return None


def _pair_of(pred: Layer, truth: Layer) -> tuple[str, str]:
    return str(pred.unique_id), str(truth.unique_id)


def _features(errors: np.ndarray, voxel_mm3: float):
    import pandas as pd  # slow to import, and a widget opens without it

    from napari_synthseg.evaluation.locations import ERRORS

    counts = np.bincount(errors.ravel(), minlength=max(ERRORS) + 1)
    millilitres = [round(float(counts[value]) * voxel_mm3 / 1000, 3) for value in ERRORS]
    return pd.DataFrame({INDEX: [0, *ERRORS], NAME: ["agrees", *ERRORS.values()], VOLUME: [np.nan, *millilitres]})
