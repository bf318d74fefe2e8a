"""Qt-free model of the table of volumes: its rows, the table that is saved, and the visibility of structures.

A hidden structure is transparent in its layer's colormap, nothing else: every widget (and napari) sees it, and no voxel
is touched.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.colormaps import DirectLabelColormap

from napari_synthseg import anatomy
from napari_synthseg.inference.quality.rating import UNRATED, TrafficLight, light_of
from napari_synthseg.widgets.layers.labels_layer import INDEX, NAME, OTHER_COLOR, QUALITY, SIDE, VOLUME, label_colormap

if TYPE_CHECKING:
    import pandas as pd
    from napari.layers import Labels

CSV_HEADER = ("index", "name", "side", "volume_mm3", "quality", "asymmetry_percent")
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
        """The name without its side."""
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
        """The light of a calibrated quality."""
        return light_of(self.quality) if self.calibrated else UNRATED


@dataclass(frozen=True)
class PairRow:
    """A structure of two sides."""

    left: VolumeRow
    right: VolumeRow

    @property
    def values(self) -> tuple[int, ...]:
        return (self.left.value, self.right.value)

    @property
    def short_name(self) -> str:
        """The name without a side."""
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


def names_of(*layers: Any) -> dict[int, str]:
    """Return the names of labels in the features of layers, if they have any; earlier layers take precedence."""
    names: dict[int, str] = {}
    for features in (layer.features for layer in reversed(layers) if hasattr(layer, "features")):
        if {INDEX, NAME} <= set(features.columns):
            names |= zip(map(int, features[INDEX]), map(str, features[NAME]), strict=True)
    return names


def pairs_of(rows: Sequence[VolumeRow]) -> list[PairRow]:
    """Return the structures with both sides among the rows."""
    from napari_synthseg.evaluation.metrics import side_pairs

    by_value = {row.value: row for row in rows if row.side}  # other labels may have such a value too
    return [PairRow(by_value[left], by_value[right]) for left, right in side_pairs(by_value)]


def volumes_table(rows: Sequence[VolumeRow], intracranial_mm3: float | None = None) -> list[tuple[str, ...]]:
    """Return the table that is saved: header, intracranial volume, structures; volumes in mm^3."""
    asymmetry = {value: pair.asymmetry for pair in pairs_of(rows) for value in pair.values}
    lines: list[tuple[str, ...]] = [CSV_HEADER]
    if intracranial_mm3 is not None:
        lines.append(("", "Intracranial", "", f"{intracranial_mm3:.3f}", "", ""))
    for row in rows:
        volume, index = row.milliliters * 1000, asymmetry.get(row.value, NOT_KNOWN)
        lines.append((str(row.value), row.name, row.side, _text(volume), _text(row.quality), _text(index)))
    return lines


def _text(number: float) -> str:
    return "" if math.isnan(number) else f"{number:.3f}"


# Visibility of structures


def is_visible(layer: Labels, value: int) -> bool:
    return float(_color(layer, value)[3]) > 0


def visible_among(layer: Labels, values: Collection[int]) -> set[int]:
    return {value for value in values if is_visible(layer, value)}


def set_visible(layer: Labels, values: Collection[int], visible: bool) -> None:
    """Show or hide structures and leave all others as they are."""
    _change(layer, dict.fromkeys(values, visible))


def show_only(layer: Labels, values: Collection[int], among: Collection[int]) -> None:
    """Show a layer and some of its structures, and hide all others.

    Args:
        layer: a Labels layer.
        values: the structures that are shown.
        among: all structures with a row; others are hidden too.
    """
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
