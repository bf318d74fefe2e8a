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
        data: (S, A, R), or (rows, columns) of a flat picture.
        geometry: keyword arguments of a layer: scale, translate, units, axis labels, metadata.
        limits: contrast limits of an image.
        volumes_mm3: of the values of labels.
        table: columns of what a Labels layer says of its values, where they are no structures.
    """

    data: np.ndarray
    geometry: dict[str, Any]
    limits: tuple[float, float] = (0.0, 1.0)
    volumes_mm3: dict[int, float] | None = None
    table: dict[str, list[Any]] | None = None


@dataclass(frozen=True)
class Prompts:
    """The object that is to be found, and the points that are given for it.

    Attributes:
        target: the object's label.
        points: (N, 2) row and column, pixels.
        inside: (N,) bool, whether each lies in the object or is what the object is not.
    """

    target: int
    points: np.ndarray
    inside: np.ndarray


@dataclass(frozen=True)
class Picture:
    """A preview: an image, labels, or both.

    Attributes:
        image: intensities.
        labels: label values.
        record: plain numbers it was made with, kept in the image layer's metadata.
        summary: the record as columns of a table.
        spacing: voxel size, mm; of a flat picture, pixels.
        quick: whether it is only the quick look.
        prompts: what a person might point at in it.
    """

    image: Shown | None
    labels: Shown | None
    record: dict[str, Any]
    summary: dict[str, str | float]
    spacing: tuple[float, ...]
    quick: bool
    prompts: Prompts | None = None


@dataclass(frozen=True)
class Thumbnail:
    """One of several samples: its seed, a picture of it, and its record as columns of a table."""

    seed: int
    picture: np.ndarray
    """(rows, columns) uint8."""
    summary: dict[str, str | float]


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
