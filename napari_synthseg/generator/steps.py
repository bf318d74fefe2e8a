"""The steps of the generative model as volumes: the six panels of Figure 3 of the SynthSeg paper."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from napari_synthseg.errors import InputError
from napari_synthseg.generator.acquisition import slice_positions
from napari_synthseg.generator.appearance import rescale_and_gamma
from napari_synthseg.generator.brains import (
    Grid,
    acquired,
    averaging,
    biased,
    deform,
    imaged_labels,
    intensity_limits,
    mixture,
    table_of,
)
from napari_synthseg.generator.labelmap import LabelMap
from napari_synthseg.generator.record import Record
from napari_synthseg.generator.sample import placed_affine, replay, sample_grid
from napari_synthseg.generator.step_table import STEPS, StepInfo
from napari_synthseg.volume import Volume

__all__ = ["STEPS", "StepInfo", "StepVolume", "step"]


@dataclass(frozen=True)
class StepVolume:
    """One panel.

    Attributes:
        letter: a to f.
        title: what the panel is called.
        volume: labels in FreeSurfer values (int32) for a and b, else float32 intensities: 0 to `Record.ceiling` or
            more for c, 0 to 1 from d on.
        labels: the segmentation target on the image's grid, for f only.
        is_labels: whether `volume` holds labels.
    """

    letter: str
    title: str
    volume: Volume
    labels: Volume | None
    is_labels: bool


def step(
    letter: str,
    record: Record,
    label_map: LabelMap,
    affine: np.ndarray,
    spacing: float | None = None,
    shape: Sequence[int] | None = None,
) -> StepVolume:
    """One step of making the sample that a record describes; step f is what `replay` gives.

    Args:
        letter: a to f, see `STEPS`.
        record: as drawn for this label map.
        label_map: on the device to compute on.
        affine: of the array the map came from.
        spacing: voxel size of a quick look, mm; by default the map's.
        shape: voxels of a crop at the map's spacing; by default the map's whole grid.

    Raises:
        InputError: there is no such step.
    """
    info = next((s for s in STEPS if s.letter == letter), None)
    if info is None:
        raise InputError(f"There is no step {letter!r}: choose one of {', '.join(s.letter for s in STEPS)}.")
    grid = sample_grid(record, label_map, shape, spacing)
    if letter == "f":
        made = replay(record, label_map, affine, shape, spacing)
        return StepVolume(letter, info.title, made.image, made.labels, False)
    placed = placed_affine(grid, label_map, affine)
    if letter == "a":
        index = deform(_at_rest(record), label_map, grid)
        return StepVolume(letter, info.title, _labels(index, label_map.values, placed), None, True)
    index = deform(record, label_map, grid)
    if letter == "b":
        values = table_of(record, label_map).values
        kept = [values[i] for i in imaged_labels(record, label_map)]
        return StepVolume(letter, info.title, _labels(index, kept, placed), None, True)
    image = mixture(record, label_map, index, averaging(grid))
    if letter in "de":
        image = biased(record, label_map, image, grid)
        limits = intensity_limits(record, label_map, index, grid)
        image = rescale_and_gamma(image, record.gamma, limits)
    if letter == "e":
        image = acquired(record, image, grid)
        placed = placed @ _stack_affine(record, grid)
    return StepVolume(letter, info.title, Volume(image.cpu().numpy(), placed), None, False)


def _at_rest(record: Record) -> Record:
    """The record without its spatial transform and without lesions."""
    still = {"rotation_deg": (0.0,) * 3, "scaling": (1.0,) * 3, "shearing": (0.0,) * 3, "translation_mm": (0.0,) * 3}
    return replace(record, flip=False, velocity_std=0.0, drawn_lesions=None, **still)  # type: ignore[arg-type]


def _labels(index: torch.Tensor, values: Sequence[int], affine: np.ndarray) -> Volume:
    """Indices as a volume of FreeSurfer values."""
    return Volume(np.array(values, np.int32)[index.cpu().numpy()], affine)


def _stack_affine(record: Record, grid: Grid) -> np.ndarray:
    """(4, 4) from slices to voxels of the grid."""
    axis = record.direction
    positions = slice_positions(grid.shape[axis], grid.spacing, record.slice_spacing_mm)
    matrix = np.eye(4)
    matrix[axis, axis] = max(record.slice_spacing_mm / grid.spacing, 1.0)
    matrix[axis, 3] = float(positions[0])
    return matrix
