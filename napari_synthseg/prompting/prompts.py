"""What a user points at: points, a box and a mask on one slice, and the slices of a volume that are marked."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Prompts:
    """What was pointed at so far; positions are (row, column) of the image."""

    points: tuple[tuple[float, float], ...] = ()
    positive: tuple[bool, ...] = ()
    """Of each point: is it inside?"""
    box: Box | None = None
    """row0, column0, row1, column1, in either order of the corners."""
    mask: np.ndarray | None = field(default=None, compare=False)
    """(rows, columns), bool; or how probable inside is, 0-1."""

    @property
    def ask(self) -> bool:
        """Whether they ask for anything: points outside alone do not."""
        return any(self.positive) or self.box is not None or self.mask is not None


@dataclass(frozen=True, eq=False)
class Anchor:
    """A slice of a volume that the user marked."""

    mask: np.ndarray
    """(rows, columns), bool. Empty: the object is not there, and is followed no further than this slice."""
    prompts: Prompts = field(default_factory=Prompts)
    """What led to the mask."""
