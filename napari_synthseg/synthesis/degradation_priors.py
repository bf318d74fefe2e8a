"""The priors of SynthSeg+'s degradation model (section 2.3 there; its Table S1, last column). No torch here."""

from __future__ import annotations

import math
from dataclasses import dataclass

from napari_synthseg.errors import InputError
from napari_synthseg.synthesis.priors import Range


@dataclass(frozen=True)
class DegradationPriors:
    """Hyperparameters of the degradation model; every pair is a uniform range (low, high).

    They are far wider than those of the generative model, so that a segmentation of the result probably goes wrong.
    Table S1 gives variances of the velocity and bias fields: the bounds here are their square roots.
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
        for name in ("rotation_deg", "scaling", "shearing", "translation_mm", "velocity_std", "bias_std",
                     "gamma_exponent", "slice_spacing_mm", "slice_blur_mm", "noise_std"):  # fmt: skip
            low, high = getattr(self, name)
            if not (math.isfinite(low) and math.isfinite(high)):
                raise InputError(f"The prior {name} must be finite.")
            if low > high:
                raise InputError(f"The prior {name} has a lower bound ({low:g}) above its upper bound ({high:g}).")
        for name in ("scaling", "gamma_exponent", "slice_spacing_mm"):
            if getattr(self, name)[0] <= 0:
                raise InputError(f"The prior {name} must be above 0.")
        for name in ("velocity_std", "bias_std", "slice_blur_mm", "noise_std"):
            if getattr(self, name)[0] < 0:
                raise InputError(f"The prior {name} cannot be negative.")
        for name in ("velocity_grid", "bias_grid"):
            if getattr(self, name) < 1:
                raise InputError(f"The prior {name} must be at least 1.")
        if self.slice_direction not in (None, 0, 1, 2):
            raise InputError("The prior slice_direction is 0 (sagittal), 1 (coronal) or 2 (axial).")
