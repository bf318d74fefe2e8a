"""The tissue maps of a robust network as Labels layers, hidden below the result that they belong to. No Qt here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels

from napari_synthseg.anatomy import DENOISED, S1
from napari_synthseg.inference.config import tissue_names
from napari_synthseg.widgets.layers.geometry import METADATA_KEY, copied_geometry, world_matrix
from napari_synthseg.widgets.layers.labels_layer import counted_volumes, labels_array, labels_kwargs
from napari_synthseg.widgets.segment.job import Outcome, checksum, shown_labels, source_of, was_edited

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

OF = "tissues of"
"""What a map's metadata says its scan under."""
TITLES = {S1: "tissues (S1)", DENOISED: "tissues (denoised)"}


def show_tissues(
    viewer: ViewerModel, outcome: Outcome, image: Layer, result: Labels, index: int | None
) -> list[Labels]:
    """Add the tissue maps of a run, hidden, below its result, which stays the active layer.

    Args:
        viewer: gets the layers.
        outcome: of the run.
        image: what was segmented.
        result: the layer of its labels.
        index: of the volume, where the image is a series.
    """
    added = []
    for name, volume in outcome.segmentation.tissues.items():
        layer = tissue_layer(shown_labels(outcome, volume), name, image, result, index)
        viewer.layers.insert(viewer.layers.index(result), layer)
        added.append(layer)
    if added:
        viewer.layers.selection.active = result
    return added


def remove_tissues(viewer: ViewerModel, image: Layer, index: int | None) -> None:
    """Take the maps of an earlier run away, but for those that were edited."""
    for layer in list(viewer.layers):
        of = layer.metadata.get(METADATA_KEY, {}).get(OF)
        if of == source_of(image, index) and isinstance(layer, Labels) and not was_edited(layer):
            viewer.layers.remove(layer)


def tissue_layer(array: np.ndarray, name: str, image: Layer, result: Labels, index: int | None) -> Labels:
    """A layer of one map, lying where the result lies; the classes have their names, colours and volumes.

    Args:
        array: (S, A, R) tissue classes.
        name: of the map, one of `TISSUE_MAPS`.
        image: what was segmented.
        result: the layer of its labels.
        index: of the volume, where the image is a series.
    """
    from napari_synthseg.widgets.layers.layer_file import renamed  # here: slow to import

    array = labels_array(array)
    geometry = copied_geometry(result)
    about = {OF: source_of(image, index), "checksum": checksum(array)}
    metadata: dict[str, Any] = {METADATA_KEY: {**geometry.pop("metadata")[METADATA_KEY], **about}}
    volumes = counted_volumes(array, abs(float(np.linalg.det(world_matrix(result)[:3, :3]))))
    looks = renamed(labels_kwargs([*tissue_names()], volumes), tissue_names())
    title = f"{result.name.removesuffix(' segmentation')} {TITLES[name]}"
    return Labels(array, name=title, metadata=metadata, visible=False, **geometry, **looks)
