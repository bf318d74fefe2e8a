"""What options of all recipes are checked for."""

from __future__ import annotations

from napari_synthseg.errors import InputError


def check_curriculum(curriculum: tuple[float, int]) -> None:
    """Refuse a curriculum that cannot be meant.

    Raises:
        InputError: its share does not lie between 0 and 1, or it has no step.
    """
    if not 0.0 <= curriculum[0] <= 1.0 or curriculum[1] < 1:
        raise InputError("The curriculum is a share from 0 to 1 and a number of steps of at least 1.")
