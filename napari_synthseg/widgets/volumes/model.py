"""Rows of the table of volumes (structures, or pairs of sides) and the table that is saved. No Qt here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_synthseg.inference.quality.rating import UNRATED, TrafficLight, light_of
from napari_synthseg.widgets.layers.labels_layer import INDEX, NAME, QUALITY, SIDE, VOLUME

if TYPE_CHECKING:
    import pandas as pd

CSV_HEADER = ("index", "name", "side", "volume_mm3", "quality", "asymmetry_percent")
NOT_KNOWN = float("nan")


@dataclass(frozen=True)
class VolumeRow:
    """One structure: FreeSurfer value, name, side, volume in mL and quality (NaN where they are not known).

    Only a quality that is calibrated is an expected Dice, and has a light.
    """

    value: int
    name: str
    side: str
    milliliters: float
    quality: float = NOT_KNOWN
    calibrated: bool = False

    @property
    def values(self) -> tuple[int, ...]:
        """The labels the row stands for."""
        return (self.value,)

    @property
    def rating(self) -> TrafficLight:
        """The light of a calibrated quality."""
        return light_of(self.quality) if self.calibrated else UNRATED

    @property
    def short_name(self) -> str:
        """The name without the side it starts with."""
        return self.name.removeprefix("Left-").removeprefix("Right-") if self.side in ("left", "right") else self.name

    @property
    def searched(self) -> str:
        """What a filter looks in."""
        return f"{self.name} {self.side} {self.value}".lower()


@dataclass(frozen=True)
class PairRow:
    """A structure of two sides."""

    left: VolumeRow
    right: VolumeRow

    @property
    def values(self) -> tuple[int, ...]:
        """The labels the row stands for."""
        return (self.left.value, self.right.value)

    @property
    def short_name(self) -> str:
        """The name without a side."""
        return self.left.short_name

    @property
    def searched(self) -> str:
        """What a filter looks in."""
        return f"{self.left.searched} {self.right.searched}"

    @property
    def asymmetry(self) -> float:
        """200 (L - R) / (L + R) in percent, NaN where it is not known."""
        from napari_synthseg.evaluation.metrics import asymmetry_index  # here: slow to import, not needed to open

        index = asymmetry_index(self.left.milliliters, self.right.milliliters)
        return NOT_KNOWN if index is None else index


def rows_of(features: pd.DataFrame, calibrated: bool = False) -> list[VolumeRow]:
    """The rows of a Labels layer's features table (see `labels_layer.label_features`), background left out.

    Args:
        features: of the layer.
        calibrated: whether its qualities are.
    """
    if not {INDEX, NAME, SIDE, VOLUME} <= set(features.columns):
        return []
    quality = features[QUALITY] if QUALITY in features.columns else [NOT_KNOWN] * len(features)
    columns = zip(features[INDEX], features[NAME], features[SIDE], features[VOLUME], quality, strict=True)
    return [
        VolumeRow(int(v), str(n), str(s), float(ml), float(q), calibrated) for v, n, s, ml, q in columns if int(v) != 0
    ]


def pairs_of(rows: Sequence[VolumeRow]) -> list[PairRow]:
    """The structures of which both sides are among the rows."""
    from napari_synthseg.evaluation.metrics import side_pairs

    by_value = {row.value: row for row in rows if row.side}  # what has no side may have such a value all the same
    return [PairRow(by_value[left], by_value[right]) for left, right in side_pairs(by_value)]


def volumes_table(rows: Sequence[VolumeRow], intracranial_mm3: float | None = None) -> list[tuple[str, ...]]:
    """All that is known, header first: volumes in mm^3, the intracranial one before the structures."""
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
