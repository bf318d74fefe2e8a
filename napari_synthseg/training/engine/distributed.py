"""Data parallel training: several processes share the samples of every step.

Fabric connects the processes and sums; every process draws the same random numbers and generates its own shard.
Losses are those of all samples together and gradients are summed, so several processes learn exactly as one would
from a larger batch, except that the statistics of batch norms are a process's own. (Fabric's wrapper around a network
is not used: it only sees `forward`, and objectives call parts of networks.)
"""

from __future__ import annotations

import logging
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch

from napari_synthseg.errors import InputError
from napari_synthseg.jobs import Progress

Item = TypeVar("Item")
logger = logging.getLogger(__name__)

WORKER = "napari_synthseg.training.runs.process"
RENDEZVOUS = "NAPARI_SYNTHSEG_RENDEZVOUS"
"""Variable with the file by which the processes of one machine meet, in place of torch's open port."""
VARIABLES = ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", RENDEZVOUS)
"""Variables that Fabric reads if the processes were started by torchrun or a cluster, and ours."""


class ProcessGroup:
    """The processes that train together, connected by Fabric; a single one by default."""

    def __init__(self, fabric: Any = None) -> None:
        self.fabric = fabric
        self.rank: int = fabric.global_rank if fabric else 0
        self.size: int = fabric.world_size if fabric else 1

    @property
    def is_main(self) -> bool:
        """Whether this process logs, validates and saves."""
        return self.rank == 0

    def shard(self, items: Sequence[Item]) -> Sequence[Item]:
        """Return this process's part of all samples of a step, equally many for each, in their order."""
        each = len(items) // self.size
        return items[self.rank * each : (self.rank + 1) * each]

    def sum(self, own: torch.Tensor) -> torch.Tensor:
        """Return the sum over the processes; its gradient is that of the own part."""
        if self.size == 1:
            return own
        with torch.no_grad():
            everything = self.fabric.all_reduce(own.detach().clone(), reduce_op="sum")
        return own + (everything - own.detach())

    def sum_gradients(self, parameters: Sequence[torch.nn.Parameter]) -> None:
        if self.size == 1:
            return
        found = [p for p in parameters if p.requires_grad]
        flat = torch.cat([(p.grad if p.grad is not None else torch.zeros_like(p)).reshape(-1) for p in found])
        parts = self.fabric.all_reduce(flat, reduce_op="sum").split([p.numel() for p in found])
        for p, part in zip(found, parts, strict=True):
            p.grad = part.view_as(p).clone()

    def broadcast(self, value: Item) -> Item:
        return value if self.size == 1 else self.fabric.broadcast(value, src=0)


SINGLE = ProcessGroup()
_groups: list[ProcessGroup] = [SINGLE]


def process_group() -> ProcessGroup:
    """Return the group that this process trains in."""
    return _groups[-1]


@contextmanager
def joined(one: ProcessGroup) -> Iterator[None]:
    """Train in a group inside the context."""
    _groups.append(one)
    try:
        yield
    finally:
        _groups.pop()


class Rank(NamedTuple):
    """Rank of a process and size of its group."""

    rank: int
    size: int


def own_rank() -> Rank:
    """Return the rank that this process was started with, by `launched`, torchrun or a cluster's scheduler."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    rank = int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0")))
    return Rank(rank, size) if size > 1 else Rank(0, 1)


@contextmanager
def launched(device: str, count: int, arguments: Sequence[str]) -> Iterator[ProcessGroup]:
    """Start the other processes of this machine, unless torchrun or a cluster did, and connect with them.

    Args:
        device: cpu or cuda; each of several processes takes the GPU of its number.
        count: processes in all.
        arguments: of `python -m napari_synthseg.training.runs.process`, for the others.

    Raises:
        InputError: Fabric is not installed, or there are fewer GPUs.
    """
    kind = device.partition(":")[0]
    if kind == "cuda" and own_rank().size == 1 and torch.cuda.device_count() < count:
        raise InputError(f"There are {torch.cuda.device_count()} GPUs here, not {count}: ask for fewer devices.")
    others: list[subprocess.Popen[bytes]] = []
    before = {name: os.environ[name] for name in VARIABLES if name in os.environ}
    folder = tempfile.mkdtemp(prefix="napari-synthseg-")
    try:
        if own_rank().size == 1:
            place = {"NODE_RANK": "0", "WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
            os.environ.update({**place, "LOCAL_RANK": "0", RENDEZVOUS: os.path.join(folder, "rendezvous")})
            command = [sys.executable, "-m", WORKER, *arguments]
            others = [
                subprocess.Popen(command, env={**os.environ, "LOCAL_RANK": str(rank)}, stdin=subprocess.DEVNULL)
                for rank in range(1, count)
            ]
        with joined(connect(kind, own_rank().size)):
            yield process_group()
    finally:
        for name in VARIABLES:
            os.environ.pop(name, None)
        os.environ.update(before)
        wait_for(others)
        shutil.rmtree(folder, ignore_errors=True)


def wait_for(others: Sequence[subprocess.Popen[bytes]]) -> None:
    """Wait for the other processes, which were told to end, and kill those that do not."""
    for one in others:
        try:
            one.wait(timeout=10)
        except subprocess.TimeoutExpired:
            one.kill()
            one.wait()
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def connect(kind: str, size: int) -> ProcessGroup:
    """Connect with the other processes; raises an `InputError` if Fabric is not installed."""
    try:
        from lightning_fabric import Fabric
        from lightning_fabric.strategies import DDPStrategy
    except ImportError as error:
        raise InputError(
            "Training on several devices needs lightning-fabric: pip install 'napari-synthseg[train]'."
        ) from error
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    backend = "nccl" if kind == "cuda" else "gloo"
    if rendezvous := os.environ.get(RENDEZVOUS):
        place = Path(rendezvous).as_uri()
        torch.distributed.init_process_group(backend, place, rank=own_rank().rank, world_size=size)
    nodes = max(1, size // int(os.environ.get("LOCAL_WORLD_SIZE", size)))
    fabric = Fabric(
        accelerator="gpu" if kind == "cuda" else "cpu",
        devices=size // nodes,
        num_nodes=nodes,
        strategy=DDPStrategy(process_group_backend=backend),
    )
    fabric.launch()
    return ProcessGroup(fabric)


def free_port() -> str:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return str(s.getsockname()[1])


def follow_main(entry: Any, options: Any, device: str) -> Generator[Progress, None, Path]:
    """Train beside the main process, which alone writes results; the folder of this one is temporary.

    Args:
        entry: the recipe (`training.recipe.Recipe`).
        options: those of the main process.
        device: it trains on; of GPUs this process takes the one of its own rank.
    """
    here = f"cuda:{os.environ['LOCAL_RANK']}" if device.startswith("cuda") else device
    with tempfile.TemporaryDirectory(prefix="napari-synthseg-") as own, launched(device, own_rank().size, ()):
        job = entry.train(replace(options, out=Path(own) / "run", resume=False, device=here))
        return (yield from job)
