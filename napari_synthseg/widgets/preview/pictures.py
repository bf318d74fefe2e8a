"""What a preview's worker gets and gives: a source, and arrays with their place, ready for layers. No Qt, no torch."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_synthseg.anatomy import resources
from napari_synthseg.widgets.layers.geometry import LayerScan, volume_to_layer
from napari_synthseg.widgets.layers.labels_layer import counted_volumes, labels_array

if TYPE_CHECKING:
    from napari_synthseg.generator.shapes.scenes import Scene
    from napari_synthseg.volume import Volume


PICTURE = "picture"
"""The figure of a progress report that is to be shown at once."""


@dataclass(frozen=True)
class Source:
    """What to start from, as a worker needs it.

    Attributes:
        key: the same for the same voxels.
        name: for file names and messages.
        path: a file or folder; None for a layer that came from none, or the head made of formulas.
        scan: of a layer.
    """

    key: Hashable
    name: str
    path: Path | None = None
    scan: LayerScan | None = None


def bundled() -> Source:
    """The label map in the resources."""
    path = resources() / "samples" / "mni152_labels.nii.gz"
    return Source("bundled", "mni152_labels", path if path.is_file() else None)


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


def objects_table(made: Scene, objects: np.ndarray) -> dict[str, list[Any]]:
    """What the layer says of each object under the mouse."""
    areas = np.bincount(objects.ravel(), minlength=made.count + 1)
    return {
        "index": [*range(made.count + 1)],
        "name": ["No object", *(f"Object {number}" for number in range(1, made.count + 1))],
        "area (pixels)": [int(area) for area in areas],
        "visibility": [np.nan, *(round(seen, 2) for seen in made.visibility)],
    }


def scene_prompts(made: Scene, seed: int, turn: int) -> Prompts:
    """A target and the points that a step of training might give for it."""
    import torch

    from napari_synthseg.generator.shapes.scenes import pick_target
    from napari_synthseg.training.data.prompts import Window, draw_plan, draw_points

    generator = torch.Generator().manual_seed((~seed + 7919 * turn) % 2**31)  # not that of the scene
    number = pick_target(made, generator)
    plan = draw_plan(generator, boxes=False, masks=False)
    whole = Window(0, 0, made.objects.shape[0])
    points, signs = draw_points(made.target(number), whole, made.extent, plan, generator)
    return Prompts(number, points.cpu().numpy(), signs.cpu().numpy() > 0.5)


def described(summary: dict[str, str | float]) -> str:
    """A record in one line: what can be seen at first sight."""
    parts = []
    if "contrast" in summary:
        parts.append(f"{summary['contrast']} contrast")
    parts.append(f"{summary['slices']} slices {summary['spacing (mm)']:.2g} mm apart")
    parts.append(f"gamma {summary['gamma']}")
    parts += [text for name, text in (("flip", "flipped"), ("skull strip", "skull stripped")) if _said(summary, name)]
    return ", ".join(parts).capitalize() + "."


def _said(summary: dict[str, str | float], name: str) -> bool:
    return str(summary.get(name, "no")).startswith("yes")
