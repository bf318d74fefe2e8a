"""Objectives of `train pretrain`: masked patches (UNETR), and inpainting, rotation and contrast (Swin UNETR).

Both are those of "pre-train once, fine-tune many", section III-A; the second is after Tang et al. 2022.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from napari_synthseg.devices import bfloat16_where_quick
from napari_synthseg.networks.pretraining import (
    TURNS,
    MaskedAutoencoder,
    SwinPretexts,
    contrastive_loss,
    masked_error,
    normalized,
    patches,
    random_mask,
    whole,
)
from napari_synthseg.training.data.crops import CropSource
from napari_synthseg.training.data.synthetic import step_generator
from napari_synthseg.training.engine.distributed import process_group
from napari_synthseg.training.engine.loop import Objective
from napari_synthseg.training.engine.watching import doing

VALIDATED = 8
"""Fixed crops for validation."""


class Explained:
    """Explained variance of the hidden voxels: 1 if reconstructed exactly, 0 if no better than their mean."""

    def __init__(self) -> None:
        self.count, self.first, self.second, self.wrong = 0, 0.0, 0.0, 0.0

    def add(self, found: torch.Tensor, hidden: torch.Tensor) -> None:
        """Add voxels."""
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
    def fraction(self) -> float:
        """Explained fraction of the variance; negative if the mean is a better guess."""
        spread = self.second - self.first**2 / max(self.count, 1)
        return 1.0 - self.wrong / spread if spread > 1e-12 else 0.0


class Pretext(Objective):
    """Base of both objectives.

    Args:
        model: encoder with the heads for pre-training.
        crops: to learn from.
        held_out: to validate on.
        seed: of everything random.
        batch: crops a step.
        device: to train on.
    """

    def __init__(
        self,
        model: nn.Module,
        crops: CropSource,
        held_out: CropSource,
        *,
        seed: int,
        batch: int,
        device: torch.device | str,
    ) -> None:
        self.model = self.trained = model.to(device)
        self.crops, self.seed, self.batch, self.device = crops, seed, batch, torch.device(device)
        generators = [step_generator(seed + 5, i) for i in range(VALIDATED)]
        self.fixed = [held_out.draw(g)[None, None].half().cpu() for g in generators]

    def drawn(self, g: torch.Generator) -> torch.Tensor:
        """Draw the (B, 1, edge, edge, edge) crops of a step; of several processes, those of this one."""
        seeds = torch.randint(2**62, (self.batch * process_group().size,), generator=g).tolist()
        crops = [self.crops.draw(torch.Generator().manual_seed(seed)) for seed in process_group().shard(seeds)]
        return torch.stack(crops)[:, None].to(self.device)

    def validated(self, number: int) -> tuple[torch.Tensor, torch.Generator]:
        """Return a crop to validate on, and its random generator."""
        return self.fixed[number].float().to(self.device), step_generator(self.seed + 6, number)

    def autocast(self) -> AbstractContextManager:
        """Return the context of half precision on a GPU."""
        return bfloat16_where_quick(self.device) if self.device.type == "cuda" else nullcontext()


def beside(*images: torch.Tensor) -> dict[str, np.ndarray]:
    """Join images (1, 1, X, Y, Z) from left to right."""
    row = torch.cat([one[0, 0].detach().float().cpu().clamp(0, 1) for one in images])
    return {"image": row.numpy()}


# UNETR: masked patches


class MaskedPatches(Pretext):
    """Mean squared error of the masked patches alone.

    Args:
        model: masked autoencoder.
        crops: to learn from.
        held_out: to validate on.
        ratio: fraction of masked patches.
        normalise: reconstruct patches with mean 0 and variance 1.
        options: seed, batch and device of `Pretext`.
    """

    shared = True

    def __init__(
        self,
        model: MaskedAutoencoder,
        crops: CropSource,
        held_out: CropSource,
        *,
        ratio: float = 0.75,
        normalise: bool = False,
        **options,
    ) -> None:
        super().__init__(model, crops, held_out, **options)
        self.autoencoder, self.ratio, self.normalise = model, ratio, normalise

    def mask(self, batch: int, g: torch.Generator) -> torch.Tensor:
        """Draw a (batch, N) mask of patches."""
        return random_mask(batch, self.autoencoder.count, self.ratio, g).to(self.device)

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
            found = self.autoencoder(images, mask)
        error, explained = process_group().sum(masked_error(found, wanted, mask) / process_group().size), Explained()
        explained.add(found[mask], wanted[mask])
        return error, {"explained": explained.fraction}

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Return the explained variance of the masked patches of held-out crops."""
        explained = Explained()
        for number in range(len(self.fixed)):
            doing("validating", number + 1, len(self.fixed))
            image, g = self.validated(number)
            mask, wanted = self.mask(1, g), self.wanted(image)
            with self.autocast():
                found = model(image, mask)
            explained.add(found[mask], wanted[mask])
        return {"score": explained.fraction, "held_out_error": explained.error}

    def picture(self, step: int) -> dict[str, np.ndarray]:
        """Return a crop, its visible patches and their reconstruction, from left to right."""
        g = step_generator(self.seed, step)
        image = self.drawn(g)[:1]
        mask, parts = self.mask(1, g), patches(image)
        with self.autocast():
            found = self.autoencoder(image, mask).float()
        if self.normalise:
            found = found * (parts.var(-1, keepdim=True) + 1e-6).sqrt() + parts.mean(-1, keepdim=True)
        hidden, edge = mask[..., None], self.autoencoder.edge
        seen = torch.where(hidden, torch.full_like(parts, 0.5), parts)
        return beside(image, whole(seen, edge), whole(torch.where(hidden, found, parts), edge))


