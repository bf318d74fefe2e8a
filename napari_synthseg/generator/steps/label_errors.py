"""Errors of tissue maps, for training S2 of SynthSeg+ (section 2.2).

The paper says that true maps are randomly dilated, eroded and deformed, and gives no ranges: those here are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from napari_synthseg.anatomy import TISSUES
from napari_synthseg.fields import Info, Probability, Range
from napari_synthseg.generator.step import Drawing, Params, Rng, Step

if TYPE_CHECKING:
    from napari_synthseg.generator.head import HeadState


@dataclass(frozen=True)
class LabelErrors(Step, name="label_errors", title="Label errors", place=80, models=("tissues",)):
    """Bend, grow, shrink and blur tissue classes."""

    displacement_std: Annotated[Range, Info(unit="mm", low=0, slider=(0, 10), step=0.1)] = (0, 3)
    """Standard deviation of the displacements at the control points."""
    change: Probability = 0.5
    """How often a class is grown or shrunk."""
    reach: Annotated[float, Info(unit="mm", low=0, slider=(0, 10), step=0.1)] = 4.0
    """Farthest that the border of a class moves."""
    blur: Annotated[Range, Info(unit="mm", low=0, slider=(0, 10), step=0.1)] = (0.3, 2.5)
    """Standard deviation of the blur that makes maps soft."""

    def sample(self, rng: Rng, drawing: Drawing) -> Params:
        order = [(rng(), c) for c in range(1, len(TISSUES))]  # the background changes only as others do
        moves = {c: (rng.chance(self.change), rng(-self.reach, self.reach)) for _, c in order}
        return {
            "displacement_std": rng(*self.displacement_std),
            "seed": rng.seed(),
            "growth": tuple((c, moves[c][1]) for _, c in sorted(order) if moves[c][0]),
            "blur": rng(*self.blur),
        }

    @staticmethod
    def apply(
        head: HeadState, *, displacement_std: float, seed: int, growth: Sequence[tuple[int, float]], blur: float
    ) -> None:
        """Turn the head's tissue classes into soft maps."""
        from napari_synthseg.generator.degradation import with_errors

        head.soft = with_errors(head.labels, displacement_std, seed, growth, blur, len(TISSUES), head.spacing[0])
