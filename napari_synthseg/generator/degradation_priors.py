"""The priors of SynthSeg+'s degradation model (section 2.3 there; its Table S1, last column). No torch here."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from napari_synthseg.generator.prior_checks import check_count, check_direction, check_prior
from napari_synthseg.generator.priors import Range

_SIGNED = ("rotation_deg", "shearing", "translation_mm")
_POSITIVE = ("scaling", "gamma_exponent", "slice_spacing_mm")


@dataclass(frozen=True)
class DegradationPriors:
    """Hyperparameters of the degradation model; every pair is a uniform range (low, high).

    They are far wider than those of the generative model, so that a segmentation of the result probably goes wrong.
    Table S1 gives variances of the velocity and bias fields: the bounds here are their square roots. Within them the
    standard deviation is drawn uniformly, as by SynthSeg (its eqs. 6 and 14) and its code, whose model this is; read
    to the letter the table has the variance uniform, which is two thirds instead of half of the largest deviation on
    average.
    """

    rotation_deg: Range = (-25.0, 25.0)
    """Rotation about each axis, degrees."""
    scaling: Range = (0.5, 1.5)
    """Scaling along each axis."""
    shearing: Range = (-0.02, 0.02)
    """Shearing. Table S1 prints [0.02, 0.02], which must have lost a sign."""
    translation_mm: Range = (-50.0, 50.0)
    """Translation along each axis, mm."""
    velocity_std: Range = (0.0, 2.0)
    """Standard deviation of the velocity field, mm (sigma_v; its variance is [0, 4])."""
    velocity_grid: int = 10
    """Control points of the velocity field along each axis (eq. 7 of SynthSeg)."""
    bias_std: Range = (0.0, math.sqrt(3.0))
    """Standard deviation of the logarithm of the bias field's control points (sigma_B; its variance is [0, 3])."""
    bias_grid: int = 4
    """Control points of the bias field along each axis (eq. 15 of SynthSeg)."""
    gamma_exponent: Range = (0.3, 3.0)
    """Exponent of the intensities (gamma)."""
    slice_direction: int | None = None
    """Slice direction: 0 sagittal, 1 coronal, 2 axial; None: random."""
    slice_spacing_mm: Range = (1.0, 12.0)
    """Slice spacing along the slice direction, mm (r_sp)."""
    slice_blur_mm: Range = (0.5, 8.0)
    """Standard deviation of the slice profile, mm (sigma_th)."""
    noise_std: Range = (0.0, 50.0)
    """Standard deviation of white noise added to the slices, intensities in [0, 255] (sigma_E)."""

    def __post_init__(self) -> None:
        """Refuse priors that cannot be meant."""
        for name in (f.name for f in fields(self)):
            value = getattr(self, name)
            if name in ("velocity_grid", "bias_grid"):
                check_count(name, value)
            elif name == "slice_direction":
                check_direction(name, value)
            else:
                check_prior(name, value, signed=name in _SIGNED, positive=name in _POSITIVE)
