"""What a job runs on: the device by its name, and how many threads of the processor."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch

from napari_synthseg.errors import InputError
from napari_synthseg.volume import free_host_memory


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


def quick_in_bfloat16(device: torch.device) -> bool:
    """Whether a device computes in bfloat16 itself; processors without it imitate it, dozens of times more slowly."""
    if device.type == "cpu":
        return any(getattr(torch.cpu, f"_is_{name}_supported", bool)() for name in ("avx512_bf16", "amx_tile"))
    return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)


def quick_kind(device: torch.device) -> torch.dtype:
    """bfloat16 where a device is quick at it, else float32."""
    return torch.bfloat16 if quick_in_bfloat16(device) else torch.float32


def bfloat16_where_quick(device: torch.device, coarsest: int | None = None) -> torch.autocast:
    """Inside, networks compute in bfloat16 on devices that are quick at it, and in float32 on others.

    Args:
        device: of the network.
        coarsest: shortest side, in voxels, of the coarsest features in training. Up to 2 they need float32 on a CPU:
            there oneDNN's weight gradients in bfloat16 read uninitialized memory (torch 2.13, up to 1e37).
    """
    wrong = coarsest is not None and coarsest <= 2 and device.type == "cpu"
    return torch.autocast(device.type, torch.bfloat16, enabled=quick_in_bfloat16(device) and not wrong)


def to_memory(x: torch.Tensor) -> torch.Tensor:
    """(B, C, X, Y, Z) with its channels last in memory, which convolutions like best, where the device knows that."""
    return x if x.device.type == "mps" else x.contiguous(memory_format=torch.channels_last_3d)


_asked: list[tuple[object, int]] = []
"""Numbers of threads that jobs have asked for and that still hold, the newest last."""
_unasked = 1
"""How many there were before the first of them."""
_lock = threading.Lock()


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """Use this many threads of the processor inside; None: as many as there are already.

    The number holds for the whole process, and jobs may overlap: one that was abandoned may end after the next has
    begun. The newest one's number holds; when the last has ended, what was set before the first.
    """
    global _unasked
    if count is None:
        yield
        return
    mine = object()
    with _lock:
        if not _asked:
            _unasked = torch.get_num_threads()
        _asked.append((mine, count))
        torch.set_num_threads(count)
    try:
        yield
    finally:
        with _lock:
            newest = _asked[-1][0] is mine
            _asked[:] = [one for one in _asked if one[0] is not mine]
            if newest:
                torch.set_num_threads(_asked[-1][1] if _asked else _unasked)


def half_precision(device: torch.device):
    """Return the autocast for networks that were trained in half precision: bfloat16 or float16 if that is faster."""
    if device.type == "mps":
        return nullcontext()
    if device.type == "cpu":
        return bfloat16_where_quick(device)
    return torch.autocast(device.type, torch.bfloat16 if quick_in_bfloat16(device) else torch.float16)


def free_memory(device: torch.device) -> int | None:
    """Return the bytes that can still be taken on a device; None if that cannot be told."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return free_host_memory() if device.type == "cpu" else None


def _has(kind: str) -> bool:
    if kind == "cuda":
        return torch.cuda.is_available()
    if kind == "mps":
        return torch.backends.mps.is_available()
    return kind == "cpu"


def memory_used(device: torch.device) -> int | None:
    """Most bytes this process has taken so far, on a GPU or of the machine's memory; None where it cannot be told."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_reserved(device))
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else 1024 * peak)
