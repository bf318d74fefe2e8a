"""Qt-free model of *Segment brain*: the job of its thread, and the layers of results."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels

from napari_synthseg.anatomy import DENOISED, S1
from napari_synthseg.inference.options import SegmentOptions, tissue_names
from napari_synthseg.jobs import Progress
from napari_synthseg.widgets.layers.geometry import (
    MEASURED,
    METADATA_KEY,
    SOFT,
    LayerScan,
    copied_geometry,
    kept_with,
    volume_to_layer,
    voxel_mm3,
)
from napari_synthseg.widgets.layers.labels_layer import counted_volumes, labels_array, labels_kwargs, renamed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari.components import ViewerModel
    from napari.layers import Layer

    from napari_synthseg.inference.state import Segmentation
    from napari_synthseg.volume import Volume

Steps = Callable[..., "Generator[Progress, None, Segmentation]"]

LOCKED = ("scale", "translate", "rotate", "shear", "affine", "units")
"""Attributes that a result shares with its scan."""


@dataclass(frozen=True)
class SegmentedLayer:
    """A finished run."""

    segmentation: Segmentation
    array: np.ndarray
    """(S, A, R) labels in the order of the input layer's axes."""
    on_input: bool
    """Whether they have the scan's own voxels."""


def pipeline_steps(volume: Volume, *, name: str, **options: Any) -> Generator[Progress, None, Segmentation]:
    """Run the pipeline of `napari_synthseg.inference` with fields of `SegmentOptions`; torch is imported here."""
    yield Progress("Loading the program")
    from napari_synthseg.inference.pipeline import segment_steps

    return (yield from segment_steps(volume, SegmentOptions(**options), name=name))


def segment_scan(scan: LayerScan, options: dict[str, Any], steps: Steps) -> Generator[Progress, None, SegmentedLayer]:
    """Segment a layer's scan with fields of `SegmentOptions` by `steps`, see `pipeline_steps`.

    Raises:
        InputError: if the scan cannot be read or segmented.
    """
    yield Progress("Reading the scan")
    volume = scan.read()
    segmentation = yield from steps(volume, name=f'The layer "{scan.name}"', **options)
    labels = segmentation.labels
    on_input = labels.data.shape == volume.data.shape and np.allclose(labels.affine, volume.affine, rtol=0, atol=1e-4)
    return SegmentedLayer(segmentation, labels_array(labels.data.transpose(2, 1, 0)), bool(on_input))


# Layers of a result


def outcome_to_layer(
    outcome: SegmentedLayer, image: Layer, *, index: int | None = None, geometry: dict[str, Any] | None = None
) -> Labels:
    """Return a Labels layer of the result: with the image's geometry, or its own if the grid is another.

    `index` is that of the volume of a series; `geometry` (from `copied_geometry`) is given if the image got other data.
    """
    kwargs = _result_kwargs(outcome, image, index, geometry)
    layer = Labels(name=f"{image.name}{'' if index is None else f' volume {index}'} segmentation", **kwargs)
    present = sorted(int(value) for value in layer.features["index"] if value)
    layer.selected_label = present[0] if present else 1
    return layer


def replace_result(layer: Labels, outcome: SegmentedLayer, image: Layer, *, index: int | None = None) -> None:
    """Give an earlier result's layer new data; its name, place in the list and visibility stay."""
    kwargs = _result_kwargs(outcome, image, index, None)
    kwargs.pop("opacity")
    kwargs = {"rotate": np.eye(3), "shear": np.zeros(3), "affine": np.eye(4), **kwargs}
    for name in ("data", *LOCKED, "axis_labels", "colormap", "features"):
        setattr(layer, name, kwargs[name])
    layer.metadata = kwargs["metadata"]


def lock_to(image: Layer, result: Layer, viewer: ViewerModel) -> tuple[str, ...]:
    """Link the transforms of a result to those of its scan, so that one moves with the other (napari's layer links).

    Returns:
        Names of the linked attributes: all, or for a result on its own grid only the affine, which napari changes when
        a layer is moved by hand. None if the two differ in dimensions (a series) or affines.
    """
    if image.ndim != result.ndim:
        return ()
    same = [n for n in LOCKED[:-1] if np.array_equal(np.asarray(getattr(image, n)), np.asarray(getattr(result, n)))]
    linked = LOCKED if len(same) == len(LOCKED) - 1 else ("affine",) if "affine" in same else ()
    if linked:
        viewer.layers.link_layers([image, result], linked)
    return linked


