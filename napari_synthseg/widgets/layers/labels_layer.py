"""Label maps as napari layers: colors, features with structure and volume, rows of a table of them, visibility."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.colormaps import DirectLabelColormap

from napari_synthseg import anatomy
from napari_synthseg.inference.quality.rating import UNRATED, TrafficLight, light_of

if TYPE_CHECKING:
    import pandas as pd
    from napari.layers import Labels

    from napari_synthseg.io import LabelName

OPACITY = 0.5
INDEX, NAME, SIDE = "index", "name", "side"  # columns of the features; napari wants "index"
VOLUME, QUALITY = "volume (mL)", "quality"

NEIGHBORS = 16
"""Margin in voxels in which the nearest other label is looked for first."""
OTHER_COLOR = (0.75, 0.75, 0.75, 1.0)


def label_colormap(values: Iterable[int] = ()) -> DirectLabelColormap:
    """Return the colors of the structures and of other `values`; values painted later are gray, 0 is transparent."""
    rows = {s.value for s in anatomy.table()} | {int(value) for value in values}
    colors: dict[int | None, Any] = {value: (*(c / 255 for c in anatomy.color(value)), 1.0) for value in rows}
    colors[0] = (0.0, 0.0, 0.0, 0.0)
    colors[None] = OTHER_COLOR
    return DirectLabelColormap(color_dict=colors)


def label_features(
    values: Iterable[int], volumes_mm3: Mapping[int, float] | None = None, quality: Mapping[int, float] | None = None
) -> pd.DataFrame:
    """Return a row per value, background first: `index`, `name`, `side`, `volume (mL)`, and `quality` if given.

    Args:
        values: FreeSurfer values; 0 is added.
        volumes_mm3: by value; NaN if missing.
        quality: expected Dice, 0-1, by value; NaN if missing.
    """
    import pandas as pd  # here, since it is slow to import and a widget opens without it

    rows = sorted({0, *(int(value) for value in values)})
    volumes = volumes_mm3 or {}
    milliliters = [round(float(volumes[v]) / 1000, 3) if v and v in volumes else np.nan for v in rows]
    columns = {
        INDEX: rows,
        NAME: ["Background" if v == 0 else anatomy.name(v) for v in rows],
        SIDE: [anatomy.structure(v).side if v and anatomy.known(v) else "" for v in rows],
        VOLUME: milliliters,
    }
    if quality:
        columns[QUALITY] = [round(float(quality[v]), 3) if v and v in quality else np.nan for v in rows]
    return pd.DataFrame(columns)


def names_of(*layers: Any) -> dict[int, str]:
    """Return the names of labels in the features of layers, if they have any; earlier layers take precedence."""
    names: dict[int, str] = {}
    for features in (layer.features for layer in reversed(layers) if hasattr(layer, "features")):
        if {INDEX, NAME} <= set(features.columns):
            names |= zip(map(int, features[INDEX]), map(str, features[NAME]), strict=True)
    return names


def recounted(features: pd.DataFrame, counted_mm3: Mapping[int, float]) -> pd.DataFrame:
    """Return the features after labels were edited: volumes from `counted_volumes`, names and qualities as before."""
    old = features.set_index(INDEX)
    values = {*old.index, *counted_mm3} - {0}
    new = label_features(values, {value: counted_mm3.get(value, 0.0) for value in values})
    for column in {NAME, SIDE, QUALITY} & {*old.columns}:  # other organs than the brain have names of their own
        now = new[column] if column in new.columns else [NOT_KNOWN] * len(new)
        new[column] = [old[column].get(value, other) for value, other in zip(new[INDEX], now, strict=True)]
    return new


def table_columns(features: pd.DataFrame) -> dict[str, dict[int, str]]:
    """Return volumes and quality of a Labels layer as columns of the table beside a label file."""
    columns = {}
    for source, name, form, factor in ((VOLUME, "volume_mm3", ".1f", 1000), (QUALITY, "quality", ".3f", 1)):
        if source in features.columns and INDEX in features.columns:
            known = features[features[source].notna()]
            pairs = zip(known[INDEX], known[source], strict=True)
            columns[name] = {int(value): format(float(number) * factor, form) for value, number in pairs}
    return {name: column for name, column in columns.items() if column}


def labels_array(array: np.ndarray) -> np.ndarray:
    """Convert a label array to uint16, which napari draws quickly, or int32 if needed."""
    low, high = (int(array.min()), int(array.max())) if array.size else (0, 0)
    return np.ascontiguousarray(array, dtype=np.uint16 if low >= 0 and high < 2**16 else np.int32)


def counted_volumes(array: np.ndarray, voxel_mm3: float) -> dict[int, float]:
    from napari_synthseg.evaluation.metrics import count_labels  # slow to import

    return {value: count * voxel_mm3 for value, count in count_labels(array).items()}


def labels_kwargs(
    values: Iterable[int], volumes_mm3: Mapping[int, float] | None = None, quality: Mapping[int, float] | None = None
) -> dict[str, Any]:
    """Return keyword arguments of a Labels layer: colors and features, see `label_features`."""
    values = [int(value) for value in values]
    return {
        "colormap": label_colormap(values),
        "features": label_features(values, volumes_mm3, quality),
        "opacity": OPACITY,
    }


def renamed(kwargs: dict[str, Any], table: Mapping[int, LabelName]) -> dict[str, Any]:
    """Return the result of `labels_kwargs` with the names and colors of the table beside a label file."""
    features = kwargs["features"].copy()
    others = {v: t for v, t in table.items() if v in set(features["index"]) and v and t.name != anatomy.name(v)}
    for value, label in others.items():
        row = features["index"] == value
        features.loc[row, "name"] = label.name
        features.loc[row, "side"] = ""  # that of another structure
    colormap, colors = kwargs["colormap"], {v: t.color for v, t in table.items() if t.color and v}
    if any(color != anatomy.color(value) for value, color in colors.items()):
        own = {value: np.array([*(c / 255 for c in color), 1.0]) for value, color in colors.items()}
        colormap = DirectLabelColormap(color_dict={**colormap.color_dict, **own})
    return kwargs | {"features": features, "colormap": colormap}


def nearest_labels(labels: np.ndarray, indices: tuple[np.ndarray, ...], spacing: np.ndarray) -> np.ndarray:
    """Return the nearest other label, which may be background, of voxels with one label.

    Args:
        labels: any number of axes.
        indices: of the voxels, as from `np.nonzero`.
        spacing: along each axis.
    """
    from scipy.ndimage import distance_transform_edt

    value = labels[tuple(axis[0] for axis in indices)]
    reach = NEIGHBORS
    while True:
        box = tuple(slice(max(int(axis.min()) - reach, 0), int(axis.max()) + 1 + reach) for axis in indices)
        own = labels[box] == value
        if not own.all() or own.shape == labels.shape:
            break
        reach *= 2
    if own.all():
        return np.zeros(len(indices[0]), labels.dtype)
    nearest = distance_transform_edt(own, sampling=spacing, return_distances=False, return_indices=True)
    inside = tuple(axis - part.start for axis, part in zip(indices, box, strict=True))
    return labels[box][tuple(axis[inside] for axis in nearest)]


# Rows of structures

NOT_KNOWN = float("nan")


@dataclass(frozen=True)
class StructureRow:
    """A row of a table of structures: label, name, and side ("left", "right", "midline" or empty)."""

    value: int
    name: str
    side: str

    @property
    def values(self) -> tuple[int, ...]:
        return (self.value,)

    @property
    def short_name(self) -> str:
        return self.name.removeprefix("Left-").removeprefix("Right-") if self.side in ("left", "right") else self.name

    @property
    def searched(self) -> str:
        return f"{self.name} {self.side} {self.value}".lower()


@dataclass(frozen=True)
class VolumeRow(StructureRow):
    """A structure with its volume in mL and its quality (NaN if unknown), which is an expected Dice if calibrated."""

    milliliters: float
    quality: float = NOT_KNOWN
    calibrated: bool = False

    @property
    def rating(self) -> TrafficLight:
        return light_of(self.quality) if self.calibrated else UNRATED


@dataclass(frozen=True)
class PairRow:
    left: VolumeRow
    right: VolumeRow

    @property
    def values(self) -> tuple[int, ...]:
        return (self.left.value, self.right.value)

    @property
    def short_name(self) -> str:
        return self.left.short_name

    @property
    def searched(self) -> str:
        return f"{self.left.searched} {self.right.searched}"

    @property
    def asymmetry(self) -> float:
        """200 (L - R) / (L + R) in percent, NaN if unknown."""
        from napari_synthseg.evaluation.metrics import asymmetry_index  # slow to import, not needed to open

        index = asymmetry_index(self.left.milliliters, self.right.milliliters)
        return NOT_KNOWN if index is None else index


def rows_of(features: pd.DataFrame, calibrated: bool = False) -> list[VolumeRow]:
    """Return the rows of a Labels layer's features (see `labels_layer.label_features`) without the background."""
    if not {INDEX, NAME, SIDE, VOLUME} <= set(features.columns):
        return []
    quality = features[QUALITY] if QUALITY in features.columns else [NOT_KNOWN] * len(features)
    columns = zip(features[INDEX], features[NAME], features[SIDE], features[VOLUME], quality, strict=True)
    return [
        VolumeRow(int(v), str(n), str(s), float(ml), float(q), calibrated) for v, n, s, ml, q in columns if int(v) != 0
    ]


