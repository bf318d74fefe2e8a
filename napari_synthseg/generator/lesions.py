"""White matter lesions for label maps that have none (ours): what is drawn of them, as a small record.

They stand for white matter hyperintensities of small vessel disease and of multiple sclerosis. `lesion_painting` puts
them into a label map.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from napari_synthseg.anatomy import CORTEX, WHITE_MATTER
from napari_synthseg.generator.labelmap import LabelMap
from napari_synthseg.generator.plain import Plain
from napari_synthseg.generator.priors import Priors

SKEW = 3
"""The load is low + (high - low) x uniform ** SKEW: small loads are common, large ones rare."""
LEAST_CONTRAST = 12.0
"""Between the means of lesions and white matter, intensities in [0, 255]: what nobody can see nobody can learn."""


@dataclass(frozen=True)
class LesionRecord(Plain):
    """The lesions of one sample."""

    load_ml: float
    """Volume of all of them on the label map, before the deformation."""
    periventricular: float
    """Share of the load in caps and bands around the ventricles, 0-1."""
    size_mm3: tuple[float, float]
    """Volumes of deep lesions: log-uniform between these."""
    symmetry: float
    """How alike both sides are, 0-1."""
    mean: float
    """Of their Gaussian, intensity in [0, 255]."""
    std: float
    """Standard deviation of their Gaussian."""
    seed: int
    """Of places, sizes and shapes."""


def draw_lesions(
    priors: Priors,
    label_map: LabelMap,
    take: Iterator[float],
    seed: int,
    contrast: str,
    means: Sequence[float],
    stds: Sequence[float],
) -> LesionRecord | None:
    """The lesions of one sample, or None where the priors ask for none or the map has no white matter.

    Args:
        priors: the hyperparameters.
        label_map: only its table is used.
        take: uniform numbers from 0 to 1; as many are taken always.
        seed: of places, sizes and shapes.
        contrast: how the means were drawn, see `Record.contrast`.
        means, stds: (K,) the Gaussians of the map's labels.
    """
    u = [next(take) for _ in range(7)]
    slots = [label_map.values.index(v) for v in WHITE_MATTER if v in label_map.values]
    if priors.lesion_load_ml[1] <= 0 or not slots:
        return None

    def between(bounds: tuple[float, float], share: float) -> float:
        return bounds[0] + (bounds[1] - bounds[0]) * share

    mean, std = _gaussian(priors, label_map, contrast, means, stds, slots, u[3:])
    return LesionRecord(
        load_ml=between(priors.lesion_load_ml, u[0] ** SKEW),
        periventricular=between(priors.lesion_periventricular, u[1]),
        size_mm3=priors.lesion_size_mm3,
        symmetry=between(priors.lesion_symmetry, u[2]),
        mean=mean,
        std=std,
        seed=seed,
    )


def _gaussian(
    priors: Priors,
    label_map: LabelMap,
    contrast: str,
    means: Sequence[float],
    stds: Sequence[float],
    white_slots: Sequence[int],
    u: Sequence[float],
) -> tuple[float, float]:
    """Mean and standard deviation: independent as SynthSeg's, or, where tissues look alike, wet or grey white matter.

    Demyelinated white matter holds more water: its intensity lies between those of white matter and fluid (T1, T2, CT).
    Where fluid is suppressed (FLAIR, and often PD) it goes from white matter past grey matter.
    """
    white = sum(means[i] for i in white_slots) / len(white_slots)
    low, high = priors.mean
    if contrast == "independent":
        mean, std = low + (high - low) * u[1], priors.std[0] + (priors.std[1] - priors.std[0]) * u[2]
    else:
        slot = {v: i for i, v in enumerate(label_map.values)}
        other, near, far = ((4, 43), 0.2, 0.8) if u[0] < 0.6 else (CORTEX, 0.8, 2.0)
        there = [means[slot[v]] for v in other if v in slot] or [white]
        mean = white + (sum(there) / len(there) - white) * (near + (far - near) * u[1])
        std = stds[white_slots[0]] * (0.8 + 0.7 * u[2])
    if abs(mean - white) < LEAST_CONTRAST:
        away = LEAST_CONTRAST if (mean > white, u[3] < 0.5)[mean == white] else -LEAST_CONTRAST
        mean = white + away if low <= white + away <= high else white - away
    return min(max(mean, low), high), std
