"""What options of all recipes are checked for."""

from __future__ import annotations

from pathlib import Path

from napari_synthseg.errors import InputError


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