def pairs_of(rows: Sequence[VolumeRow]) -> list[PairRow]:
    from napari_synthseg.evaluation.metrics import side_pairs

    by_value = {row.value: row for row in rows if row.side}  # other labels may have such a value too
    return [PairRow(by_value[left], by_value[right]) for left, right in side_pairs(by_value)]


def volumes_table(rows: Sequence[VolumeRow], scan: str, intracranial_mm3: float | None = None) -> list[tuple[str, ...]]:
    """Return the table that is saved, as `segment --volumes` writes it: header and the scan's volumes in mm^3."""
    total = "" if intracranial_mm3 is None else f"{intracranial_mm3:.3f}"
    header = ("scan", "intracranial", *(row.name for row in rows))
    return [header, (scan, total, *(_text(row.milliliters * 1000) for row in rows))]


def _text(number: float) -> str:
    return "" if math.isnan(number) else f"{number:.3f}"


# Visibility of structures: a hidden one is transparent in its layer's colormap, nothing else: napari sees it too


def is_visible(layer: Labels, value: int) -> bool:
    return float(_color(layer, value)[3]) > 0


def visible_among(layer: Labels, values: Collection[int]) -> set[int]:
    return {value for value in values if is_visible(layer, value)}


def set_visible(layer: Labels, values: Collection[int], visible: bool) -> None:
    """Show or hide structures and leave all others as they are."""
    _change(layer, dict.fromkeys(values, visible))


