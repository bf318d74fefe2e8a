"""Learn2Synth (Hu et al.): a segmenter S_phi learns from synthetic images that an augmenter A_theta learns to change.

Synthetic pass: g = d L(S_phi(A_theta(x_synth)), y_synth) / d phi, and phi_new = update(phi, g), kept differentiable.
Real pass: d L(S_phi_new(x_real), y_real) / d theta, through the update: the hypergradient. The segmenter itself is
moved by g alone, so that it never learns from a real image. With an augmenter that learns nothing it is plain SynthSeg
on that augmenter's images.

The update is that of `torch.optim`'s SGD and Adam, written out (torch's own cannot be differentiated through).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.func import functional_call

from napari_synthseg.errors import InputError
from napari_synthseg.networks.augmenter import Augmenter
from napari_synthseg.training.data.synthetic import Batch, Sampler, step_generator
from napari_synthseg.training.engine.loop import LoopOptions, Objective, labelled_picture
from napari_synthseg.training.engine.losses import soft_dice_loss
from napari_synthseg.training.engine.optim import Optimizers

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
MOMENTUM = 0.9
"""Momentum of SGD's inner steps."""
OUTER_BETAS = (0.9, 0.99)
"""Betas of the augmenter's Adam: hypergradients are large at first, and should be forgotten sooner than by default."""


@dataclass(frozen=True)
class Passes:
    """Losses and gradients of a step's two passes."""

    synthetic: torch.Tensor
    """Loss of the synthetic pass, a scalar."""
    real: torch.Tensor | None
    """Loss of the real pass; None if the augmenter has nothing to learn."""
    inner: tuple[torch.Tensor, ...]
    """The synthetic loss's gradient for each of the segmenter's learning parameters."""
    outer: tuple[torch.Tensor, ...]
    """The hypergradient for each of the augmenter's."""


