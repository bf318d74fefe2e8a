"""Learn2Synth: at every step the segmenter learns from augmented synthetic images, the augmenter from real ones.

With an augmenter that learns nothing it is plain SynthSeg on that augmenter's images.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from napari_synthseg.errors import InputError
from napari_synthseg.networks.augmenter import Augmenter
from napari_synthseg.training.data.synthetic import step_generator
from napari_synthseg.training.engine.loop import LoopOptions, Objective, Validation, labelled_picture
from napari_synthseg.training.engine.losses import soft_dice_loss
from napari_synthseg.training.engine.optim import Optimizers
from napari_synthseg.training.objectives.hypergradient import Batch, Loss, learning, two_passes, with_gradients

Batches = Callable[[torch.Generator], Batch]
"""Draws the images and targets of a step."""
MOMENTUM = 0.9
"""Momentum of SGD's inner steps."""

OUTER_BETAS = (0.9, 0.99)
"""Betas of the augmenter's Adam: hypergradients are large at first, and should be forgotten sooner than by default."""


class BilevelOptimizers(Optimizers):
    """Optimizers of the segmenter ("inner") and, if it learns, of the augmenter.

    Args:
        inner: SGD or Adam.
        outer: of the augmenter, or none.
    """

    def __init__(self, inner: torch.optim.Optimizer, outer: torch.optim.Optimizer | None) -> None:
        super().__init__([inner] if outer is None else [inner, outer])
        self.inner, self.kind = inner, type(inner).__name__

    def state_dict(self) -> dict[str, Any]:
        return {"inner": self.kind, **super().state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a saved state.

        Raises:
            InputError: the run had another kind of inner step, or an augmenter that learned where this one does not.
        """
        if state.get("inner") != self.kind or len(state["parts"]) != len(self.parts):
            raise InputError("The run was trained with another inner step or augmenter: resume it with the same ones.")
        super().load_state_dict(state)


class Bilevel(Objective):
    """A synthetic and a real pass a step.

    Args:
        segmenter: S_phi, images (B, 1, ...) -> posteriors (B, K, ...).
        augmenter: A_theta; its frozen parameters stay.
        synthetic: draws synthetic images and targets.
        real: draws labelled real ones; None if the augmenter learns nothing.
        seed: of everything random.
        device: to train on; batches are on it already.
        validation: scores the segmenter.
        inner: "adam" or "sgd", the segmenter's steps.
        lr_scale: the augmenter's learning rate as a fraction of the segmenter's.
        warmup: steps before the augmenter begins to learn: an untrained segmenter's errors on real images say little,
            and a step without the real pass takes a quarter of the time.
        loss: of posteriors and targets.
    """

    def __init__(
        self,
        segmenter: nn.Module,
        augmenter: Augmenter,
        synthetic: Batches,
        real: Batches | None,
        *,
        seed: int,
        device: torch.device | str,
        validation: Validation,
        inner: str = "adam",
        lr_scale: float = 1.0,
        warmup: int = 0,
        loss: Loss = soft_dice_loss,
    ) -> None:
        self.model, self.augmenter = segmenter.to(device), augmenter.to(device)
        self.trained = nn.ModuleDict({"segmenter": segmenter, "augmenter": augmenter})
        self.synthetic, self.real = synthetic, real
        self.seed, self.validation, self.criterion = seed, validation, loss
        self.inner, self.lr_scale, self.warmup = inner, lr_scale, warmup
        self.learned = list(learning(augmenter).values())
        self.optimizers: BilevelOptimizers | None = None

    def optimizer(self, options: LoopOptions) -> BilevelOptimizers:
        """Both optimizers, over the parameters that are not frozen.

        Raises:
            ValueError: gradients are clipped, which the differentiated step does not include.
        """
        if options.clip:
            raise ValueError("Learn2Synth's inner steps cannot be clipped.")
        weights, rate = list(learning(self.model).values()), options.learning_rate
        inner: torch.optim.Optimizer
        if self.inner == "sgd":
            inner = torch.optim.SGD(weights, lr=rate, momentum=MOMENTUM, weight_decay=options.weight_decay)
        else:
            inner = torch.optim.Adam(weights, lr=rate, eps=1e-7, weight_decay=options.weight_decay)
        groups = [{"params": self.learned, "lr_scale": self.lr_scale}]
        outer = torch.optim.Adam(groups, lr=rate, betas=OUTER_BETAS) if self.learned else None
        self.optimizers = BilevelOptimizers(inner, outer)
        return self.optimizers

    def picture(self, step: int) -> dict[str, np.ndarray]:
        images, truth = self.synthetic(step_generator(self.seed, step))
        seen = self.augmenter(images, step_generator(self.seed + 23, step))
        found = self.model(seen[:1])[0]
        values: Sequence[int] = getattr(self.model, "labels", range(len(found)))
        return labelled_picture(seen[0, 0], truth[0], found.argmax(0), values)

    def loss(self, step: int) -> tuple[torch.Tensor, dict[str, float]]:
        """Return the synthetic loss; its backward gives the segmenter its gradient, the augmenter the hypergradient."""
        if self.optimizers is None:
            raise ValueError("The recipe's optimizer is asked for first: the step depends on it.")
        noise = step_generator(self.seed + 23, step)
        learned = self.learned if step >= self.warmup else []
        passes = two_passes(
            self.model,
            lambda images: self.augmenter(images, noise),
            learned,
            self.optimizers.inner,
            self.synthetic(step_generator(self.seed, step)),
            self.real(step_generator(self.seed + 11, step)) if learned and self.real else None,
            self.criterion,
        )
        figures = {"soft_dice": 1.0 - float(passes.synthetic), **self.augmenter.figures()}
        if passes.real is not None:
            figures["real"] = 1.0 - float(passes.real)
            figures["hypergradient"] = float(torch.stack([g.norm() for g in passes.outer]).norm())
        moved = [*learning(self.model).values(), *learned]
        return with_gradients(passes.synthetic, moved, [*passes.inner, *passes.outer]), figures
