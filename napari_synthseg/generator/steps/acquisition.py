"""Acquisition in slices: spacing, thickness, partial volume (SynthSeg, eq. 20-26) and noise (SynthSeg+, eq. 2)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from napari_synthseg.fields import Info, Probability, Range
from napari_synthseg.generator.step import Columns, Drawing, Params, Rng, Step, around, cell

if TYPE_CHECKING:
    from napari_synthseg.generator.head import HeadState

DIRECTIONS = ("sagittal", "coronal", "axial")
"""What the slice directions 0, 1 and 2 are called."""
PLUS = "SynthSeg+, eq. 2 and Table S1"


@dataclass(frozen=True)
class Acquisition(Step, name="acquisition", title="Acquisition", place=70, models=("brains", "degradation")):
    """Acquire slices, and interpolate them back to voxels."""

    columns: ClassVar[Columns] = {
        "slices": ("Direction of the slices.", lambda params: DIRECTIONS[params["direction"]]),
        "spacing (mm)": ("Distance between the slices.", cell("spacing_mm", 2)),
        "thickness (mm)": ("Thickness of the slices.", cell("thickness_mm", 2)),
        "slice blur (mm)": ("Standard deviation of the slice profile.", cell("blur_mm", 2)),
        "noise": ("Standard deviation of the added noise, intensities 0-255.", cell("noise_std", 1)),
    }

    slice_direction: Annotated[
        Literal[0, 1, 2] | None, Info(equation="section 3.1.4", texts=dict(enumerate(DIRECTIONS)))
    ] = None
    """Direction of the slices; None for a random one each time."""
    slice_spacing_mm: Annotated[
        Range, Info(symbol="r_HR, b_res", equation="eq. 20", above=0, slider=(0.5, 15), step=0.1)
    ] = (1, 9)  # fmt: skip
    """Distance between the slices."""
    slice_thickness_mm: Annotated[
        Range | None,
        Info(symbol="r_thick", equation="eq. 21", above=0, slider=(0.5, 15), step=0.1, start=(1.0, 5.0)),
    ] = None  # fmt: skip
    """Thickness of the slices; without it, between 1 mm and the slice spacing."""
    p_isotropic_1mm: Annotated[Probability, Info(label="1 mm isotropic", equation="ours; 0 in the paper")] = 0.0
    """How often the scan is acquired at 1 mm in all directions."""
    thickness_factor: Annotated[
        Range, Info(symbol="a_α, b_α", equation="eq. 22", low=0, slider=(0.5, 2), step=0.01)
    ] = (0.95, 1.15)  # fmt: skip
    """Factor on the blur: real slices are not exactly as thick as they are said to be."""
    slice_blur_mm: Annotated[
        Range | None,
        Info(symbol="σ_th of SynthSeg+", equation=PLUS, low=0, slider=(0, 12), step=0.1, start=(0.5, 5.0)),
    ] = None  # fmt: skip
    """Standard deviation of the slice profile itself, in place of the thickness."""
    in_plane_blur: Annotated[
        float,
        Info(label="In-plane blur", unit="voxels of 1 mm", equation="reference implementation; the paper is silent",
             low=0, slider=(0, 3), step=0.05),
    ] = 0.5  # fmt: skip
    """Standard deviation of the blur across the other two axes."""
    noise_std: Annotated[
        Range,
        Info(label="Noise", symbol="σ_E of SynthSeg+", unit="intensity, 0-255", equation=f"{PLUS}; none in SynthSeg",
             low=0, slider=(0, 100), step=1),
    ] = (0, 0)  # fmt: skip
    """Standard deviation of white noise added to the slices."""

    def sample(self, rng: Rng, drawing: Drawing) -> Params:
        direction = rng.choice(3)
        if self.slice_direction is not None:
            direction = self.slice_direction
        spacing, isotropic = rng(*self.slice_spacing_mm), rng.chance(self.p_isotropic_1mm)
        if isotropic:
            spacing = 1.0
        thickness = rng(*(self.slice_thickness_mm or (min(1.0, spacing), spacing)))
        factor, profile = rng(*self.thickness_factor), rng(*(self.slice_blur_mm or (0, 0)))
        blur = factor * 2.0 * math.log(10.0) / (2.0 * math.pi) * thickness  # eq. 23
        if thickness <= 1.0:
            blur = factor * self.in_plane_blur  # as in plane: nothing thicker than a voxel was acquired (code)
        if self.slice_blur_mm is not None:
            blur = profile
        return {
            "direction": direction,
            "spacing_mm": spacing,
            "thickness_mm": thickness,
            "blur_mm": blur,
            "in_plane_blur": self.in_plane_blur * factor,
            "noise_std": rng(*self.noise_std),
            "noise_seed": rng.seed(),
        }

    def milder(self, strength: float) -> Self:
        spacing, isotropic = around(1, self.slice_spacing_mm, strength), 1.0 - strength * (1.0 - self.p_isotropic_1mm)
        return replace(self, slice_spacing_mm=spacing, p_isotropic_1mm=isotropic)

    @staticmethod
    def apply(
        head: HeadState,
        *,
        direction: int,
        spacing_mm: float,
        thickness_mm: float,
        blur_mm: float,
        in_plane_blur: float,
        noise_std: float,
        noise_seed: int,
    ) -> None:
        """Blur (eq. 24), sample the slices (eq. 25), add noise (eq. 2 of SynthSeg+), interpolate back (eq. 26)."""
        from napari_synthseg.generator.head import acquired

        head.image = acquired(head, direction, spacing_mm, (blur_mm, in_plane_blur), noise_std, noise_seed)
