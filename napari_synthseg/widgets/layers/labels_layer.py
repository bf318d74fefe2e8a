"""Label maps as napari layers: colors, and features that show structure and volume under the mouse."""

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


def recounted(features: pd.DataFrame, counted_mm3: Mapping[int, float], edited: Iterable[int] | None) -> pd.DataFrame:
    """Return the features after labels were edited: voxel counts for edited labels, other volumes as measured.

    Args:
        features: before.
        counted_mm3: from `counted_volumes`.
        edited: values that were painted or painted over; all if None.
    """
    old = features.set_index(INDEX)
    touched = {*old.index, *counted_mm3} if edited is None else {int(value) for value in edited}
    kept = [value for value in old.index if value not in touched]
    volumes = {value: old[VOLUME][value] * 1000 for value in kept} | {v: counted_mm3.get(v, 0.0) for v in touched}
    quality = {value: old[QUALITY][value] for value in kept} if QUALITY in old.columns else {}
    new = label_features({*old.index, *touched} - {0}, volumes, quality)
    for column in (NAME, SIDE):  # other organs than the brain have their own
        if column in old.columns:
            new[column] = [old[column].get(value, now) for value, now in zip(new[INDEX], new[column], strict=True)]
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
    """Return the volume of each value by counting voxels, mm^3."""
    values, counts = np.unique(array, return_counts=True)
    return {int(value): float(count) * voxel_mm3 for value, count in zip(values, counts, strict=True)}


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
