"""Save layers with their geometry, in the voxel order of the file they came from (npe2's writer contributions)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pint
from napari.layers import Layer

from napari_synthseg.errors import InputError
from napari_synthseg.io import FileHeader, LabelName, stem, suffix, write_exactly, write_label_series
from napari_synthseg.io.formats import readable, writable
from napari_synthseg.io.labels import table_path
from napari_synthseg.widgets.layers import geometry
from napari_synthseg.widgets.layers.labels_layer import names_of, rgb, table_columns

FullLayerData = tuple[Any, dict[str, Any], str]


class SaveError(OSError):
    """A layer cannot be saved; no `InputError`, since napari hides the message of every `ValueError` of a writer."""


def save_image(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
    """Save an Image layer with unchanged values; returns the files written.

    Args:
        path: its ending selects the format; without one it becomes NIfTI.
        data: the layer's array.
        meta: the layer's attributes, as from napari.

    Raises:
        InputError: the layer is no scan or series of scans, or the file cannot be written.
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
        names={value: LabelName(name, rgb(layer, value)) for value, name in names_of(layer).items() if value},
        header=labels.header,
        step=labels.step,
        dtype=labels.dtype,
    )
    return [path, str(table_path(path))]


def save_layers(path: str, layers: Sequence[FullLayerData]) -> list[str]:
    """Save Image and Labels layers as `<stem>_<name of the layer><ending>`; a single layer gets the path itself.

    Raises:
        InputError: as `save_image`, or one of the files exists; nothing is written then.
    """
    savers = {"image": save_image, "labels": save_labels}
    for data, meta, kind in layers:
        if kind not in savers:
            raise InputError(f'Layer "{meta.get("name", kind)}" is no image or label map; save it separately.')
        if (problem := geometry.layer_problem(Layer.create(data, meta, kind))) is not None:
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
    """Return distinct paths for layers: their names, fit for files, after the stem of `path`."""
    start, plain = stem(path), map(geometry.file_name, names)
    distinct = geometry.unique_names(name if name.startswith(start) else f"{start}_{name}" for name in plain)
    return [str(Path(path).with_name(name + suffix(path))) for name in distinct]


def _with_ending(path: str) -> str:
    """Return the path, with the ending of NIfTI if it has none; the dot of `v1.2` starts no ending.

    Raises:
        InputError: the file with the added ending exists, which napari's dialog has not asked about.
    """
    path = str(path)
    ending = suffix(path)
    if ending in readable() or re.fullmatch(r"\.[A-Za-z]{2,5}", ending):
        return path
    whole = path + writable()[0]
    if Path(whole).exists():
        raise InputError(f"{whole} exists: give its full name to replace it.")
    return whole


def _contribution(save: Callable[..., list[str]]) -> Callable[..., list[str]]:
    """Return a writer contribution (npe2) that raises `SaveError`."""

    def write(path: str, *content: Any) -> list[str]:
        try:
            return save(path, *content)
        except InputError as error:
            raise SaveError(str(error)) from error

    return write


write_image, write_labels, write_layers = map(_contribution, (save_image, save_labels, save_layers))


@dataclass(frozen=True, eq=False)
class LayerFile:
    """The content of the file of a layer."""

    data: np.ndarray
    """(X, Y, Z) or (X, Y, Z, T)"""
    affine: np.ndarray
    """(4, 4) voxel index to RAS mm."""
    step: float | None
    """Interval of a series, s; None if the layer's first axis is not time."""
    header: FileHeader | None
    """Of the file of the layer, or of the layer it was made from."""
    dtype: str | None
    """Of the voxels in that file."""


def layer_file(layer: Layer) -> LayerFile:
    """Return the file content of a 3D or 4D image or labels layer.

    Raises:
        InputError: the layer is no scan, or its array cannot be read.
    """
    problem = geometry.layer_problem(layer)
    if problem is not None:
        raise InputError(problem)
    from napari_synthseg.volume import undo_canonical

    data, affine = geometry.computed(layer.data, layer.name).T, geometry.layer_affine(layer)
    kept = geometry.kept_grid(layer)
    if kept is not None:
        exact, shape = kept
        unmoved = np.array_equal(affine, geometry.canonical_grid(exact, shape).affine)
        data, affine = undo_canonical(data, affine, exact)
        if unmoved and data.shape[:3] == shape:
            affine = exact  # to the last bit
    more = geometry.kept_with(layer)
    return LayerFile(data, affine, _seconds(layer), more.get("header"), more.get("dtype"))


def _seconds(layer: Layer) -> float | None:
    if layer.ndim != 4 or layer.units[0].dimensionality != {"[time]": 1}:
        return None
    step = pint.get_application_registry().Quantity(abs(float(layer.scale[0])), layer.units[0]).to("s").magnitude
    return float(step) or None
