"""Save layers with their geometry, in the voxel order of the file they came from (npe2's writer contributions)."""

from __future__ import annotations

from typing import Any

from napari.layers import Layer

from napari_synthseg.widgets.geometry import layer_to_file_volume


def write_image(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
    """Save an Image layer.

    Args:
        path: file to write; its ending chooses the format.
        data: the layer's array.
        meta: the layer's attributes, as napari gives them.

    Returns:
        The files written.

    Raises:
        InputError: if the layer is not a 3D scan, or the file cannot be written.
    """
    from napari_synthseg.files import write_volume

    write_volume(path, layer_to_file_volume(Layer.create(data, meta, "image")))
    return [path]


def write_labels(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
    """Save a Labels layer, with a BIDS table of its labels beside it; see `write_image`."""
    from napari_synthseg.files import write_labels as write_label_volume

    write_label_volume(path, layer_to_file_volume(Layer.create(data, meta, "labels")))
    return [path]
