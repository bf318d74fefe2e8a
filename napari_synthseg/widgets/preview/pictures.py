"""The preview's data between threads: sources to start from, and pictures ready for layers. No Qt, no torch."""

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
"""Key in the figures of a progress report: a picture to show at once."""
FLAT = {"scale": (1.0, 1.0), "translate": (0.0, 0.0), "axis_labels": ("row", "column"), "metadata": {}}
"""Layer geometry of a 2D picture."""


@dataclass(frozen=True)
class PreviewSource:
    """A label map or scan to start from, as a worker needs it."""

    key: Hashable
    """Equal for equal voxels."""
    name: str
    """For file names and messages."""
    path: Path | None = None
    """A file or folder; None for a layer without a file."""
    scan: LayerScan | None = None
    """Of a layer."""

    @property
    def place(self) -> Path:
        """The path for a command line; a layer without a file has to be saved under its own name first."""
        return self.path or Path(f"{self.name}.nii.gz")


def bundled() -> PreviewSource:
    path = resources() / "samples" / "mni152_labels.nii.gz"
    return PreviewSource("bundled", "mni152_labels", path if path.is_file() else None)


@dataclass(frozen=True)
class Shown:
    """The content of one layer."""

    data: np.ndarray
    """(S, A, R), or (rows, columns) of a 2D picture."""
    geometry: dict[str, Any]
    """Keyword arguments of a layer: scale, translate, units, axis labels, metadata."""
    limits: tuple[float, float] = (0.0, 1.0)
    """Contrast limits of an image."""
    volumes_mm3: dict[int, float] | None = None
    """By label value."""
    table: dict[str, list[Any]] | None = None
    """Features of a Labels layer whose values are no structures."""


@dataclass(frozen=True)
class ScenePrompts:
    """A target object, and points that prompt for it."""

    target: int
    """Its label."""
    points: np.ndarray
    """(N, 2) row and column, pixels."""
    inside: np.ndarray
    """(N,) bool: positive or negative point."""


@dataclass(frozen=True)
class Picture:
    """A preview: an image, labels, or both."""

    image: Shown | None
    labels: Shown | None
    record: dict[str, Any]
    """JSON content of the record, kept in the image layer's metadata."""
    summary: dict[str, str | float]
    """The record as columns of a table."""
    spacing: tuple[float, ...]
    """Voxel size, mm; pixels of a 2D picture."""
    quick: bool
    """Whether this is the quick look."""
    prompts: ScenePrompts | None = None


@dataclass(frozen=True)
class Thumbnail:
    """One of several samples: its seed, a small picture, and its record as columns of a table."""

    seed: int
    picture: np.ndarray
    """(rows, columns) uint8."""
    summary: dict[str, str | float]


def shown_image(volume: Volume, limits: tuple[float, float] = (0.0, 1.0)) -> Shown:
    array, geometry = volume_to_layer(volume)
    return Shown(np.ascontiguousarray(array), geometry, limits)


def shown_labels(volume: Volume) -> Shown:
    array, geometry = volume_to_layer(volume)
    array = labels_array(array)
    return Shown(array, geometry, volumes_mm3=counted_volumes(array, volume.voxel_mm3))


def axial_slice(data: np.ndarray) -> np.ndarray:
    """Return the middle axial slice of a canonical (R, A, S) image in 0-1: uint8, front up, left on the left."""
    plane = data[:, ::-1, int(data.shape[2] * 0.55)].T
    return np.ascontiguousarray(np.clip(plane * 255, 0, 255).astype(np.uint8))


def objects_table(made: Scene, objects: np.ndarray) -> dict[str, list[Any]]:
    """Return the features of a scene's Labels layer, one row per object."""
    areas = np.bincount(objects.ravel(), minlength=made.count + 1)
    return {
        "index": [*range(made.count + 1)],
        "name": ["No object", *(f"Object {number}" for number in range(1, made.count + 1))],
        "area (pixels)": [int(area) for area in areas],
        "visibility": [np.nan, *(round(seen, 2) for seen in made.visibility)],
    }


def scene_prompts(made: Scene, seed: int, turn: int) -> ScenePrompts:
    """Draw a target and points for it as in training; `turn` 0, 1, ... chooses among the random targets."""
    import torch

    from napari_synthseg.generator.shapes.scenes import pick_target
    from napari_synthseg.training.data.prompts import Window, draw_plan, draw_points

    generator = torch.Generator().manual_seed((~seed + 7919 * turn) % 2**31)  # not the scene's own
    number = pick_target(made, generator)
    plan = draw_plan(generator, boxes=False, masks=False)
    whole = Window(0, 0, made.objects.shape[0])
    points, signs = draw_points(made.target(number), whole, made.extent, plan, generator)
    return ScenePrompts(number, points.cpu().numpy(), signs.cpu().numpy() > 0.5)


def described(summary: dict[str, str | float]) -> str:
    parts = [f"{summary['contrast']} contrast"] if "contrast" in summary else []
    parts.append(f"{summary['slices']} slices {summary['spacing (mm)']:.2g} mm apart")
    parts.append(f"gamma {summary['gamma']}")
    done = {"flip": "flipped", "skull strip": "skull stripped"}
    parts += [text for name, text in done.items() if str(summary.get(name, "no")).startswith("yes")]
    return ", ".join(parts).capitalize() + "."


SETTINGS = {"body": "in a body", "ground": "on a ground", "cells": "a crowd of cells"}


def described_scene(summary: dict[str, str | float]) -> str:
    counted = "labels" if summary["module"] == "boundary" else "shapes"
    look = str(summary["looks like"])
    parts = [look.upper() if look in ("ct", "mr") else look.capitalize(), f"{summary[counted]} {counted}"]
    parts.append(SETTINGS[str(summary["setting"])])
    parts += [f"acquired {summary['acquired']}", f"gamma {summary['gamma']}"]
    return ", ".join(parts + ["inverted"] * (summary["inverted"] == "yes")) + "."
