"""Optimizers, learning rates and the average of weights: how the loop moves parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from napari_synthseg.devices import quick_kind
from napari_synthseg.errors import InputError

MUON_LR_SCALE = 2.0
"""Rate of the matrices that Muon moves, as a fraction of AdamW's for the rest; its steps have the size of AdamW's."""


@dataclass(frozen=True)
class LoopOptions:
    """Steps, rates and intervals of a loop."""

    steps: int
    """Steps in all, those of earlier stretches included."""
    learning_rate: float = 1e-4
    """Peak learning rate."""
    optimizer: str = "adam"
    """adam (the paper's), adamw or muon, see `build_optimizer`."""
    weight_decay: float = 0.0
    warmup: int = 0
    """Steps over which the rate rises linearly."""
    decay_fraction: float = 0.0
    """Fraction of the steps, at the end, over which the rate falls to zero; 0: constant."""
    ema_decay: float = 0.0
    """Decay of the exponential moving average of the weights; 0 keeps none."""
    clip: float = 0.0
    """Largest norm of the gradient; 0 does not clip."""
    checkpoint_every: int = 10_000
    """Steps between checkpoints that are kept."""
    save_minutes: float = 3.0
    """Minutes between updates of the newest checkpoint."""
    validate_every: int = 1_000

    @classmethod
    def of(cls, options: Any, steps: int, learning_rate: float, **settings: Any) -> LoopOptions:
        """Return those of a stage: the run's own (`recipe.RunOptions`), and defaults of the recipe."""
        own = {"save_minutes": options.save_minutes, "validate_every": options.validate_every}
        return cls(steps, options.learning_rate or learning_rate, **{**own, **settings})


def rate(step: int, options: LoopOptions) -> float:
    """Return the learning rate of a step: linear warm-up, plateau, cosine decay over the last fraction of the steps."""
    factor = min(1.0, (step + 1) / max(options.warmup, 1))
    start = decay_start(options)
    if options.decay_fraction > 0 and step >= start:
        done = (step - start) / max(options.steps - start, 1)
        factor *= 0.5 * (1.0 + torch.cos(torch.tensor(done * torch.pi)).item())
    return options.learning_rate * factor


def decay_start(options: LoopOptions) -> int:
    """Return the step at which the rate begins to fall."""
    return round(options.steps * (1.0 - options.decay_fraction))


class EMA:
    """Exponential moving average of a model's parameters, with a warm-up so that early steps do not linger."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.values = {k: v.detach().clone() for k, v in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Move towards the model's weights."""
        decay = min(self.decay, (1.0 + step) / (10.0 + step))
        for k, v in model.state_dict().items():
            if v.dtype.is_floating_point:
                self.values[k].lerp_(v, 1.0 - decay)
            else:
                self.values[k].copy_(v)


class Muon(torch.optim.Optimizer):
    """Muon (https://kellerjordan.github.io/posts/muon/) for matrices, with steps of AdamW's size (arXiv 2502.16982).

    As `torch.optim.Muon` with `match_rms_adamw`, whose states it reads, except that the matrices are made orthogonal in
    float32 on devices that only imitate bfloat16: there torch's takes a hundred times as long.
    """

    MOMENTUM, ITERATIONS, COEFFICIENTS = 0.95, 5, (3.4445, -4.7750, 2.0315)

    def __init__(self, params: list[dict[str, Any]], lr: float, weight_decay: float) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]  # no closure
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["momentum_buffer"] = torch.zeros_like(parameter)
                momentum = state["momentum_buffer"].lerp_(parameter.grad, 1 - self.MOMENTUM)
                update = self.orthogonalized(parameter.grad.lerp(momentum, self.MOMENTUM))
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.add_(update, alpha=-group["lr"] * 0.2 * max(parameter.shape) ** 0.5)

    def orthogonalized(self, matrix: torch.Tensor) -> torch.Tensor:
        """Return a matrix (N, M) with the same singular vectors, and singular values near 1 (Newton-Schulz)."""
        a, b, c = self.COEFFICIENTS
        tall = matrix.shape[0] > matrix.shape[1]
        x = (matrix.T if tall else matrix).to(quick_kind(matrix.device))
        x = x / x.norm().clamp(min=1e-7)
        for _ in range(self.ITERATIONS):
            gram = x @ x.T
            x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
        return x.T if tall else x


class Optimizers:
    """Several optimizers, each with parameters of its own, behind the interface of one."""

    def __init__(self, parts: list[torch.optim.Optimizer]) -> None:
        self.parts = parts

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        return [group for part in self.parts for group in part.param_groups]

    def zero_grad(self, set_to_none: bool = True) -> None:
        for part in self.parts:
            part.zero_grad(set_to_none=set_to_none)

    def step(self) -> None:
        for part in self.parts:
            part.step()

    def state_dict(self) -> dict[str, Any]:
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for part, saved in zip(self.parts, state["parts"], strict=True):
            part.load_state_dict(saved)


def restore(optimizer: torch.optim.Optimizer | Optimizers, state: dict[str, Any]) -> None:
    """Restore the state of an optimizer; an `InputError` if another one saved it."""
    if isinstance(optimizer, Optimizers) != ("parts" in state):
        raise InputError("The run was trained with another optimizer: resume it with that one, or start a new run.")
    optimizer.load_state_dict(state)
    for group in optimizer.param_groups:
        if "share" in group:  # as runs of earlier versions call it
            group["lr_scale"] = group.pop("share")


def build_optimizer(
    name: str, module: nn.Module, groups: list[dict[str, Any]], learning_rate: float, weight_decay: float
) -> torch.optim.Optimizer | Optimizers:
    """Build an optimizer over groups of parameters.

    Args:
        name: "adam" (Keras' epsilon), "adamw", or "muon": Muon for the weights of linear layers, AdamW for the rest.
        module: the network that is trained; says which parameters are matrices.
        groups: "params" and perhaps "lr_scale", the group's rate as a fraction of the loop's.
        learning_rate: peak rate.
        weight_decay: of all but adam.

    """
    device = next(p for group in groups for p in group["params"]).device.type
    fused = {"fused": True} if device in ("cpu", "cuda") else {}
    common: dict[str, Any] = {"lr": learning_rate, "weight_decay": weight_decay}
    exact: dict[str, Any] = {**common, "eps": 1e-7, **fused}
    if name != "muon":
        return {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[name](groups, **exact)
    linear = {id(layer.weight) for layer in module.modules() if isinstance(layer, nn.Linear)}
    matrices, others = [], []
    for group in groups:
        chosen = [p for p in group["params"] if id(p) in linear]
        rest = [p for p in group["params"] if id(p) not in linear]
        if chosen:
            matrices.append({**group, "params": chosen, "lr_scale": MUON_LR_SCALE * group.get("lr_scale", 1.0)})
        if rest:
            others.append({**group, "params": rest})
    parts: list[torch.optim.Optimizer] = []
    if matrices:
        parts.append(Muon(matrices, **common))
    if others:
        parts.append(torch.optim.AdamW(others, **exact))
    return Optimizers(parts)
