"""What options of all recipes are checked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from napari_synthseg.errors import InputError


def check_positive(options: object, names: Sequence[str]) -> None:
    """Refuse options that are not above 0; None is left alone.

    Raises:
        InputError: one of them is 0 or less.
    """
    for name in names:
        value = getattr(options, name)
        if value is not None and not value > 0:
            raise InputError(f"The option {name} must be above 0, not {value}.")


def check_shares(options: object, names: Sequence[str]) -> None:
    """Refuse shares out of range.

    Raises:
        InputError: one of them does not lie between 0 and 1.
    """
    for name in names:
        if not 0.0 <= getattr(options, name) <= 1.0:
            raise InputError(f"The option {name} is a share from 0 to 1, not {getattr(options, name)}.")


def check_curriculum(curriculum: tuple[float, int]) -> None:
    """Refuse a curriculum that cannot be meant.

    Raises:
        InputError: its share does not lie between 0 and 1, or it has no step.
    """
    if not 0.0 <= curriculum[0] <= 1.0 or curriculum[1] < 1:
        raise InputError("The curriculum is a share from 0 to 1 and a number of steps of at least 1.")


def check_weights_name(path: Path) -> None:
    """Refuse names of weights that end otherwise.

    Raises:
        InputError: the name does not end in .safetensors.
    """
    if path.suffix != ".safetensors":
        raise InputError(f"{path} must end in .safetensors: give such a name for the weights.")
