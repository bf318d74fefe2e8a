"""Checkpoints, written atomically and read without unpickling."""

from __future__ import annotations

import contextlib
import logging
import os
import re
from pathlib import Path
from typing import Any

import torch

from napari_synthseg.atomic_io import placed
from napari_synthseg.errors import InputError
from napari_synthseg.networks.subvoxel import SubvoxelUNet
from napari_synthseg.training.folder import checkpoint
from napari_synthseg.weights import store

logger = logging.getLogger(__name__)


def atomic_save(state: dict[str, Any], path: Path) -> None:
    """Write a checkpoint atomically; after an `OSError`, such as on a full disk, the one before stays."""
    try:
        with placed(path) as part, part.open("wb") as f:
            torch.save(state, f)
            f.flush()
            os.fsync(f.fileno())  # else a crash of the machine may leave an empty file under the good one's name
    except RuntimeError as error:  # torch's error of a failed write
        raise OSError(f"The checkpoint {path} cannot be written: is the disk full?") from error


def save_newest(state: dict[str, Any], run: Path, stage: str) -> None:
    """Write the newest checkpoint of a stage (see `atomic_save`), and keep the one before in case it gets damaged."""
    newest, previous = checkpoint(run, stage), checkpoint(run, stage, "previous")
    before = previous.with_suffix(".link")
    with contextlib.suppress(OSError):  # no links on this disk
        before.unlink(missing_ok=True)
        os.link(newest, before)
    try:
        atomic_save(state, newest)
        if before.exists():
            os.replace(before, previous)
    finally:
        before.unlink(missing_ok=True)


def load_newest(run: Path, stage: str) -> tuple[dict[str, Any], str]:
    """Read the newest checkpoint of a stage, or the newest undamaged one.

    Returns:
        The checkpoint, and a sentence about a damaged one (empty if the newest is good).

    Raises:
        InputError: none can be read.
    """
    newest = checkpoint(run, stage)
    try:
        return load_checkpoint(newest), ""
    except InputError:
        kinds = re.compile(rf"{re.escape(stage)}-(best|stable|previous|\d+)")
        found: list[tuple[int, str, dict[str, Any]]] = []
        for path in newest.parent.glob("*.pt"):
            if kinds.fullmatch(path.stem):
                with contextlib.suppress(InputError):
                    state = load_checkpoint(path)
                    found.append((int(state["step"]), path.name, state))
        if not found:
            raise
        step, name, state = max(found, key=lambda one: one[:2])
        return state, f"The checkpoint {newest.name} is damaged. {name} is used in its place, from step {step:,}."


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint, tensors and plain numbers alone; an `InputError` if it cannot be read."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise InputError(
            f"{path} is not a checkpoint of this program or is damaged: start a new run or choose another."
        ) from error


def trained_state(run: Path, stage: str, *, best: bool = False) -> dict[str, Any]:
    """Read a stage's checkpoint to export weights from.

    Args:
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
        raise InputError(f"The run {run} has no checkpoint {path.name} yet: train that stage first.")
    if best:
        return load_checkpoint(path)
    state, damage = load_newest(run, stage)
    if damage:
        logger.warning("%s", damage)
    return state


def start_from(model: Any, name: str | None) -> None:
    """Give a segmentation network the weights of a trained one, if a name or file of weights is given.

    Raises:
        InputError: there are no such weights, or their network, labels or sizes differ (fewer levels are fine).
    """
    if not name:
        return
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
