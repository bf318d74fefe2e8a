"""Which device a job runs on: its name, checked."""

from __future__ import annotations

import torch

from napari_synthseg.errors import InputError


def resolve_device(name: str) -> torch.device:
    """`auto` is the first of cuda, mps and cpu that this machine has.

    Raises:
        InputError: an unknown device, or one that is not there.
    """
    if name == "auto":
        return torch.device("cuda" if _has("cuda") else "mps" if _has("mps") else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(f"There is no device called {name!r}; choose auto, cpu, cuda or mps.") from None
    if not _has(device.type) or (device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count()):
        raise InputError(f"This machine has no usable device {name!r}; choose cpu or auto.")
    return device


def _has(kind: str) -> bool:
    if kind == "cuda":
        return torch.cuda.is_available()
    if kind == "mps":
        return torch.backends.mps.is_available()
    return kind == "cpu"
