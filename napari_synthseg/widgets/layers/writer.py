"""Save layers with their geometry, in the voxel order of the file they came from (npe2's writer contributions)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pint
from napari.layers import Layer

from napari_synthseg.errors import InputError
from napari_synthseg.io import FileHeader, LabelName, stem, suffix, write_exactly, write_label_series
from napari_synthseg.io.formats import readable, writable
from napari_synthseg.io.labels import table_path
from napari_synthseg.widgets.layers.geometry import METADATA_KEY, canonical_grid, kept_grid, layer_affine, layer_problem
from napari_synthseg.widgets.layers.labels_layer import table_columns

if TYPE_CHECKING:
    from napari.layers import Labels, Layer

FullLayerData = tuple[Any, dict[str, Any], str]


class SaveError(OSError):
    """A refusal to save, in one sentence.

    No `InputError`: napari takes every `ValueError` of a writer for "there is no writer" and hides what it says.
    """


def write_image(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
    """The contribution behind `save_image`; raises `SaveError`."""
    with _refusing():
        return save_image(path, data, meta)


def write_labels(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
    """The contribution behind `save_labels`; raises `SaveError`."""
    with _refusing():
        return save_labels(path, data, meta)


def write_layers(path: str, layers: Sequence[FullLayerData]) -> list[str]:
    """The contribution behind `save_layers`; raises `SaveError`."""
    with _refusing():
        return save_layers(path, layers)


def save_image(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
    """Save an Image layer, value for value.

    Args:
        path: file to write; its ending chooses the format, without one it becomes NIfTI.
        data: the layer's array.
        meta: the layer's attributes, as napari gives them.

    Returns:
        The files written.

    Raises:
        InputError: if the layer is no scan or series of scans, or the file cannot be written.
    """
    path = _with_ending(path)
    image = layer_file(Layer.create(data, meta, "image"))
    write_exactly(path, image.data, image.affine, step=image.step, header=image.header)
    return [path]


def save_labels(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
    """Save a Labels layer, with a BIDS table of its labels beside it; see `save_image`."""
    path = _with_ending(path)
    layer = Layer.create(data, meta, "labels")
    labels = layer_file(layer)
    write_label_series(
        path,
        labels.data,
        labels.affine,
        table_columns(layer.features),
        names=label_names(layer),
        header=labels.header,
        step=labels.step,
        dtype=labels.dtype,
    )
    return [path, str(table_path(path))]


def save_layers(path: str, layers: Sequence[FullLayerData]) -> list[str]:
    """Save several Image and Labels layers, a file each: `<stem>_<name of the layer><ending>`.

    Nothing is written before every layer is known to be one that can be; a single layer gets the path itself.

    Raises:
        InputError: as `save_image`, or there is a file already under one of the names made here.
    """
    savers = {"image": save_image, "labels": save_labels}
    for data, meta, kind in layers:
        if kind not in savers:
            raise InputError(f'Layer "{meta.get("name", kind)}" is no image or label map; save it on its own.')
        if (problem := layer_problem(Layer.create(data, meta, kind))) is not None:
            raise InputError(problem)
    path = _with_ending(path)
    names = [str(meta.get("name", kind)) for _, meta, kind in layers]
    targets = [path] if len(layers) == 1 else several_paths(path, names)
    for target in targets:
        if target != path and Path(target).exists():
            raise InputError(f"{target} exists: choose another name, or remove it first.")
    written: list[str] = []
    for target, (data, meta, kind) in zip(targets, layers, strict=True):
        written += savers[kind](target, data, meta)
    return written


def several_paths(path: str, names: Sequence[str]) -> list[str]:
    """A path for each of several layers, all different: their names, fit for a file, after the stem of `path`."""
    start, ending = stem(path), suffix(path)
    found: list[str] = []
    for name in names:
        plain = re.sub(r"[^\w.+-]+", "_", name).strip("_.") or "layer"
        base = plain if plain.startswith(start) else f"{start}_{plain}"
        unique, number = base, 1
        while str(Path(path).with_name(unique + ending)) in found:
            number += 1
            unique = f"{base}_{number}"
        found.append(str(Path(path).with_name(unique + ending)))
    return found


def _with_ending(path: str) -> str:
    """The path, with the ending of NIfTI if it has none; a dot in a layer's name (`v1.2`) starts no ending.

    Raises:
        InputError: there is a file of that name already, which napari's dialog could not ask about.
    """
    path = str(path)
    ending = suffix(path)
    if ending in readable() or re.fullmatch(r"\.[A-Za-z]{2,5}", ending):
        return path
    whole = path + writable()[0]
    if Path(whole).exists():
        raise InputError(f"{whole} exists: give its whole name to replace it.")
    return whole


@contextmanager
def _refusing() -> Iterator[None]:
    try:
        yield
    except InputError as error:
        raise SaveError(str(error)) from error


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
