"""From a layer to a file: its array in the voxel order of the file it came from, and all that file said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pint

from napari_synthseg import anatomy
from napari_synthseg.errors import InputError
from napari_synthseg.io import FileHeader, LabelName
from napari_synthseg.widgets.layers.geometry import METADATA_KEY, canonical_grid, kept_grid, layer_affine, layer_problem

if TYPE_CHECKING:
    from napari.layers import Labels, Layer
    from napari.utils.colormaps import DirectLabelColormap


@dataclass(frozen=True, eq=False)
class LayerFile:
    """What to write for a layer."""

    data: np.ndarray
    """(X, Y, Z) or (X, Y, Z, T)"""
    affine: np.ndarray
    """(4, 4) voxel index to RAS mm."""
    step: float | None
    """From one volume of a series to the next, s; None where the layer's first axis is not one of time."""
    header: FileHeader | None
    """Of the file that the layer, or the layer it was made on, came from."""
    dtype: str | None
    """The type of the voxels in that file."""


def layer_file(layer: Layer) -> LayerFile:
    """Everything a file of a 3D or 4D image or labels layer is to hold; reads the layer's array.

    Raises:
        InputError: the layer is no scan, or its array cannot be read.
    """
    problem = layer_problem(layer)
    if problem is not None:
        raise InputError(problem)
    from napari_synthseg.volume import undo_canonical

    data, affine = _array(layer).T, layer_affine(layer)
    kept = kept_grid(layer)
    if kept is not None:
        exact, shape = kept
        unmoved = np.array_equal(affine, canonical_grid(exact, shape).affine)
        data, affine = undo_canonical(data, affine, exact)
        if unmoved and data.shape[:3] == shape:
            affine = exact  # to the last bit
    more = layer.metadata.get(METADATA_KEY, {})
    return LayerFile(data, affine, _seconds(layer), more.get("header"), more.get("dtype"))


def label_names(layer: Labels) -> dict[int, LabelName]:
    """Names and colours of a Labels layer's values, where its features name them."""
    features = layer.features
    if "index" not in features or "name" not in features:
        return {}
    values = [int(value) for value in features["index"]]
    named = zip(values, features["name"], strict=True)
    return {value: LabelName(str(name), _color(layer, value)) for value, name in named if value != 0}


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


def _array(layer: Layer) -> np.ndarray:
    try:
        return np.asarray(layer.data)
    except Exception as error:
        raise InputError(f'The data of layer "{layer.name}" cannot be read ({error}); open the scan again.') from error


def _color(layer: Labels, value: int) -> tuple[int, int, int] | None:
    color: Any = layer.get_color(value)
    if color is None or not np.isfinite(color).all():
        return None
    red, green, blue = (round(255 * float(c)) for c in color[:3])
    return red, green, blue


def _seconds(layer: Layer) -> float | None:
    if layer.ndim != 4 or layer.units[0].dimensionality != {"[time]": 1}:
        return None
    step = pint.get_application_registry().Quantity(abs(float(layer.scale[0])), layer.units[0]).to("s").magnitude
    return float(step) or None
