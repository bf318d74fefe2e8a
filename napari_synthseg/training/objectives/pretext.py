"""Objectives of `train pretrain`: masked patches (UNETR), and inpainting, rotation and contrast (Swin UNETR).

Both are those of "pre-train once, fine-tune many", section III-A; the second is after Tang et al. 2022.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import KW_ONLY, dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from napari_synthseg.devices import bfloat16_where_quick
from napari_synthseg.networks.pretraining import (
    TURNS,
    contrastive_loss,
    masked_error,
    normalized,
    patches,
    random_mask,
    whole,
)
from napari_synthseg.training.data.crops import CropSource
from napari_synthseg.training.data.synthetic import random_index, step_generator
from napari_synthseg.training.engine.distributed import process_group
from napari_synthseg.training.engine.events import each
from napari_synthseg.training.engine.loop import Objective

VALIDATED = 8
"""Fixed crops for validation."""


def explained(found: torch.Tensor, hidden: torch.Tensor) -> dict[str, float]:
    """Return the explained variance of hidden voxels as "score" (1: exact, 0: as good as the mean), and the error."""
    found, hidden = found.detach().double(), hidden.detach().double()
    error, spread = float((found - hidden).square().mean()), float(hidden.var(correction=0))
    return {"score": 1.0 - error / spread if spread > 1e-12 else 0.0, "held_out_error": error}


@dataclass(eq=False, repr=False)
class Pretext(Objective):
    """Base of both objectives; `model` is an encoder with the heads for pre-training."""

    crops: CropSource
    """To learn from."""
    held_out: CropSource
    """To validate on."""

    def __post_init__(self) -> None:
        super().__post_init__()
        generators = [step_generator(self.seed + 5, i) for i in range(VALIDATED)]
        self.fixed = [self.held_out(g)[None, None].half().cpu() for g in generators]

    def drawn(self, g: torch.Generator) -> torch.Tensor:
        """Draw the (B, 1, edge, edge, edge) crops of a step; of several processes, those of this one."""
        seeds = torch.randint(2**62, (self.batch * process_group().size,), generator=g).tolist()
        crops = [self.crops(torch.Generator().manual_seed(seed)) for seed in process_group().shard(seeds)]
        return torch.stack(crops)[:, None].to(self.device)

    def validated(self) -> Iterator[tuple[torch.Tensor, torch.Generator]]:
        """Iterate over the crops to validate on, each with its random generator."""
        for number in each("validating", range(len(self.fixed))):
            yield self.fixed[number].float().to(self.device), step_generator(self.seed + 6, number)

    def autocast(self) -> AbstractContextManager:
        return bfloat16_where_quick(self.device) if self.device.type == "cuda" else nullcontext()


def side_by_side(*images: torch.Tensor) -> dict[str, np.ndarray]:
    """Join images (1, 1, X, Y, Z) from left to right."""
    row = torch.cat([one[0, 0].detach().float().cpu().clamp(0, 1) for one in images])
    return {"image": row.numpy()}


# UNETR: masked patches


@dataclass(eq=False, repr=False)
class MaskedPatches(Pretext):
    """Mean squared error of the masked patches alone; `model` is a masked autoencoder."""

    _: KW_ONLY
    ratio: float = 0.75
    """Fraction of masked patches."""
    normalise: bool = False
    """Reconstruct patches with mean 0 and variance 1."""
    shared: bool = True

    def mask(self, batch: int, g: torch.Generator) -> torch.Tensor:
        """Draw a (batch, N) mask of patches."""
        return random_mask(batch, self.model.count, self.ratio, g).to(self.device)

    def wanted(self, images: torch.Tensor) -> torch.Tensor:
        """Return the (B, N, V) patches to reconstruct."""
        parts = patches(images)
        return normalized(parts) if self.normalise else parts

    def loss(self, step: int) -> tuple[torch.Tensor, dict[str, float]]:
        g = step_generator(self.seed, step)
        images = self.drawn(g)
        mask = torch.stack(list(process_group().shard(list(self.mask(self.batch * process_group().size, g)))))
        wanted = self.wanted(images)
        with self.autocast():
            found = self.model(images, mask)
        error = process_group().sum(masked_error(found, wanted, mask) / process_group().size)
        return error, {"explained": explained(found[mask], wanted[mask])["score"]}

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Return the explained variance of the masked patches of held-out crops."""
        pairs = []
        for image, g in self.validated():
            mask, wanted = self.mask(1, g), self.wanted(image)
            with self.autocast():
                found = model(image, mask)
            pairs.append((found[mask].float(), wanted[mask].float()))
        return explained(*(torch.cat(some) for some in zip(*pairs, strict=True)))

    def picture(self, step: int) -> dict[str, np.ndarray]:
        """Return a crop, its visible patches and their reconstruction, from left to right."""
        g = step_generator(self.seed, step)
        image = self.drawn(g)[:1]
        mask, parts = self.mask(1, g), patches(image)
        with self.autocast():
            found = self.model(image, mask).float()
        if self.normalise:
            found = found * (parts.var(-1, keepdim=True) + 1e-6).sqrt() + parts.mean(-1, keepdim=True)
        hidden, edge = mask[..., None], self.model.edge
        seen = torch.where(hidden, torch.full_like(parts, 0.5), parts)
        return side_by_side(image, whole(seen, edge), whole(torch.where(hidden, found, parts), edge))