def earlier_result(layers: Iterable[Layer], image: Layer, index: int | None = None) -> Labels | None:
    """Return the newest result of a scan (and volume) among layers."""
    source = source_of(image, index)
    for layer in reversed(list(layers)):
        if isinstance(layer, Labels) and kept_with(layer).get("source") == source:
            return layer
    return None


def is_result(layer: Layer) -> bool:
    return "source" in kept_with(layer)


def scan_of(layers: Iterable[Layer], result: Layer) -> tuple[Layer | None, int | None]:
    """Return the scan of a result, if it is still open, and the index of its volume."""
    name, index = kept_with(result).get("source", ("", None))
    return next((layer for layer in layers if str(layer.unique_id) == name), None), index


def was_edited(layer: Labels) -> bool:
    return kept_with(layer).get("checksum") != checksum(np.asarray(layer.data))


def options_of(result: Layer) -> dict[str, Any]:
    recorded: Mapping[str, Any] = (kept_with(result).get("record") or {}).get("options") or {}
    options = {one.name: recorded[one.name] for one in fields(SegmentOptions) if one.name in recorded}
    if options.get("weights"):
        options["weights"] = Path(options["weights"])
    return options


def _result_kwargs(
    outcome: SegmentedLayer, image: Layer, index: int | None, geometry: dict[str, Any] | None
) -> dict[str, Any]:
    result = outcome.segmentation
    if outcome.on_input:
        array, geometry = outcome.array, geometry or copied_geometry(image)
    else:
        array, geometry = labels_array(shown_labels(outcome, result.labels)), volume_to_layer(result.labels)[1]
    ours = {
        "intracranial_mm3": None if math.isnan(result.intracranial_mm3) else float(result.intracranial_mm3),
        "warnings": tuple(result.warnings),
        MEASURED: SOFT,
        "record": result.record,
        "verdict": getattr(result, "qc_rating", None),
        "source": source_of(image, index),
        "checksum": checksum(array),
    }
    metadata = {**geometry["metadata"], METADATA_KEY: {**geometry["metadata"].get(METADATA_KEY, {}), **ours}}
    looks = labels_kwargs(result.volumes, result.volumes, getattr(result, "quality", None))
    looks = renamed(looks, getattr(result, "names", {}))
    return {"data": array, **geometry, "metadata": metadata, **looks}


def shown_labels(outcome: SegmentedLayer, labels: Volume) -> np.ndarray:
    """Return the (S, A, R) array of labels for a layer on the grid of a run's result."""
    return labels.data.transpose(2, 1, 0) if outcome.on_input else volume_to_layer(labels)[0]


def source_of(image: Layer, index: int | None) -> tuple[str, int | None]:
    """Return the mark of results of a layer, or of one volume of it."""
    return str(image.unique_id), index


def checksum(array: np.ndarray) -> int:
    return zlib.adler32(np.ascontiguousarray(array).view(np.uint8).reshape(-1).data)


OF = "tissues of"
"""Key in a map's metadata for its scan."""
TITLES = {S1: "tissues (S1)", DENOISED: "tissues (denoised)"}


def show_tissues(
    viewer: ViewerModel, outcome: SegmentedLayer, image: Layer, result: Labels, index: int | None
) -> list[Labels]:
    """Add the tissue maps of a run, hidden, below its result, which stays the active layer."""
    added = []
    for name, volume in outcome.segmentation.tissues.items():
        layer = tissue_layer(shown_labels(outcome, volume), name, image, result, index)
        viewer.layers.insert(viewer.layers.index(result), layer)
        added.append(layer)
    if added:
        viewer.layers.selection.active = result
    return added


def remove_tissues(viewer: ViewerModel, image: Layer, index: int | None) -> None:
    for layer in list(viewer.layers):
        of = kept_with(layer).get(OF)
        if of == source_of(image, index) and isinstance(layer, Labels) and not was_edited(layer):
            viewer.layers.remove(layer)


def tissue_layer(array: np.ndarray, name: str, image: Layer, result: Labels, index: int | None) -> Labels:
    """Return a layer of one of `TISSUE_MAPS`, (S, A, R), on its result, with names, colors and volumes of classes."""
    array = labels_array(array)
    geometry = copied_geometry(result)
    about = {OF: source_of(image, index), "checksum": checksum(array)}
    metadata: dict[str, Any] = {METADATA_KEY: {**geometry.pop("metadata")[METADATA_KEY], **about}}
    volumes = counted_volumes(array, voxel_mm3(result))
    looks = renamed(labels_kwargs([*tissue_names()], volumes), tissue_names())
    title = f"{result.name.removesuffix(' segmentation')} {TITLES[name]}"
    return Labels(array, name=title, metadata=metadata, visible=False, **geometry, **looks)
