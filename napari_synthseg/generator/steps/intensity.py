"""Intensities: a smooth bias field (SynthSeg, eq. 14-17), clipping, rescaling and a random exponent (eq. 18-19)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, ClassVar, Self

from napari_synthseg.fields import Info, Range
from napari_synthseg.generator.step import Columns, Drawing, Params, Rng, Step, around, cell

if TYPE_CHECKING:
    from napari_synthseg.generator.head import HeadState


@dataclass(frozen=True)
class Bias(Step, name="bias", title="Bias field", place=50, models=("brains", "degradation")):
    """Multiply by a smooth random field."""

    columns: ClassVar[Columns] = {"bias": ("Standard deviation of the logarithm of the field.", cell("bias_std", 2))}

    bias_std: Annotated[
        Range,
        Info(label="Strength", symbol="b_B; σ_B of SynthSeg+", unit="log intensity", equation="eq. 14", low=0,
             slider=(0, 3), step=0.05),
    ] = (0, 0.5)  # fmt: skip
    """Standard deviation of the logarithm of the bias field at its control points."""
    bias_grid: Annotated[int, Info(label="Grid", unit="points", equation="4 in eq. 15", low=1, slider=(2, 16))] = 4
    """Control points of the bias field along each axis; more of them make it change faster."""

    def sample(self, rng: Rng, drawing: Drawing) -> Params:
        return {"bias_std": rng(*self.bias_std), "bias_grid": self.bias_grid, "bias_seed": rng.seed()}

    def milder(self, strength: float) -> Self:
        return replace(self, bias_std=around(0, self.bias_std, strength))

    @staticmethod
    def apply(head: HeadState, *, bias_std: float, bias_grid: int, bias_seed: int) -> None:
        """Multiply the image in place (eq. 16-17)."""
        from napari_synthseg.generator.head import bias_field

        if bias_std > 0:
            head.image *= bias_field(bias_std, bias_grid, bias_seed, head.knots(bias_grid))


@dataclass(frozen=True)
class Clip(Step, name="clip", title="Intensity augmentation", place=55):
    """Clip intensities."""

    clip_max: Annotated[
        float,
        Info(label="Clip above", unit="intensity, 0-255", low=0, slider=(50, 500), step=5,
             equation="reference implementation; the paper is silent"),
    ] = 300.0  # fmt: skip
    """Intensities are clipped to this after the bias field."""

    def sample(self, rng: Rng, drawing: Drawing) -> Params:
        return {"clip_max": self.clip_max}

    @staticmethod
    def apply(head: HeadState, *, clip_max: float) -> None:
        """Clip the image in place to [0, clip_max]."""
        head.image.clamp_(0.0, clip_max)


@dataclass(frozen=True)
class Gamma(Step, name="gamma", title="Intensity augmentation", place=60, models=("brains", "degradation")):
    """Rescale to [0, 1] and raise to a random power."""

    columns: ClassVar[Columns] = {
        "gamma": ("Exponent of the intensities: below 1 brightens, above 1 darkens.", cell("gamma", 2))}  # fmt: skip

    gamma_variance: Annotated[
        float, Info(symbol="σ²_γ", unit="log exponent", equation="eq. 18", low=0, slider=(0, 2), step=0.05)
    ] = 0.4
    """Variance of the logarithm of the exponent applied to the intensities; 0 leaves them as they are. Table S1 says
    0.4, taken at its word: a standard deviation of 0.63; the reference implementation's is 0.5."""
    gamma_exponent: Annotated[
        Range | None,
        Info(symbol="γ of SynthSeg+", equation="SynthSeg+, Table S1", above=0, slider=(0.1, 5), step=0.05,
             start=(0.9, 1.1)),
    ] = None  # fmt: skip
    """Range of the exponent itself, in place of the variance above."""

    def sample(self, rng: Rng, drawing: Drawing) -> Params:
        u = rng()
        if self.gamma_exponent is not None:
            low, high = self.gamma_exponent
            return {"gamma": low + (high - low) * u}
        return {"gamma": math.exp(math.sqrt(self.gamma_variance) * Rng.quantile(u))}

    def milder(self, strength: float) -> Self:
        return replace(self, gamma_variance=strength * self.gamma_variance)

    @staticmethod
    def apply(head: HeadState, *, gamma: float) -> None:
        """Rescale by the head's limits, or by the image's own extremes (eq. 19)."""
        from napari_synthseg.generator.head import rescale_and_gamma

        head.limits = head.limits or (head.image.min().item(), head.image.max().item())
        head.image = rescale_and_gamma(head.image, gamma, head.limits)
