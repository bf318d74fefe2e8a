"""One draw from the generative model's priors: a small, serialisable record that can be replayed, edited and batched.

Everything random is drawn here, on the CPU, from a `torch.Generator`; fields and noise are kept as a strength and a
seed, so that changing a strength keeps the pattern. Equations are those of the SynthSeg paper.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Self

import torch

from napari_synthseg.generator.labelmap import LabelMap
from napari_synthseg.generator.lesions import LesionRecord, draw_lesions
from napari_synthseg.generator.plain import Plain
from napari_synthseg.generator.priors import Priors
from napari_synthseg.generator.tissues import tissue_means

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Record(Plain):
    """Parameters of one sample; lengths in mm, angles in degrees, intensities in [0, 255]."""

    flip: bool
    lesions: bool
    skull_strip: str
    """"none", "all" or "keep-csf"."""
    rotation_deg: Triple
    scaling: Triple
    shearing: Triple
    translation_mm: Triple
    velocity_std: float
    velocity_grid: int
    velocity_seed: int
    contrast: str
    """"independent", "tissue" or "given": how the means were drawn."""
    means: tuple[float, ...]
    """(K,) mean of each label's Gaussian."""
    stds: tuple[float, ...]
    """(K,) standard deviation of each label's Gaussian."""
    noise_seed: int
    bias_std: float
    bias_grid: int
    bias_seed: int
    ceiling: float
    gamma: float
    """The exponent exp(gamma) of eq. 19."""
    direction: int
    """Slice direction: 0 sagittal, 1 coronal, 2 axial."""
    slice_spacing_mm: float
    slice_thickness_mm: float
    slice_blur_mm: float
    """Standard deviation of the slice profile (eq. 23), deviation factor included."""
    in_plane_blur: float
    noise_std: float
    crop: Triple
    """Where a random crop lies in the room it has, 0 to 1 along each axis."""
    drawn_lesions: LesionRecord | None = None
    """White matter lesions beside those of the map; None where the priors ask for none."""

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, lists and strings; without lesions, what it was before there were any."""
        plain = super().to_dict()
        if self.drawn_lesions is None:
            del plain["drawn_lesions"]
        return plain

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """The inverse of `to_dict`.

        Raises:
            KeyError: a field is missing.
        """
        lesions = data.get("drawn_lesions")
        return super().from_dict({**data, "drawn_lesions": lesions and LesionRecord.from_dict(lesions)})


def draw(priors: Priors, label_map: LabelMap, generator: torch.Generator) -> Record:
    """Draw one record.

    The number of random values taken does not depend on the priors, so that changing one prior changes nothing else.

    Args:
        priors: the hyperparameters.
        label_map: the map to be turned into an image; only its table is used.
        generator: a CPU generator; its state moves on.
    """
    u = torch.rand(64, generator=generator, dtype=torch.float64).tolist()
    take = iter(u)
    seeds = torch.randint(0, 2**62, (8,), generator=generator).tolist()

    def uniform(bounds: tuple[float, float]) -> float:
        return bounds[0] + (bounds[1] - bounds[0]) * next(take)

    def triple(bounds: tuple[float, float]) -> Triple:
        return (uniform(bounds), uniform(bounds), uniform(bounds))

    def chance(probability: float) -> bool:
        return next(take) < probability

    flip, lesions = chance(priors.flip), chance(priors.lesions)
    strip, keep_csf = chance(priors.skull_strip), chance(priors.skull_strip_keeps_csf)
    spatial = [triple(p) for p in (priors.rotation_deg, priors.scaling, priors.shearing, priors.translation_mm)]
    velocity_std, bias_std, noise_std = (uniform(p) for p in (priors.velocity_std, priors.bias_std, priors.noise_std))
    gamma_u = next(take)
    if priors.gamma_exponent is not None:
        gamma = priors.gamma_exponent[0] + (priors.gamma_exponent[1] - priors.gamma_exponent[0]) * gamma_u
    else:
        z = (
            math.sqrt(2.0)
            * torch.erfinv(torch.tensor(2.0 * gamma_u - 1.0, dtype=torch.float64).clamp(-1 + 1e-12, 1 - 1e-12)).item()
        )
        gamma = math.exp(math.sqrt(priors.gamma_variance) * z)
    direction = min(int(3 * next(take)), 2)
    if priors.slice_direction is not None:
        direction = priors.slice_direction
    spacing = uniform(priors.slice_spacing_mm)
    isotropic = chance(priors.one_millimetre)
    if isotropic:
        spacing = 1.0
    thickness = uniform(priors.slice_thickness_mm or (min(1.0, spacing), spacing))
    factor = uniform(priors.thickness_factor)
    blur = factor * 2.0 * math.log(10.0) / (2.0 * math.pi) * thickness  # eq. 23
    if thickness <= 1.0:
        blur = factor * priors.in_plane_blur  # as in plane: nothing thicker than a voxel was acquired (code)
    free_blur = uniform(priors.slice_blur_mm or (0.0, 0.0))
    if priors.slice_blur_mm is not None:
        blur = free_blur
    crop = triple((0.0, 1.0))
    by_tissue = chance(priors.tissue_contrast)
    background = next(take)
    means, stds, contrast = _contrast(priors, label_map, by_tissue, background, seeds[3])
    drawn_lesions = draw_lesions(priors, label_map, take, seeds[4], contrast, means, stds)
    return Record(
        flip=flip,
        lesions=lesions,
        skull_strip="none" if not strip else ("keep-csf" if keep_csf else "all"),
        rotation_deg=spatial[0],
        scaling=spatial[1],
        shearing=spatial[2],
        translation_mm=spatial[3],
        velocity_std=velocity_std,
        velocity_grid=priors.velocity_grid,
        velocity_seed=seeds[0],
        contrast=contrast,
        means=means,
        stds=stds,
        noise_seed=seeds[1],
        bias_std=bias_std,
        bias_grid=priors.bias_grid,
        bias_seed=seeds[2],
        ceiling=priors.ceiling,
        gamma=gamma,
        direction=direction,
        slice_spacing_mm=spacing,
        slice_thickness_mm=thickness,
        slice_blur_mm=blur,
        in_plane_blur=priors.in_plane_blur * factor,
        noise_std=noise_std,
        crop=crop,
        drawn_lesions=drawn_lesions,
    )


def _contrast(priors: Priors, label_map: LabelMap, by_tissue: bool, background: float, seed: int):
    """Means and standard deviations of every label (eq. 11-12), tied within a class."""
    g = torch.Generator().manual_seed(seed)
    n = max(label_map.classes) + 1
    unit = torch.rand(2, n, generator=g, dtype=torch.float64)
    normal = torch.randn(2, n, generator=g, dtype=torch.float64)
    mean = priors.mean[0] + (priors.mean[1] - priors.mean[0]) * unit[0]
    std = priors.std[0] + (priors.std[1] - priors.std[0]) * unit[1]
    contrast = "independent"
    if by_tissue:
        mean, std = tissue_means(label_map, mean, std, priors.mean, g, priors.t1_order)
        contrast = "tissue"
    if priors.class_means is not None and priors.class_stds is not None:
        for c, (centre, spread) in enumerate(zip(priors.class_means, priors.class_stds, strict=True)):
            if c < n and centre is not None and spread is not None:
                (a, b), (p, q) = centre, spread
                mean[c], std[c] = (a + b * normal[0, c]).clamp(0), (p + q * normal[1, c]).clamp(0)
        contrast = "given"
    elif background < priors.background_zero:
        mean[0], std[0] = 0.0, 0.0
    elif background < priors.background_zero + priors.background_low:
        mean[0], std[0] = 15.0 * unit[0, 0], 5.0 * unit[1, 0]
    at = torch.tensor(label_map.classes)
    return tuple(mean[at].tolist()), tuple(std[at].tolist()), contrast