# Swin UNETR: inpainting, rotation, contrast

LARGEST = 0.25
"""Longest side of a hole, as a fraction of the crop's."""


def turned(images: torch.Tensor, turns: torch.Tensor) -> torch.Tensor:
    """Rotate (B, 1, X, Y, Z) cubes by right angles (B,) about the axis from feet to head."""
    return torch.stack([torch.rot90(one, int(k), (1, 2)) for one, k in zip(images, turns, strict=True)])


def random_turns(batch: int, g: torch.Generator) -> torch.Tensor:
    """Draw (batch,) numbers of right angles, 0 to 3."""
    return torch.randint(TURNS, (batch,), generator=g)


def random_holes(shape: tuple[int, int, int], fraction: float, g: torch.Generator) -> torch.Tensor:
    """Draw (X, Y, Z) boxes that together make up a fraction of the voxels, or a little more."""
    holes = torch.zeros(shape, dtype=torch.bool)
    while holes.float().mean() < fraction:
        box = []
        for n in shape:
            size = 1 + int(torch.randint(max(1, int(LARGEST * n)), (1,), generator=g))
            start = int(torch.randint(n - size + 1, (1,), generator=g))
            box.append(slice(start, start + size))
        holes[tuple(box)] = True
    return holes


def cut_out(images: torch.Tensor, fraction: float, g: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Cut holes into images and fill them with noise, since zeros would look like the background.

    Args:
        images: (B, 1, X, Y, Z) in [0, 1].
        fraction: of the voxels that are cut out.
        g: on the CPU.

    Returns:
        The images, and (B, 1, X, Y, Z) bool, true in the holes.
    """
    x, y, z = images.shape[2:]
    holes = torch.stack([random_holes((x, y, z), fraction, g) for _ in images])[:, None].to(images.device)
    noise = torch.rand(images.shape, generator=g).to(images.device)
    return torch.where(holes, noise, images), holes


@dataclass(frozen=True)
class View:
    """One view of a batch of crops.

    Attributes:
        seen: (B, 1, X, Y, Z) turned and partly cut out.
        whole: (B, 1, X, Y, Z) turned.
        holes: (B, 1, X, Y, Z) where it was cut out.
        turns: (B,) right angles.
    """

    seen: torch.Tensor
    whole: torch.Tensor
    holes: torch.Tensor
    turns: torch.Tensor


class SwinViews(Pretext):
    """The sum of three losses, each with the weight 1: L1 of the image, two cross-entropies.

    Args:
        model: encoder and heads.
        crops: to learn from.
        held_out: to validate on.
        fraction: of the voxels that are cut out.
        temperature: of the contrastive loss.
        options: seed, batch and device of `Pretext`.
    """

    shared = False  # crops are contrasted with all others, so they must be in one process

    def __init__(
        self,
        model: SwinPretexts,
        crops: CropSource,
        held_out: CropSource,
        *,
        fraction: float = 0.3,
        temperature: float = 0.5,
        **options,
    ) -> None:
        super().__init__(model, crops, held_out, **options)
        self.heads, self.fraction, self.temperature = model, fraction, temperature

    def view(self, images: torch.Tensor, g: torch.Generator) -> View:
        """Draw a view of crops."""
        turns = random_turns(len(images), g)
        turned_ = turned(images, turns)
        seen, holes = cut_out(turned_, self.fraction, g)
        return View(seen, turned_, holes, turns.to(images.device))

    def loss(self, step: int) -> tuple[torch.Tensor, dict[str, float]]:
        g = step_generator(self.seed, step)
        images = self.drawn(g)
        views = [self.view(images, g) for _ in range(2)]
        with self.autocast():
            found = [self.heads(view.seen) for view in views]
        rotation = sum(F.cross_entropy(f[0].float(), v.turns) for f, v in zip(found, views, strict=True)) / 2
        inpainting = sum(F.l1_loss(f[2].float(), v.whole) for f, v in zip(found, views, strict=True)) / 2
        contrast = contrastive_loss(found[0][1], found[1][1], self.temperature)
        figures = {"inpainting": inpainting, "rotation": rotation, "contrast": contrast}
        total = inpainting + rotation + contrast
        return total, {name: float(one.detach()) for name, one in figures.items()}  # type: ignore[union-attr]

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Return the explained variance in the holes of held-out crops, and the fraction of correct rotations."""
        explained, told = Explained(), 0
        for number in range(len(self.fixed)):
            doing("validating", number + 1, len(self.fixed))
            image, g = self.validated(number)
            view = self.view(image, g)
            with self.autocast():
                rotation, _, found = model(view.seen)
            explained.add(found[view.holes], view.whole[view.holes])
            told += int(rotation.argmax(1) == view.turns)
        rotations = told / len(self.fixed)
        return {"score": explained.fraction, "held_out_error": explained.error, "rotations_told": rotations}

    def picture(self, step: int) -> dict[str, np.ndarray]:
        """Return a rotated crop, its view and the reconstruction, from left to right."""
        g = step_generator(self.seed, step)
        view = self.view(self.drawn(g)[:1], g)
        with self.autocast():
            found = self.heads(view.seen)[2]
        return beside(view.whole, view.seen, found)
