"""How to follow an object through a volume: the options of both faces (no torch)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from napari_synthseg.errors import InputError


@dataclass(frozen=True)
class PropagateOptions:
    """How far an object is followed."""

    direction: Literal["both", "up", "down"] = "both"
    """To slices of higher numbers (up), of lower ones (down), or both."""
    least_score: float = 0.5
    """End where the model expects a smaller overlap (IoU) with the truth, 0-1."""
    least_overlap: float = 0.4
    """End where the mask overlaps less (Dice) with that of the slice before, 0-1."""
    most_growth: float = 2.0
    """End where the area grows more than so many times from a slice to the next, 1 or more."""
    most_slices: int | None = None
    """Go no further than so many slices from a marked one, 1 or more; to the end, if not given."""

    def __post_init__(self) -> None:
        """Refuse options out of range."""
        if self.direction not in ("both", "up", "down"):
            raise InputError(f"The direction {self.direction!r} is not known; choose both, up or down.")
        for name in ("least_score", "least_overlap"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"The {name.replace('_', ' ')} must lie between 0 and 1, not {getattr(self, name)}.")
        if not self.most_growth >= 1:
            raise InputError(f"The most growth must be 1 or more, not {self.most_growth}.")
        if self.most_slices is not None and self.most_slices < 1:
            raise InputError(f"The number of slices must be 1 or more, not {self.most_slices}.")