def learning(module: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters that are not frozen, by name."""
    return {name: p for name, p in module.named_parameters() if p.requires_grad}


def two_passes(
    segmenter: nn.Module,
    augment: Callable[[torch.Tensor], torch.Tensor],
    learned: Sequence[nn.Parameter],
    optimizer: torch.optim.Optimizer,
    synthetic: Batch,
    real: Batch | None,
    loss: Loss,
) -> Passes:
    """Compute gradients for both networks without moving them.

    Args:
        segmenter: S_phi, called with images; its buffers (running averages) see the synthetic pass alone.
        augment: A_theta; it may be random, but its images must depend on `learned`.
        learned: the parameters theta that get a hypergradient; none, and the real pass is left out.
        optimizer: `torch.optim.SGD` or `Adam` over all of the segmenter's learning parameters, about to make the step.
        synthetic: images and targets of the synthetic pass.
        real: those of the real pass; needed if something is learned.
        loss: of posteriors and targets.

    Raises:
        ValueError: the optimizer is of another kind, or there are no real images to learn from.
    """
    own = learning(segmenter)
    images, target = synthetic
    first = loss(segmenter(augment(images)), target)
    inner = torch.autograd.grad(
        first, list(own.values()), create_graph=bool(learned), allow_unused=True, materialize_grads=True
    )
    if not learned:
        return Passes(first.detach(), None, inner, ())
    if real is None:
        raise ValueError("An augmenter that learns needs real images.")
    moved = moved_parameters(optimizer, own, inner)
    buffers = {name: b.clone() for name, b in segmenter.named_buffers()}
    second = loss(functional_call(segmenter, {**moved, **buffers}, (real[0],)), real[1])
    outer = torch.autograd.grad(second, list(learned), allow_unused=True, materialize_grads=True)
    return Passes(first.detach(), second.detach(), tuple(g.detach() for g in inner), outer)


def moved_parameters(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter], gradients: Sequence[torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Return the parameters after an optimizer's next step, as a differentiable function of the gradients.

    The optimizer is SGD or Adam (else a `ValueError`) over all of the parameters; its state stays as it is.
    """
    kind = type(optimizer)
    if kind not in UPDATES:
        raise ValueError(f"Steps of {kind.__name__} are not written out: use SGD or Adam.")
    settings = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    return {
        name: UPDATES[kind](p.detach(), g, optimizer.state.get(p, {}), settings[id(p)])
        for (name, p), g in zip(parameters.items(), gradients, strict=True)
    }


def sgd_update(
    weight: torch.Tensor, gradient: torch.Tensor, state: Mapping[str, Any], settings: Mapping[str, Any]
) -> torch.Tensor:
    """Return a weight after a step of `torch.optim.SGD` with momentum and decay (no dampening, not Nesterov's)."""
    gradient = gradient + settings["weight_decay"] * weight
    before = state.get("momentum_buffer")
    if settings["momentum"] and before is not None:
        gradient = settings["momentum"] * before + gradient
    return weight - settings["lr"] * gradient


def adam_update(
    weight: torch.Tensor, gradient: torch.Tensor, state: Mapping[str, Any], settings: Mapping[str, Any]
) -> torch.Tensor:
    """Return a weight after a step of `torch.optim.Adam` with weight decay (no AMSGrad)."""
    beta1, beta2 = settings["betas"]
    gradient = gradient + settings["weight_decay"] * weight
    t = float(state["step"]) + 1.0 if state else 1.0
    mean, square = (1 - beta1) * gradient, (1 - beta2) * gradient.square()
    if state:
        mean, square = beta1 * state["exp_avg"] + mean, beta2 * state["exp_avg_sq"] + square
    # A parameter that never had a gradient has none here: the root's slope is infinite at zero.
    root = torch.where(square > 0, square, torch.ones_like(square)).sqrt() * (square > 0)
    return weight - settings["lr"] / (1 - beta1**t) * mean / (root / (1 - beta2**t) ** 0.5 + settings["eps"])


UPDATES = {torch.optim.SGD: sgd_update, torch.optim.Adam: adam_update}


def with_gradients(
    value: torch.Tensor, parameters: Sequence[torch.Tensor], gradients: Sequence[torch.Tensor]
) -> torch.Tensor:
    """Return a scalar of a given value whose `backward` gives the parameters these gradients."""
    slopes = torch.stack([(p * g).sum() for p, g in zip(parameters, gradients, strict=True)]).sum()
    return value.detach() + (slopes - slopes.detach())


class BilevelOptimizers(Optimizers):
    """Optimizers of the segmenter ("inner": SGD or Adam) and, if it learns, of the augmenter."""

    def __init__(self, inner: torch.optim.Optimizer, outer: torch.optim.Optimizer | None) -> None:
        super().__init__([inner] if outer is None else [inner, outer])
        self.inner, self.kind = inner, type(inner).__name__

    def state_dict(self) -> dict[str, Any]:
        return {"inner": self.kind, **super().state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a saved state; an `InputError` if the run had another inner step, or another augmenter learned."""
        if state.get("inner") != self.kind or len(state["parts"]) != len(self.parts):
            raise InputError("The run was trained with another inner step or augmenter: resume it with the same ones.")
        super().load_state_dict(state)


@dataclass(eq=False, repr=False)
class Bilevel(Objective):
    """A synthetic and a real pass a step. `model` is S_phi: images (B, 1, ...) -> posteriors (B, K, ...)."""

    augmenter: Augmenter
    """A_theta; its frozen parameters stay."""
    synthetic: Sampler
    """Draws synthetic images and targets."""
    real: Sampler | None
    """Draws labelled real ones; None if the augmenter learns nothing."""
    _: KW_ONLY
    inner: str = "adam"
    """adam or sgd, the segmenter's steps."""
    lr_scale: float = 1.0
    """The augmenter's learning rate as a fraction of the segmenter's."""
    warmup: int = 0
    """Steps before the augmenter begins to learn: an untrained segmenter's errors on real images say little, and a step
    without the real pass takes a quarter of the time."""
    criterion: Loss = soft_dice_loss

    def __post_init__(self) -> None:
        super().__post_init__()
        self.augmenter.to(self.device)
        self.learned = list(learning(self.augmenter).values())
        self.optimizers: BilevelOptimizers | None = None

    def part(self) -> nn.Module:
        return nn.ModuleDict({"segmenter": self.model, "augmenter": self.augmenter})

    def optimizer(self, options: LoopOptions) -> BilevelOptimizers:
        """Return both optimizers, over the parameters that are not frozen.

        Raises:
            ValueError: gradients are clipped, which the differentiated step does not include.
        """
        if options.clip:
            raise ValueError("Learn2Synth's inner steps cannot be clipped.")
        weights = list(learning(self.model).values())
        common: dict[str, Any] = {"lr": options.learning_rate, "weight_decay": options.weight_decay}
        inner: torch.optim.Optimizer
        if self.inner == "sgd":
            inner = torch.optim.SGD(weights, momentum=MOMENTUM, **common)
        else:
            inner = torch.optim.Adam(weights, eps=1e-7, **common)
        groups = [{"params": self.learned, "lr_scale": self.lr_scale}]
        outer = torch.optim.Adam(groups, lr=options.learning_rate, betas=OUTER_BETAS) if self.learned else None
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
