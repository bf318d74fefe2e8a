"""Qt-free model of *Segment brain*: the job of its thread, and the layers of results."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from dataclasses import dataclass
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
    volume_to_layer,
    voxel_mm3,
)
from napari_synthseg.widgets.layers.labels_layer import counted_volumes, labels_array, labels_kwargs, renamed

if TYPE_CHECKING:
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
    import skimage.color.colorconv  # noqa: F401  # napari's first Labels layer would, and hold the window meanwhile

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


def outcome_to_layer(outcome: SegmentedLayer, image: Layer, *, index: int | None = None) -> Labels:
    """Return a Labels layer of the result: with the image's geometry, or its own if the grid is another.

    `index` is that of the volume of a series.
    """
    kwargs = _result_kwargs(outcome, image)
    layer = Labels(name=f"{image.name}{'' if index is None else f' volume {index}'} segmentation", **kwargs)
    present = sorted(int(value) for value in layer.features["index"] if value)
    layer.selected_label = present[0] if present else 1
    return layer


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


def _result_kwargs(outcome: SegmentedLayer, image: Layer) -> dict[str, Any]:
    result = outcome.segmentation
    if outcome.on_input:
        array, geometry = outcome.array, copied_geometry(image)
    else:
        array, geometry = labels_array(shown_labels(outcome, result.labels)), volume_to_layer(result.labels)[1]
    ours = {
        "intracranial_mm3": None if math.isnan(result.intracranial_mm3) else float(result.intracranial_mm3),
        "warnings": tuple(result.warnings),
        MEASURED: SOFT,
        "verdict": getattr(result, "qc_rating", None),
        "source": str(image.unique_id),
    }
    metadata = {**geometry["metadata"], METADATA_KEY: {**geometry["metadata"].get(METADATA_KEY, {}), **ours}}
    looks = labels_kwargs(result.volumes, result.volumes, getattr(result, "quality", None))
    looks = renamed(looks, getattr(result, "names", {}))
    return {"data": array, **geometry, "metadata": metadata, **looks}


def shown_labels(outcome: SegmentedLayer, labels: Volume) -> np.ndarray:
    """Return the (S, A, R) array of labels for a layer on the grid of a run's result."""
    return labels.data.transpose(2, 1, 0) if outcome.on_input else volume_to_layer(labels)[0]


TITLES = {S1: "tissues (S1)", DENOISED: "tissues (denoised)"}


def show_tissues(viewer: ViewerModel, outcome: SegmentedLayer, result: Labels) -> list[Labels]:
    """Add the tissue maps of a run, hidden, below its result, which stays the active layer."""
    added = []
    for name, volume in outcome.segmentation.tissues.items():
        layer = tissue_layer(shown_labels(outcome, volume), name, result)
        viewer.layers.insert(viewer.layers.index(result), layer)
        added.append(layer)
    if added:
        viewer.layers.selection.active = result
    return added


def tissue_layer(array: np.ndarray, name: str, result: Labels) -> Labels:
    """Return a layer of one of `TISSUE_MAPS`, (S, A, R), on its result, with names, colors and volumes of classes."""
    array = labels_array(array)
    geometry = copied_geometry(result)
    volumes = counted_volumes(array, voxel_mm3(result))
    looks = renamed(labels_kwargs([*tissue_names()], volumes), tissue_names())
    title = f"{result.name.removesuffix(' segmentation')} {TITLES[name]}"
    return Labels(array, name=title, visible=False, **geometry, **looks)
