"""What both ways of pre-training share: crops of a step, fixed crops to validate on, how much is explained."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from torch import nn

from napari_synthseg.devices import bfloat16_where_quick
from napari_synthseg.training.data.synthetic import step_generator
from napari_synthseg.training.engine.distributed import process_group
from napari_synthseg.training.engine.loop import Objective
from napari_synthseg.training.pretrain.crops import Crops

VALIDATED = 8
"""Crops that are validated on, the same every time."""


class Explained:
    """How much of the variance of what was hidden is explained by what was put there (1: all, 0: as the mean)."""

    def __init__(self) -> None:
        self.count, self.first, self.second, self.wrong = 0, 0.0, 0.0, 0.0

    def add(self, found: torch.Tensor, hidden: torch.Tensor) -> None:
        """Some more voxels."""
        hidden, found = hidden.detach().double(), found.detach().double()
        self.count += hidden.numel()
        self.first += float(hidden.sum())
        self.second += float(hidden.square().sum())
        self.wrong += float((found - hidden).square().sum())

    @property
    def error(self) -> float:
        """Mean squared error."""
        return self.wrong / max(self.count, 1)

    @property
    def share(self) -> float:
        """Of the variance; negative where the mean would have been a better guess."""
        spread = self.second - self.first**2 / max(self.count, 1)
        return 1.0 - self.wrong / spread if spread > 1e-12 else 0.0


class PretextRecipe(Objective):
    """Base of both recipes.

    Args:
        model: the encoder and what is built on it for pre-training.
        crops: to learn from.
        held_out: to validate on.
        seed: of everything random.
        batch: crops a step.
        device: to train on.
    """

    def __init__(
        self, model: nn.Module, crops: Crops, held_out: Crops, *, seed: int, batch: int, device: torch.device | str
    ) -> None:
        self.model = self.trained = model.to(device)
        self.crops, self.seed, self.batch, self.device = crops, seed, batch, torch.device(device)
        generators = [step_generator(seed + 5, i) for i in range(VALIDATED)]
        self.fixed = [held_out.draw(g)[None, None].half().cpu() for g in generators]

    def drawn(self, g: torch.Generator) -> torch.Tensor:
        """(B, 1, edge, edge, edge) crops of a step; where several processes train, this one's."""
        seeds = torch.randint(2**62, (self.batch * process_group().size,), generator=g).tolist()
        crops = [self.crops.draw(torch.Generator().manual_seed(seed)) for seed in process_group().shard(seeds)]
        return torch.stack(crops)[:, None].to(self.device)

    def validated(self, number: int) -> tuple[torch.Tensor, torch.Generator]:
        """One of the crops to validate on, and the randomness that goes with it."""
        return self.fixed[number].float().to(self.device), step_generator(self.seed + 6, number)

    def autocast(self) -> AbstractContextManager:
        """Half precision on a GPU."""
        return bfloat16_where_quick(self.device) if self.device.type == "cuda" else nullcontext()


def beside(*images: torch.Tensor) -> dict[str, np.ndarray]:
    """Images (1, 1, X, Y, Z) in a row from left to right, as one picture."""
    row = torch.cat([one[0, 0].detach().float().cpu().clamp(0, 1) for one in images])
    return {"image": row.numpy()}
