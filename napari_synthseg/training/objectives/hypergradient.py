"""The two passes of a Learn2Synth step (Hu et al., "Learn2Synth"), for any segmenter S_phi and augmenter A_theta.

Synthetic pass: g = d L(S_phi(A_theta(x_synth)), y_synth) / d phi, and phi_new = update(phi, g), kept differentiable.
Real pass: d L(S_phi_new(x_real), y_real) / d theta, through the update: the hypergradient. The segmenter itself is
moved by g alone, so that it never learns from a real image.

The update is that of `torch.optim`'s SGD and Adam, written out (torch's own cannot be differentiated through).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.func import functional_call

Batch = tuple[torch.Tensor, torch.Tensor]
"""Images (B, 1, ...) and targets."""
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Passes:
    """Losses and gradients of a step's two passes.

    Attributes:
        synthetic: loss of the synthetic pass, a scalar.
        real: loss of the real pass; None if the augmenter has nothing to learn.
        inner: the synthetic loss's gradient for each of the segmenter's learning parameters.
        outer: the hypergradient for each of the augmenter's.
    """

    synthetic: torch.Tensor
    real: torch.Tensor | None
    inner: tuple[torch.Tensor, ...]
    outer: tuple[torch.Tensor, ...]


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
        augment: A_theta; what is random in it does not matter here, but the images it gives must depend on `learned`.
        learned: the parameters theta that get a hypergradient; none, and the real pass is left out.
        optimizer: `torch.optim.SGD` or `Adam` over all of the segmenter's learning parameters, about to make the step.
        synthetic: images and targets of the synthetic pass.
        real: those of the real pass; needed if something is learned.
        loss: of what the segmenter gives and a target.

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

    Args:
        optimizer: SGD or Adam; its state is read and stays as it is.
        parameters: by name, all of them the optimizer's.
        gradients: of each.

    Raises:
        ValueError: the optimizer is of another kind.
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
