"""Checkpoints, written atomically and read without unpickling."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from napari_synthseg.errors import InputError
from napari_synthseg.networks.subvoxel import SubvoxelUNet
from napari_synthseg.training.folder import checkpoint
from napari_synthseg.weights import store


def atomic_save(state: dict[str, Any], path: Path) -> None:
    """Write a checkpoint atomically.

    Raises:
        OSError: it cannot be written, such as on a full disk; the one before stays.
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
    """Read a checkpoint; only tensors and plain numbers are unpickled.

    Raises:
        InputError: if it cannot be read.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise InputError(
            f"{path} is not a checkpoint of this program or is damaged: start a new run or choose another."
        ) from error


def trained_state(run: Path, stage: str, *, best: bool = False) -> dict[str, Any]:
    """Read a stage's checkpoint to export weights from.

    Args:
        run: the run's folder.
        stage: such as "locate".
        best: read the one with the best validation score, not the newest.

    Raises:
        InputError: there is none, such as of a stage that was never validated, or it is damaged.
    """
    path = checkpoint(run, stage, "best" if best else "")
    if best and not path.exists() and checkpoint(run, stage).exists():
        raise InputError(
            f"The stage {stage} of {run} has no validation score, so no best checkpoint: leave out --best."
        )
    if not path.exists():
        raise InputError(f"The run {run} has no checkpoint {path.name}: train that stage first.")
    return load_checkpoint(path)


def start_from(model: Any, name: str) -> None:
    """Give a network the weights of a trained one.

    Args:
        model: a segmentation network, with `labels`.
        name: of weights, or their file.

    Raises:
        InputError: there are no such weights, or their network, labels or sizes differ (fewer levels are fine).
    """
    source: Any = store.load_model(name)
    state = source.state_dict()
    for part, module in model.named_children():
        other = getattr(source, part, None)
        if isinstance(module, SubvoxelUNet) and isinstance(other, SubvoxelUNet):
            added = module.additional_levels(len(other.features))
            state |= {f"{part}.{name}": tensor for name, tensor in added.items()}
    try:
        if type(source) is not type(model) or tuple(source.labels) != tuple(model.labels):
            raise RuntimeError("another network")
        model.load_state_dict(state)
    except RuntimeError:
        raise InputError(
            f"Training cannot start from {name}: its network, labels or sizes differ from those asked for."
        ) from None
