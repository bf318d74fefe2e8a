"""Makes the figures of how-it-works.md from the bundled label map, seeds fixed: `python docs/make_figures.py`."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from napari_synthseg import anatomy
from napari_synthseg.generator.figure import PANELS, panel
from napari_synthseg.generator.presets import preset
from napari_synthseg.generator.sample import prepared, synthesize
from napari_synthseg.io import read_volume
from napari_synthseg.volume import Volume, to_canonical

IMAGES = Path(__file__).parent / "images"
MAP = anatomy.resources() / "samples" / "mni152_labels.nii.gz"
STEPS_SEED = 5
SEEDS = range(20, 28)


def coronal(volume: Volume) -> np.ndarray:
    """The middle coronal slice, the top of the head up, the patient's left on the left."""
    canonical = to_canonical(volume)
    return np.asarray(canonical.data)[:, canonical.shape[1] // 2, :].T


def shown(axes: Axes, volume: Volume, title: str, *, labels: bool = False) -> None:
    """A slice in its true proportions."""
    picture = coronal(volume)
    canonical = to_canonical(volume)
    if labels:
        picture = colours(picture)
    axes.imshow(
        picture, cmap="gray", origin="lower", aspect=canonical.spacing[2] / canonical.spacing[0], interpolation="none"
    )
    axes.set_title(title, fontsize=8)
    axes.axis("off")


def colours(values: np.ndarray) -> np.ndarray:
    """(..., 3) the colours of the label table; grey for what is around the brain."""
    out = np.zeros((*values.shape, 3))
    for value in np.unique(values):
        if value:
            known = anatomy.known(int(value))
            out[values == value] = np.array(anatomy.structure(int(value)).color[:3]) / 255 if known else 0.35
    return out


def steps_figure() -> None:
    """The six panels of Figure 3 of the paper, on the bundled label map."""
    volume = read_volume(MAP)
    ready, affine = prepared(volume)
    record = preset("synthseg").sample(ready, STEPS_SEED)
    figure, rows = plt.subplots(2, 3, figsize=(6.4, 4.8), layout="constrained")
    for axes, info in zip(rows.flat, PANELS, strict=True):
        made = panel(info.letter, record, ready, affine)
        shown(axes, made.volume, f"{info.letter}: {made.title}", labels=made.is_labels)
    saved(figure, "steps.png")


def samples_figure() -> None:
    """Eight samples of the same head."""
    figure, rows = plt.subplots(2, 4, figsize=(6.4, 3.4), layout="constrained")
    for axes, seed in zip(rows.flat, SEEDS, strict=True):
        shown(axes, synthesize(MAP, seed=seed).image, f"seed {seed}")
    saved(figure, "one_head.png")


def saved(figure: plt.Figure, name: str) -> None:
    figure.savefig(IMAGES / name, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    matplotlib.use("Agg")
    steps_figure()
    samples_figure()
