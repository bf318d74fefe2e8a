"""Checkpoints: written so that a crash or a full disk never costs the one before, read without unpickling."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from napari_synthseg.errors import InputError


def atomic_save(state: dict[str, Any], path: Path) -> None:
    """Write a checkpoint so that a reader never sees half of one.

    Raises:
        OSError: it cannot be written, such as on a full disk; what was there before stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(path.suffix + ".part")
    try:
        with part.open("wb") as f:
            torch.save(state, f)
            f.flush()
            os.fsync(f.fileno())  # else a crash of the machine may leave an empty file under the good one's name
        os.replace(part, path)
    except RuntimeError as error:  # what torch makes of a write that fails
        raise OSError(f"The checkpoint {path} cannot be written: is the disk full?") from error
    finally:
        part.unlink(missing_ok=True)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint; nothing is unpickled but tensors and plain numbers.

    Raises:
        InputError: if it cannot be read.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise InputError(
            f"{path} is not a checkpoint of this program or is damaged: start the run anew or pick another."
        ) from error