# Swin UNETR: inpainting, rotation, contrast

LARGEST = 0.25
"""Longest side of a hole, as a fraction of the crop's."""


def turned(images: torch.Tensor, turns: torch.Tensor) -> torch.Tensor:
    """Rotate (B, 1, X, Y, Z) cubes by right angles (B,) about the axis from feet to head."""
    return torch.stack([torch.rot90(one, int(k), (1, 2)) for one, k in zip(images, turns, strict=True)])


def random_holes(shape: tuple[int, int, int], fraction: float, g: torch.Generator) -> torch.Tensor:
    """Draw (X, Y, Z) boxes that together make up a fraction of the voxels, or a little more."""
    holes = torch.zeros(shape, dtype=torch.bool)
    while holes.float().mean() < fraction:
        box = []
        for n in shape:
            size = 1 + random_index(max(1, int(LARGEST * n)), g)
            start = random_index(n - size + 1, g)
            box.append(slice(start, start + size))
        holes[tuple(box)] = True
    return holes


def cut_out(images: torch.Tensor, fraction: float, g: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Cut holes into (B, 1, X, Y, Z) images and fill them with noise, since zeros would look like the background.

    Returns:
        The images, and (B, 1, X, Y, Z) bool, true in the holes, which are a fraction of all voxels.
    """
    x, y, z = images.shape[2:]
    holes = torch.stack([random_holes((x, y, z), fraction, g) for _ in images])[:, None].to(images.device)
    noise = torch.rand(images.shape, generator=g).to(images.device)
    return torch.where(holes, noise, images), holes


@dataclass(frozen=True)
class SwinView:
    """One view of a batch of crops."""

    seen: torch.Tensor
    """(B, 1, X, Y, Z) turned and partly cut out."""
    whole: torch.Tensor
    """(B, 1, X, Y, Z) turned."""
    holes: torch.Tensor
    """(B, 1, X, Y, Z), true in the holes."""
    turns: torch.Tensor
    """(B,) right angles."""


@dataclass(eq=False, repr=False)
class SwinViews(Pretext):
    """The sum of three losses, each with the weight 1: L1 of the image, two cross-entropies.

    Crops are contrasted with all others, so they must be in one process.
    """

    _: KW_ONLY
    fraction: float = 0.3
    """Of the voxels that are cut out."""
    temperature: float = 0.5
    """Of the contrastive loss."""

    def view(self, images: torch.Tensor, g: torch.Generator) -> SwinView:
        """Draw a view of crops."""
        turns = torch.randint(TURNS, (len(images),), generator=g)
        turned_ = turned(images, turns)
        seen, holes = cut_out(turned_, self.fraction, g)
        return SwinView(seen, turned_, holes, turns.to(images.device))

    def loss(self, step: int) -> tuple[torch.Tensor, dict[str, float]]:
        g = step_generator(self.seed, step)
        images = self.drawn(g)
        views = [self.view(images, g) for _ in range(2)]
        with self.autocast():
            found = [self.model(view.seen) for view in views]
        pairs = list(zip(found, views, strict=True))
        figures: dict[str, torch.Tensor] = {
            "inpainting": torch.stack([F.l1_loss(f[2].float(), v.whole) for f, v in pairs]).sum() / 2,
            "rotation": torch.stack([F.cross_entropy(f[0].float(), v.turns) for f, v in pairs]).sum() / 2,
            "contrast": contrastive_loss(found[0][1], found[1][1], self.temperature),
        }
        total = figures["inpainting"] + figures["rotation"] + figures["contrast"]
        return total, {name: float(one.detach()) for name, one in figures.items()}

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Return the explained variance in the holes of held-out crops, and the fraction of correct rotations."""
        pairs, told = [], 0
        for image, g in self.validated():
            view = self.view(image, g)
            with self.autocast():
                rotation, _, found = model(view.seen)
            pairs.append((found[view.holes].float(), view.whole[view.holes]))
            told += int(rotation.argmax(1) == view.turns)
        scores = explained(*(torch.cat(some) for some in zip(*pairs, strict=True)))
        return {**scores, "rotations_told": told / len(self.fixed)}

    def picture(self, step: int) -> dict[str, np.ndarray]:
        """Return a rotated crop, its view and the reconstruction, from left to right."""
        g = step_generator(self.seed, step)
        view = self.view(self.drawn(g)[:1], g)
        with self.autocast():
            found = self.model(view.seen)[2]
        return side_by_side(view.whole, view.seen, found)
