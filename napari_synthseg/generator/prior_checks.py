"""What a prior may be: the checks that the tables of priors share."""

from __future__ import annotations

import math
from collections.abc import Sequence

from napari_synthseg.errors import InputError


def check_prior(
    name: str,
    value: float | Sequence[float],
    *,
    signed: bool = False,
    positive: bool = False,
    probability: bool = False,
) -> None:
    """Refuse a number, or a uniform range (low, high), that cannot be meant.

    Args:
        name: the field.
        value: what it is.
        signed: whether it may be below 0.
        positive: whether it must be above 0.
        probability: whether it must lie in 0-1.

    Raises:
        InputError: with a sentence that names the field.
    """
    low, high = value if isinstance(value, Sequence) else (value, value)
    if not (math.isfinite(low) and math.isfinite(high)):
        raise InputError(f"The prior {name} must be finite.")
    if low > high:
        raise InputError(f"The prior {name} has a lower bound ({low:g}) above its upper bound ({high:g}).")
    if probability and (low < 0 or high > 1):
        raise InputError(f"The prior {name} is a probability: give a number from 0 to 1.")
    if low < 0 and not signed:
        raise InputError(f"The prior {name} cannot be negative.")
    if positive and low <= 0:
        raise InputError(f"The prior {name} must be above 0.")


def check_count(name: str, value: int) -> None:
    """Refuse a number of control points below 1.

    Raises:
        InputError: with a sentence that names the field.
    """
    if value < 1:
        raise InputError(f"The prior {name} must be at least 1.")


def check_direction(name: str, value: int | None) -> None:
    """Refuse what is no slice direction.

    Raises:
        InputError: with a sentence that names the field.
    """
    if value not in (None, 0, 1, 2):
        raise InputError(f"The prior {name} is 0 (sagittal), 1 (coronal) or 2 (axial).")
