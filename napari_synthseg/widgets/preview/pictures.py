"""What a preview's worker hands to the main thread: arrays and their place, ready for layers. No Qt, no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_synthseg.widgets.layers.geometry import volume_to_layer
from napari_synthseg.widgets.layers.labels_layer import counted_volumes, labels_array

if TYPE_CHECKING:
    from napari_synthseg.volume import Volume


@dataclass(frozen=True)
class Shown:
    """One layer's content.

    Attributes:
        data: (S, A, R)
        geometry: keyword arguments of a layer: scale, translate, units, axis labels, metadata.
        limits: contrast limits of an image.
        volumes_mm3: of the values of labels.
    """

    data: np.ndarray
    geometry: dict[str, Any]
    limits: tuple[float, float] = (0.0, 1.0)
    volumes_mm3: dict[int, float] | None = None


@dataclass(frozen=True)
class Picture:
    """A preview: an image, labels, or both.

    Attributes:
        image: intensities.
        labels: label values.
        record: plain numbers it was made with, kept in the image layer's metadata.
        summary: the record as columns of a table.
        spacing: voxel size, mm.
        quick: whether it is only the quick look.
    """

    image: Shown | None
    labels: Shown | None
    record: dict[str, Any]
    summary: dict[str, str | float]
    spacing: tuple[float, float, float]
    quick: bool


def shown_image(volume: Volume, limits: tuple[float, float] = (0.0, 1.0)) -> Shown:
    """An image volume as a layer shows it."""
    array, geometry = volume_to_layer(volume)
    return Shown(np.ascontiguousarray(array), geometry, limits)


def shown_labels(volume: Volume) -> Shown:
    """A label volume as a layer shows it."""
    array, geometry = volume_to_layer(volume)
    array = labels_array(array)
    return Shown(array, geometry, volumes_mm3=_counted(array, volume.voxel_mm3))


def _counted(array: np.ndarray, voxel_mm3: float) -> dict[int, float]:
    """Volume of each value; by far quicker than sorting all voxels, since the values of labels are small."""
    if array.dtype != np.uint16:
        return counted_volumes(array, voxel_mm3)
    counts = np.bincount(array.reshape(-1, order="A"))
    return {int(value): float(counts[value]) * voxel_mm3 for value in np.flatnonzero(counts)}
