"""The optimizers of the training loop, by name; groups of parameters may learn at a fraction of the loop's rate."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from napari_synthseg.errors import InputError

MUON_LR_SCALE = 2.0
"""Rate of the matrices that Muon moves, as a fraction of AdamW's for the rest; its steps have the size of AdamW's."""


class Optimizers:
    """Several optimizers as one: what the loop asks of an optimizer.

    Args:
        parts: each with parameters of its own.
    """

    def __init__(self, parts: list[torch.optim.Optimizer]) -> None:
        self.parts = parts

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The groups of all parts."""
        return [group for part in self.parts for group in part.param_groups]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients."""
        for part in self.parts:
            part.zero_grad(set_to_none=set_to_none)

    def step(self) -> None:
        """Move all weights."""
        for part in self.parts:
            part.step()

    def state_dict(self) -> dict[str, Any]:
        """States of the parts."""
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up a saved state."""
        for part, saved in zip(self.parts, state["parts"], strict=True):
            part.load_state_dict(saved)


def restore(optimizer: torch.optim.Optimizer | Optimizers, state: dict[str, Any]) -> None:
    """Let an optimizer go on from a saved state.

    Raises:
        InputError: another optimizer saved it.
    """
    if isinstance(optimizer, Optimizers) != ("parts" in state):
        raise InputError("The run was trained with another optimizer: resume it with that one, or start a new run.")
    optimizer.load_state_dict(state)
    for group in optimizer.param_groups:
        if "share" in group:  # as runs of earlier versions call it
            group["lr_scale"] = group.pop("share")


def build_optimizer(
    name: str, module: nn.Module, groups: list[dict[str, Any]], learning_rate: float, weight_decay: float
) -> torch.optim.Optimizer | Optimizers:
    """An optimizer over groups of parameters.

    Args:
        name: "adam" (Keras' epsilon), "adamw", or "muon": Muon for the weights of linear layers, AdamW for the rest.
        module: what is trained; says which parameters are matrices.
        groups: "params" and perhaps "lr_scale", the group's rate as a fraction of the loop's.
        learning_rate: peak rate.
        weight_decay: of all but adam.

    Raises:
        InputError: no such optimizer in this version of torch.
    """
    device = next(p for group in groups for p in group["params"]).device.type
    fused = {"fused": True} if device in ("cpu", "cuda") else {}
    common: dict[str, Any] = {"lr": learning_rate, "eps": 1e-7, **fused}
    if name == "adam":
        return torch.optim.Adam(groups, weight_decay=weight_decay, **common)
    if name == "adamw":
        return torch.optim.AdamW(groups, weight_decay=weight_decay, **common)
    if not hasattr(torch.optim, "Muon"):
        raise InputError(f"The optimizer {name} needs torch 2.9 or newer: update torch, or choose adamw.")
    linear = {id(layer.weight) for layer in module.modules() if isinstance(layer, nn.Linear)}
    matrices, others = [], []
    for group in groups:
        scale = group.get("lr_scale", 1.0)
        chosen = [p for p in group["params"] if id(p) in linear]
        rest = [p for p in group["params"] if id(p) not in linear]
        if chosen:
            matrices.append({**group, "params": chosen, "lr_scale": MUON_LR_SCALE * scale})
        if rest:
            others.append({**group, "params": rest})
    parts: list[torch.optim.Optimizer] = []
    if matrices:
        parts.append(
            torch.optim.Muon(matrices, lr=learning_rate, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")
        )
    if others:
        parts.append(torch.optim.AdamW(others, weight_decay=weight_decay, **common))
    return Optimizers(parts)
