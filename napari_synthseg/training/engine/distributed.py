"""Several processes that train one network together, each on its part of every step's samples (data parallel).

Fabric connects the processes and does the sums; the recipes draw the same random numbers everywhere, and each process
makes the images that are its own. Losses are those of all samples together, and gradients are summed, so several
processes learn what one would from a batch so many times as large, but for batch norms, whose statistics are a
process's own. (Fabric's wrapper around a network is not used: it only sees `forward`, and the recipes call parts.)
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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch

from napari_synthseg.errors import InputError
from napari_synthseg.jobs import Progress

Item = TypeVar("Item")
logger = logging.getLogger(__name__)

WORKER = "napari_synthseg.training.runs.process"
MEETING = "NAPARI_SYNTHSEG_MEETING"
"""The file by which the processes of one machine meet: torch's own way is a port that any machine reaches."""
PLACE = ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", MEETING)
"""What Fabric reads of the environment where somebody else started the processes, as torchrun does too; and ours."""


class Team:
    """The processes that train together; alone by default.

    Args:
        fabric: connects them; None: there is one process.
    """

    def __init__(self, fabric: Any = None) -> None:
        self.fabric = fabric
        self.rank: int = fabric.global_rank if fabric else 0
        self.size: int = fabric.world_size if fabric else 1

    @property
    def leads(self) -> bool:
        """Whether this process writes down what happens, and validates."""
        return self.rank == 0

    def mine(self, items: Sequence[Item]) -> Sequence[Item]:
        """The part of all samples of a step that is this process's: as many as everybody has, in their order."""
        each = len(items) // self.size
        return items[self.rank * each : (self.rank + 1) * each]

    def total(self, own: torch.Tensor) -> torch.Tensor:
        """The sum over the processes; its gradient is that of the own part."""
        if self.size == 1:
            return own
        with torch.no_grad():
            everything = self.fabric.all_reduce(own.detach().clone(), reduce_op="sum")
        return own + (everything - own.detach())

    def sum_gradients(self, parameters: Sequence[torch.nn.Parameter]) -> None:
        """Give every process the sum of the gradients."""
        if self.size == 1:
            return
        found = [p for p in parameters if p.requires_grad]
        flat = torch.cat([(p.grad if p.grad is not None else torch.zeros_like(p)).reshape(-1) for p in found])
        flat = self.fabric.all_reduce(flat, reduce_op="sum")
        at = 0
        for p in found:
            p.grad = flat[at : at + p.numel()].view_as(p).clone()
            at += p.numel()

    def from_leader(self, value: Item) -> Item:
        """What the first process has."""
        return value if self.size == 1 else self.fabric.broadcast(value, src=0)


ALONE = Team()
_team: list[Team] = [ALONE]


def team() -> Team:
    """Whoever this process trains with."""
    return _team[-1]


@contextmanager
def in_team(one: Team) -> Iterator[None]:
    """Inside, this process trains with others."""
    _team.append(one)
    try:
        yield
    finally:
        _team.pop()


@dataclass(frozen=True)
class Seat:
    """A process's place in a team, as its environment says it."""

    rank: int
    size: int


def seat() -> Seat:
    """The place that this process was started for, by `gathered` or by torchrun or a cluster's scheduler."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    rank = int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0")))
    return Seat(rank, size) if size > 1 else Seat(0, 1)


@contextmanager
def gathered(device: str, count: int, arguments: Sequence[str]) -> Iterator[Team]:
    """Start the other processes of this machine, unless somebody else did, and connect with them.

    Args:
        device: cpu or cuda; with several processes each takes the GPU of its number.
        count: processes in all.
        arguments: of `python -m napari_synthseg.training.runs.process`, for the others.

    Raises:
        InputError: Fabric is not installed, or there are not so many GPUs.
    """
    kind = device.partition(":")[0]
    if kind == "cuda" and seat().size == 1 and torch.cuda.device_count() < count:
        raise InputError(f"There are {torch.cuda.device_count()} GPUs here, not {count}: ask for fewer devices.")
    others: list[subprocess.Popen[bytes]] = []
    before = {name: os.environ.get(name) for name in PLACE}
    folder = tempfile.mkdtemp(prefix="napari-synthseg-")
    try:
        if seat().size == 1:
            place = {"NODE_RANK": "0", "WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
            os.environ.update({**place, "LOCAL_RANK": "0", MEETING: os.path.join(folder, "meeting")})
            command = [sys.executable, "-m", WORKER, *arguments]
            others = [
                subprocess.Popen(command, env={**os.environ, "LOCAL_RANK": str(rank)}, stdin=subprocess.DEVNULL)
                for rank in range(1, count)
            ]
        with in_team(connected(kind, seat().size)):
            yield team()
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        dismiss(others)
        shutil.rmtree(folder, ignore_errors=True)


def dismiss(others: Sequence[subprocess.Popen[bytes]]) -> None:
    """Wait for the other processes, who were told to end; end those that do not."""
    for one in others:
        try:
            one.wait(timeout=10)
        except subprocess.TimeoutExpired:
            one.kill()
            one.wait()
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def connected(kind: str, size: int) -> Team:
    """Meet the other processes.

    Raises:
        InputError: Fabric is not installed.
    """
    try:
        from lightning_fabric import Fabric
        from lightning_fabric.strategies import DDPStrategy
    except ImportError as error:
        raise InputError(
            "Training on several devices needs lightning-fabric: pip install 'napari-synthseg[train]'."
        ) from error
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    backend = "nccl" if kind == "cuda" else "gloo"
    if meeting := os.environ.get(MEETING):
        place = Path(meeting).as_uri()
        torch.distributed.init_process_group(backend, place, rank=seat().rank, world_size=size)
    nodes = max(1, size // int(os.environ.get("LOCAL_WORLD_SIZE", size)))
    fabric = Fabric(
        accelerator="gpu" if kind == "cuda" else "cpu",
        devices=size // nodes,
        num_nodes=nodes,
        strategy=DDPStrategy(process_group_backend=backend),
    )
    fabric.launch()
    return Team(fabric)


def free_port() -> str:
    """A port of this machine's own address that nobody listens on."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return str(s.getsockname()[1])


def along(entry: Any, options: Any, device: str) -> Generator[Progress, None, Path]:
    """Train along with the first process, in a folder that is thrown away: what counts is written by that one.

    Args:
        entry: the recipe (`runs.recipes.RecipeEntry`).
        options: those of the first process.
        device: it trains on; where it is a GPU, this process takes the one of its own number.
    """
    here = f"cuda:{os.environ['LOCAL_RANK']}" if device.startswith("cuda") else device
    with tempfile.TemporaryDirectory(prefix="napari-synthseg-") as own, gathered(device, seat().size, ()):
        job = entry.train(replace(options, out=Path(own) / "run", resume=False, device=here))
        return (yield from job)