def show_only(layer: Labels, values: Collection[int], among: Collection[int]) -> None:
    """Show a layer and some of its structures, and hide all others, also those `among` them that have a row."""
    layer.visible = True
    _change(layer, {value: value in values for value in {*among, *values}}, others=False)


def show_all(layer: Labels, among: Collection[int]) -> None:
    _change(layer, dict.fromkeys(among, True), others=True)


def rgb(layer: Labels, value: int) -> tuple[int, int, int]:
    """Return the color of a structure in the layer (0-255), also of a hidden one."""
    red, green, blue = (round(255 * float(part)) for part in _color(layer, value)[:3])
    return red, green, blue


def _change(layer: Labels, wanted: dict[int, bool], others: bool | None = None) -> None:
    colors = _colors(layer, wanted)
    if others is not None:  # the colormap holds structures that have no row, too
        wanted = {value: others for value in colors if value} | wanted
    for value, visible in wanted.items():
        color = np.array(_color(layer, value), dtype=float)
        color[3] = float(visible)
        colors[value] = color
    if others is not None:
        color = np.array(colors.get(None, OTHER_COLOR), dtype=float)
        color[3] = float(others)
        colors[None] = color
    layer.colormap = DirectLabelColormap(color_dict=colors)


def _colors(layer: Labels, values: Collection[int]) -> dict[int | None, Any]:
    """Return a copy of the colors of a layer; ours instead of napari's automatic ones, which cannot hide."""
    if isinstance(layer.colormap, DirectLabelColormap):
        return dict(layer.colormap.color_dict)
    return dict(label_colormap(values).color_dict)


def _color(layer: Labels, value: int) -> Any:
    if isinstance(layer.colormap, DirectLabelColormap):
        if value in layer.colormap.color_dict:
            return layer.colormap.color_dict[value]
        if layer.colormap.color_dict.get(None) is not None and value:
            return layer.colormap.color_dict[None]
    elif value:
        return layer.colormap.map(value)
    return (*(part / 255 for part in anatomy.color(value)), 1.0)
