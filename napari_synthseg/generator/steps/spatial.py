"""Spatial deformation: affine and diffeomorphic transforms, left/right flips (SynthSeg, eq. 1-10), and crops."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

from napari_synthseg.fields import Info, Probability, Range
from napari_synthseg.generator.step import Columns, Drawing, Params, Rng, Step, Triple, around, cell

if TYPE_CHECKING:
    from napari_synthseg.generator.head import HeadState


@dataclass(frozen=True)
class Spatial(Step, name="spatial", title="Spatial deformation", place=20, models=("brains", "degradation")):
    """Rotate, scale, shear, shift and bend; every pair is a uniform range (low, high)."""

    columns: ClassVar[Columns] = {
        "flip": ("Whether left and right were exchanged.", cell("flip")),
        "deformation (mm)": ("Standard deviation of the velocity field.", cell("velocity_std", 2)),
        "rotation (°)": ("Largest rotation about an axis, with its sign.",
                         lambda params: round(float(sorted(params["rotation_deg"], key=abs)[-1]), 1)),
        "scaling": ("Change of volume: product of the three scalings.",
                    lambda params: round(math.prod(params["scaling"]), 2)),
        "shift (mm)": ("Length of the translation.", lambda params: round(math.hypot(*params["translation_mm"]), 1)),
    }  # fmt: skip

    rotation_deg: Annotated[Range, Info(symbol="a_rot, b_rot", equation="eq. 1", slider=(-90, 90), step=1)] = (-15, 15)
    """Rotation about each of the three axes."""
    scaling: Annotated[
        Range, Info(symbol="a_sc, b_sc", equation="eq. 2", above=0, slider=(0.3, 2), step=0.05)
    ] = (0.85, 1.15)  # fmt: skip
    """Scaling along each axis; 1 keeps the size, above 1 shrinks the head."""
    shearing: Annotated[
        Range, Info(symbol="a_sh, b_sh", equation="eq. 3", slider=(-0.2, 0.2), step=0.002)
    ] = (-0.012, 0.012)  # fmt: skip
    """Shearing of each pair of axes."""
    translation_mm: Annotated[Range, Info(symbol="a_tr, b_tr", equation="eq. 4", slider=(-80, 80), step=1)] = (-20, 20)
    """Shift along each axis."""
    velocity_std: Annotated[
        Range,
        Info(symbol="b_nonlin; σ_v of SynthSeg+", equation="eq. 6-9", unit="mm", low=0, slider=(0, 12), step=0.1,
             label="Non-linear"),
    ] = (0, 3)  # fmt: skip
    """Standard deviation of the random velocity field that is integrated to a smooth deformation."""
    velocity_grid: Annotated[int, Info(unit="points", equation="10 in eq. 7", low=1, slider=(2, 32))] = 10
    """Control points of the velocity field along each axis; more of them bend smaller parts."""
    flip: Annotated[Probability, Info(equation="section 4.2")] = 0.5
    """How often left and right are exchanged, in the image and in the labels."""

    def sample(self, rng: Rng, drawing: Drawing) -> Params:
        return {
            "flip": rng.chance(self.flip),
            "rotation_deg": rng.triple(self.rotation_deg),
            "scaling": rng.triple(self.scaling),
            "shearing": rng.triple(self.shearing),
            "translation_mm": rng.triple(self.translation_mm),
            "velocity_std": rng(*self.velocity_std),
            "velocity_grid": self.velocity_grid,
            "velocity_seed": rng.seed(),
        }

    def milder(self, strength: float) -> Self:
        middles = {"rotation_deg": 0, "scaling": 1, "shearing": 0, "translation_mm": 0, "velocity_std": 0}
        mild: dict[str, Any] = {name: around(at, getattr(self, name), strength) for name, at in middles.items()}
        return replace(self, **mild)

    @staticmethod
    def apply(
        head: HeadState,
        *,
        flip: bool,
        rotation_deg: Triple,
        scaling: Triple,
        shearing: Triple,
        translation_mm: Triple,
        velocity_std: float,
        velocity_grid: int,
        velocity_seed: int,
    ) -> None:
        """Look up every voxel's place in the label map, or in the scan (eq. 10)."""
        from napari_synthseg.generator.deformation import Transform, affine_matrix

        linear, velocity = affine_matrix(rotation_deg, scaling, shearing), (velocity_std, velocity_grid, velocity_seed)
        head.deform(Transform(linear, translation_mm, flip, velocity))


@dataclass(frozen=True)
class Crop(Step, name="crop", title="Crop", place=0):
    """Place a random crop; it lies anywhere in the room that the label map leaves it (section 4.2)."""

    def sample(self, rng: Rng, drawing: Drawing) -> Params:
        return {"at": rng.triple((0.0, 1.0))}

    @staticmethod
    def apply(head: HeadState, *, at: Triple) -> None:
        """Do nothing: where a head lies is its grid's matter, see `crop_grid`."""
