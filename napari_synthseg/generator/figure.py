"""The six panels of Figure 3 of the SynthSeg paper: a head after some of its steps. Torch is imported lazily."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_synthseg.errors import InputError

if TYPE_CHECKING:
    from napari_synthseg.generator.labelmap import LabelMap
    from napari_synthseg.generator.model import Record
    from napari_synthseg.volume import Volume


@dataclass(frozen=True)
class PanelInfo:
    """One panel of the figure: a tip, with its place in the paper, and the last step that is applied (a has none)."""

    letter: str
    title: str
    tip: str
    step: str = ""


PANELS: tuple[PanelInfo, ...] = tuple(
    PanelInfo(letter, title, f"{text}\n{source}", step)
    for letter, title, text, source, step in (
        ("a", "Label map", "The label map as it is, before anything random.", "section 3.1.1", ""),
        ("b", "Deformed labels", "The labels after the random spatial transform; what skull stripping removes is gone.",
         "section 3.1.1, eq. 1-10", "labels"),
        ("c", "Gaussian mixture", "Each voxel drawn from the Gaussian of its label: contrast.",
         "section 3.1.2, eq. 11-13", "contrast"),
        ("d", "Bias field and gamma", "With a smooth bias field, rescaled to 0-1 and raised to a random power.",
         "section 3.1.3, eq. 14-19", "gamma"),
        ("e", "Slices as acquired",
         "Blurred by the slice thickness and sampled at the slice spacing: fewer, thicker slices.",
         "section 3.1.4, eq. 20-25", "acquisition"),
        ("f", "Training image", "Resampled to the full resolution, with the labels to be learned.",
         "sections 3.1.4-3.1.5, eq. 26", "acquisition"),
    )
)  # fmt: skip


@dataclass(frozen=True)
class Panel:
    """One panel as a volume.

    It holds FreeSurfer values (int32) for a and b, else float32 intensities: 0 to 255 or more for c, 0 to 1 from d on.
    """

    letter: str
    title: str
    volume: Volume
    labels: Volume | None
    """The segmentation target on the image's grid, for f only."""
    is_labels: bool


def panel(
    letter: str,
    record: Record,
    label_map: LabelMap,
    affine: np.ndarray,
    spacing: float | None = None,
    shape: Sequence[int] | None = None,
) -> Panel:
    """Make a sample up to one panel; f is the result of `replay`, whose arguments these are.

    Raises:
        InputError: there is no such panel.
    """
    from napari_synthseg.generator.head import HeadState, slice_positions
    from napari_synthseg.generator.model import run
    from napari_synthseg.generator.presets import STILL
    from napari_synthseg.generator.sample import placed_affine, replay, sample_grid, steady_limits
    from napari_synthseg.volume import Volume

    info = next((p for p in PANELS if p.letter == letter), None)
    if info is None:
        raise InputError(f"There is no step {letter!r}: choose one of {', '.join(p.letter for p in PANELS)}.")
    if letter == "f":
        made = replay(record, label_map, affine, shape, spacing)
        return Panel(letter, info.title, made.image, made.labels, False)
    grid = sample_grid(record, label_map, shape, spacing)
    placed = placed_affine(grid, label_map, affine)
    head = HeadState.of_map(label_map, grid)
    if letter == "a":  # at rest
        still = {name: (low,) * 3 for name, (low, _) in STILL.items()} | {"velocity_std": 0.0, "flip": False}
        run(record.without("lesions").changed("spatial", **still), head, until="spatial")
    else:
        run(record, head, until="labels")
    if letter in "ab":
        values = np.array(head.label_map.values, np.int32)
        shown = values if letter == "a" else values[list(head.shown)]  # FreeSurfer values of indices
        return Panel(letter, info.title, Volume(shown[head.labels.cpu().numpy()], placed), None, True)
    if letter != "c":
        head.limits = steady_limits(record, head, grid)
    head.stops_at_slices = True
    run(record, head, after="labels", until=info.step)
    if letter == "e":  # from slices to voxels of the grid
        axis, spacing = record["acquisition"]["direction"], record["acquisition"]["spacing_mm"]
        stack = np.eye(4)
        stack[axis, axis] = max(spacing / grid.spacing, 1.0)
        stack[axis, 3] = float(slice_positions(grid.shape[axis], grid.spacing, spacing)[0])
        placed = placed @ stack
    return Panel(letter, info.title, Volume(head.image.cpu().numpy(), placed), None, False)
