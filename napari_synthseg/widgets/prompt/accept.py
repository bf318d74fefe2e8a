"""From an object to a label: the ids and names of a Labels layer, writing an object into it, and taking that back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels
from napari.utils.colormaps import DirectLabelColormap

from napari_synthseg import anatomy
from napari_synthseg.errors import InputError
from napari_synthseg.widgets.layers.geometry import METADATA_KEY
from napari_synthseg.widgets.layers.labels_layer import INDEX, NAME, OPACITY, nearest_labels
from napari_synthseg.widgets.prompt.model import Draft
from napari_synthseg.widgets.prompt.pending import geometry_of
from napari_synthseg.widgets.prompt.pointing import image_shape, same_grid

if TYPE_CHECKING:
    import pandas as pd
    from napari.layers import Image, Layer

MARK = "made by prompting"
"""Key in the metadata of the layers that were made for accepted objects."""
MOST_VOXELS = 2**28
"""Larger layers are not searched for the labels in them; those that are named are known anyway."""
_COUNTABLE = 2**24


@dataclass(eq=False)
class Accepted:
    """An object that was written into a layer, and what it replaced."""

    target: Labels
    draft: Draft
    value: int
    name: str
    indices: tuple[np.ndarray, ...]
    before: np.ndarray
    after: np.ndarray
    features: pd.DataFrame
    created: bool


def structures(layer: Labels) -> dict[int, str]:
    names = _names(layer)
    found = {*names, *_present(layer)} - {0}
    return {value: names.get(value) or f"Label {value}" for value in sorted(found)}


def next_value(layer: Labels | None, used: Iterable[int]) -> int:
    """A label above all that are in use; in a layer of anatomical labels one that means no structure of the table."""
    value = max(used, default=0) + 1
    if layer is None:
        return value
    while isinstance(layer.colormap, DirectLabelColormap) and anatomy.known(value):
        value += 1
    return value


def grid_problem(image: Image, target: Labels) -> str | None:
    """Say in one sentence why objects of an image cannot go into a layer; None if they can."""
    if getattr(target, "multiscale", False):
        return f'"{target.name}" is multiscale; accept into a new layer.'
    if not same_grid(image, target):
        return f'"{target.name}" does not have the voxels of "{image.name}"; accept into a new layer.'
    return None


def new_target(image: Image) -> Labels:
    exact = image.metadata.get(METADATA_KEY, {})
    return Labels(
        np.zeros(image_shape(image), np.uint16),
        name=f"{image.name} objects",
        opacity=OPACITY,
        metadata={
            METADATA_KEY: {MARK: True} | {key: exact[key] for key in ("affine", "shape", "header") if key in exact}
        },
        **geometry_of(image),
    )


def is_made(layer: Layer) -> bool:
    """Whether a layer was made here in this session; a file does not keep that."""
    return MARK in layer.metadata.get(METADATA_KEY, {})


def accept(
    image: Image, draft: Draft, target: Labels, value: int, name: str, *, created: bool, keep_others: bool
) -> Accepted:
    """Write an object into a layer on its image's grid; voxels that are given up go to the nearest label.

    `created` says that the layer was made for this object; `keep_others` leaves voxels that have another label already.

    Raises:
        InputError: the layer cannot take it.
    """
    if draft.shape != image_shape(image):
        raise InputError(f'"{image.name}" has another shape than when the object was made; discard the object.')
    problem = grid_problem(image, target)
    if problem is not None:
        raise InputError(problem)
    if value > np.iinfo(target.dtype).max:
        raise InputError(f'"{target.name}" has {np.dtype(target.dtype)} voxels, too few bits for the id {value}.')
    object_ = draft.voxels != 0
    if not object_.any():
        raise InputError("There is no object yet: click inside one.")
    changed = object_
    if draft.value == value:
        changed = changed | (np.asarray(target.data) == value)
    indices = np.nonzero(changed)
    before = np.array(target.data[indices])
    after = np.where(object_[indices], value, 0).astype(before.dtype)
    given_up = (before == value) & (after == 0)
    if given_up.any():
        after[given_up] = nearest_labels(np.asarray(target.data), tuple(i[given_up] for i in indices), target.scale)
    if keep_others:
        after = np.where((before != 0) & (before != value), before, after).astype(before.dtype)
    features = target.features.copy()
    _write(target, indices, after)
    target.features = named(features, value, name)
    _give_color(target, value)
    return Accepted(target, draft, value, name, indices, before, after, features, created)


def take_back(accepted: Accepted) -> None:
    target = accepted.target
    same = tuple(target.data.shape) == accepted.draft.shape
    if not same or not np.array_equal(np.asarray(target.data[accepted.indices]), accepted.after):
        raise InputError(f'"{accepted.name}" was edited since it was accepted; undo that in its layer first.')
    _write(target, accepted.indices, accepted.before)
    target.features = accepted.features


def _write(target: Labels, indices: tuple[np.ndarray, ...], values: np.ndarray) -> None:
    try:
        target.data_setitem(indices, values)
    except (TypeError, ValueError, NotImplementedError) as error:  # dask, a file opened for reading
        raise InputError(f'"{target.name}" cannot be changed ({error}); accept into a new layer.') from error


def _names(layer: Labels) -> dict[int, str]:
    features = layer.features
    if INDEX not in features.columns or NAME not in features.columns:
        return {}
    return {int(value): str(name) for value, name in zip(features[INDEX], features[NAME], strict=True)}


def _present(layer: Labels) -> Iterable[int]:
    data = layer.data
    if not isinstance(data, np.ndarray) or data.size > MOST_VOXELS or data.size == 0:
        return ()
    if data.min() < 0 or data.max() >= _COUNTABLE:
        return (int(value) for value in np.unique(data))
    counts = np.zeros(int(data.max()) + 1, np.int64)
    for part in data if data.ndim > 2 else (data,):  # a part at a time: counting makes a copy of eight bytes a voxel
        counts += np.bincount(part.ravel(), minlength=len(counts))
    return (int(value) for value in np.flatnonzero(counts))


def named(features: pd.DataFrame, value: int, name: str) -> pd.DataFrame:
    import pandas as pd

    if INDEX not in features.columns:
        if len(features.columns):
            return features
        features = pd.DataFrame({INDEX: [0], NAME: ["Background"]})
    if value in set(features[INDEX]):
        rows = features.copy()
        rows.loc[rows[INDEX] == value, NAME] = name
        return rows
    row: dict[str, Any] = {INDEX: [value], NAME: [name]}
    row |= {column: [""] for column in features.columns if column not in row and features[column].dtype == object}
    return pd.concat([features, pd.DataFrame(row)]).sort_values(INDEX).reset_index(drop=True)


def _give_color(layer: Labels, value: int) -> None:
    if not isinstance(layer.colormap, DirectLabelColormap) or value in layer.colormap.color_dict:
        return
    color = (*(part / 255 for part in anatomy.color(value)), 1.0)
    layer.colormap = DirectLabelColormap(color_dict={**layer.colormap.color_dict, value: color})
