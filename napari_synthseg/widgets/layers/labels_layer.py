"""Label maps as napari layers: our colors, and a features table so that hovering shows structure and volume."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.colormaps import DirectLabelColormap

from napari_synthseg import anatomy

if TYPE_CHECKING:
    import pandas as pd

    from napari_synthseg.io import LabelName

OPACITY = 0.5
INDEX, NAME, SIDE = "index", "name", "side"  # columns of the features; napari wants "index"
VOLUME, QUALITY = "volume (mL)", "quality"

NEIGHBORS = 16
"""Voxels around those that are given up in which their neighbor is looked for first."""
OTHER_COLOR = (0.75, 0.75, 0.75, 1.0)


def label_colormap(values: Iterable[int] = ()) -> DirectLabelColormap:
    """The table's colors, and steady ones for other `values`; background transparent.

    A value painted later that is in neither is grey: nothing that is there is hidden.
    """
    rows = {s.value for s in anatomy.table()} | {int(value) for value in values}
    colors: dict[int | None, Any] = {value: (*(c / 255 for c in anatomy.color(value)), 1.0) for value in rows}
    colors[0] = (0.0, 0.0, 0.0, 0.0)
    colors[None] = OTHER_COLOR
    return DirectLabelColormap(color_dict=colors)


def label_features(
    values: Iterable[int],
    volumes_mm3: Mapping[int, float] | None = None,
    quality: Mapping[int, float] | None = None,
) -> pd.DataFrame:
    """One row for each value, background first: `index`, `name`, `side`, `volume (mL)`, and `quality` if it is known.

    Args:
        values: FreeSurfer values; 0 is added where missing.
        volumes_mm3: volume of each value in mm^3; where it has none the volume is left empty (NaN).
        quality: expected Dice of each value, 0-1; likewise.
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


def recounted(features: pd.DataFrame, counted_mm3: Mapping[int, float], edited: Iterable[int] | None) -> pd.DataFrame:
    """The features after labels were edited: what was edited is counted by voxels, what was not stays as measured.

    Args:
        features: as they were.
        counted_mm3: volume of every value that occurs now, from `counted_volumes`.
        edited: the values that were painted or painted over; all if None.
    """
    old = features.set_index(INDEX)
    touched = {*old.index, *counted_mm3} if edited is None else {int(value) for value in edited}
    kept = [value for value in old.index if value not in touched]
    volumes = {value: old[VOLUME][value] * 1000 for value in kept} | {v: counted_mm3.get(v, 0.0) for v in touched}
    quality = {value: old[QUALITY][value] for value in kept} if QUALITY in old.columns else {}
    new = label_features({*old.index, *touched} - {0}, volumes, quality)
    for column in (NAME, SIDE):  # a result of another organ than the brain has its own
        if column in old.columns:
            new[column] = [old[column].get(value, now) for value, now in zip(new[INDEX], new[column], strict=True)]
    return new


def table_columns(features: pd.DataFrame) -> dict[str, dict[int, str]]:
    """What a Labels layer knows of its structures, as columns for the table beside a label file."""
    columns = {}
    for source, name, form, factor in ((VOLUME, "volume_mm3", ".1f", 1000), (QUALITY, "quality", ".3f", 1)):
        if source in features.columns and INDEX in features.columns:
            known = features[features[source].notna()]
            pairs = zip(known[INDEX], known[source], strict=True)
            columns[name] = {int(value): format(float(number) * factor, form) for value, number in pairs}
    return {name: column for name, column in columns.items() if column}


def labels_array(array: np.ndarray) -> np.ndarray:
    """A label array as uint16, which napari draws quickly and which leaves room for new labels; int32 where it must."""
    low, high = (int(array.min()), int(array.max())) if array.size else (0, 0)
    return np.ascontiguousarray(array, dtype=np.uint16 if low >= 0 and high < 2**16 else np.int32)


def counted_volumes(array: np.ndarray, voxel_mm3: float) -> dict[int, float]:
    """Volume of each value in mm^3: its number of voxels times `voxel_mm3`."""
    values, counts = np.unique(array, return_counts=True)
    return {int(value): float(count) * voxel_mm3 for value, count in zip(values, counts, strict=True)}


def labels_kwargs(
    values: Iterable[int],
    volumes_mm3: Mapping[int, float] | None = None,
    quality: Mapping[int, float] | None = None,
) -> dict[str, Any]:
    """Keyword arguments that give a Labels layer our colors, names, volumes and qualities; see `label_features`."""
    values = [int(value) for value in values]
    return {
        "colormap": label_colormap(values),
        "features": label_features(values, volumes_mm3, quality),
        "opacity": OPACITY,
    }


def renamed(kwargs: dict[str, Any], table: Mapping[int, LabelName]) -> dict[str, Any]:
    """The keyword arguments of a Labels layer with the names and colours of a table where they are not ours.

    Args:
        kwargs: from `labels_kwargs`.
        table: from the table beside the label file.
    """
    features = kwargs["features"].copy()
    others = {v: t for v, t in table.items() if v in set(features["index"]) and v and t.name != anatomy.name(v)}
    for value, label in others.items():
        row = features["index"] == value
        features.loc[row, "name"] = label.name
        features.loc[row, "side"] = ""  # ours is of another structure
    colors = {value: label.color for value, label in table.items() if label.color and value}
    return kwargs | {"features": features, "colormap": _recolored(kwargs["colormap"], colors)}


def _recolored(colormap: DirectLabelColormap, colors: Mapping[int, tuple[int, int, int]]) -> DirectLabelColormap:
    if all(colors[value] == anatomy.color(value) for value in colors):
        return colormap
    own = {value: np.array([*(c / 255 for c in color), 1.0]) for value, color in colors.items()}
    return type(colormap)(color_dict={**colormap.color_dict, **own})


def nearest_labels(labels: np.ndarray, indices: tuple[np.ndarray, ...], spacing: np.ndarray) -> np.ndarray:
    """Return for voxels of one label the nearest other label, which may be background.

    Args:
        labels: any number of axes.
        indices: of the voxels, as `np.nonzero` gives them; they all have the same label.
        spacing: of the voxels along each axis.
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
