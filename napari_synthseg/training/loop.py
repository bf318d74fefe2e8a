"""The one training loop: steps, schedule, running average of the weights, log, exactly resumable checkpoints."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn

from napari_synthseg.errors import InputError
from napari_synthseg.progress import Progress
from napari_synthseg.training.optimizers import Optimizers, build_optimizer, restore


class Recipe(Protocol):
    """What a training recipe provides; the loop does the rest."""

    @property
    def model(self) -> nn.Module:
        """The whole network, as it is validated."""

    @property
    def trained(self) -> nn.Module:
        """The part of it that is trained, averaged and saved: the whole, or one stage."""

    def loss(self, step: int) -> tuple[torch.Tensor, dict[str, float]]:
        """Draw the samples of a step, run the network; everything random depends on the seed and the step alone."""

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Scores of the averaged weights; higher is better, the one named "score" chooses the model."""


@runtime_checkable
class Grouped(Protocol):
    """A recipe whose parts learn at different rates."""

    def groups(self) -> list[dict[str, Any]]:
        """The optimizer's groups: "params", and "share", what their rate is of the loop's."""


@runtime_checkable
class Equipped(Protocol):
    """A recipe that brings the optimizer of what it trains, since it must know what the next step will do."""

    def optimizer(self, options: LoopOptions) -> Optimizers:
        """What moves the weights; the loop sets its rates."""


@dataclass(frozen=True)
class LoopOptions:
    """How a loop runs.

    Attributes:
        steps: steps in all, those of earlier stretches included.
        learning_rate: peak learning rate.
        optimizer: "adam" (the paper's), "adamw" or "muon", see `optimizers`.
        weight_decay: of adamw and muon.
        warmup: steps over which the rate rises linearly.
        cooldown: fraction of the steps over which the rate falls to zero at the end (0: constant).
        average: decay of the running average of the weights; 0 keeps none.
        clip: largest norm of the gradient; 0 does not clip.
        checkpoint_every: steps between checkpoints that are kept.
        save_minutes: minutes between updates of the newest checkpoint.
        validate_every: steps between validations.
    """

    steps: int
    learning_rate: float = 1e-4
    optimizer: str = "adam"
    weight_decay: float = 0.0
    warmup: int = 0
    cooldown: float = 0.0
    average: float = 0.0
    clip: float = 0.0
    checkpoint_every: int = 10_000
    save_minutes: float = 3.0
    validate_every: int = 1_000


def rate(step: int, options: LoopOptions) -> float:
    """Learning rate of a step: linear warm-up, plateau, cosine fall over the last fraction of the steps."""
    factor = min(1.0, (step + 1) / max(options.warmup, 1))
    start = cooling_from(options)
    if options.cooldown > 0 and step >= start:
        done = (step - start) / max(options.steps - start, 1)
        factor *= 0.5 * (1.0 + torch.cos(torch.tensor(done * torch.pi)).item())
    return options.learning_rate * factor


def cooling_from(options: LoopOptions) -> int:
    """The step at which the rate begins to fall."""
    return round(options.steps * (1.0 - options.cooldown))


def atomic_save(state: dict[str, Any], path: Path) -> None:
    """Write a checkpoint so that a reader never sees half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(path.suffix + ".part")
    torch.save(state, part)
    os.replace(part, path)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint; nothing is unpickled but tensors and plain numbers.

    Raises:
        InputError: if it cannot be read.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise InputError(
            f"{path} is not a checkpoint of this program or is damaged: start the run anew or pick another."
        ) from error


def append_log(path: Path, line: dict[str, Any]) -> None:
    """Append one JSON line."""
    with path.open("a", encoding="utf-8") as f:
        f.write(json.dumps(line) + "\n")


class RunningAverage:
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


def fit(
    recipe: Recipe,
    options: LoopOptions,
    out: Path,
    *,
    name: str = "train",
    resume: bool = False,
    card: Callable[[], dict[str, Any]] | None = None,
) -> Generator[Progress, None, nn.Module]:
    """Train, yielding one report a step.

    Args:
        recipe: what is trained and on what.
        options: how.
        out: folder of the run; gets `<name>.pt` (newest checkpoint), `<name>-<step>.pt`, `<name>-best.pt`,
            `<name>-stable.pt` (from before the rate began to fall) and `log.jsonl`.
        name: of this stage.
        resume: go on from the newest checkpoint if there is one; from the stable one if the run was finished and is
            now to be longer.
        card: called for facts stored with every checkpoint.

    Returns:
        The model with its averaged weights (or its own where none are averaged).
    """
    out.mkdir(parents=True, exist_ok=True)
    newest, stable, log = out / f"{name}.pt", out / f"{name}-stable.pt", out / "log.jsonl"
    parameters = list(recipe.trained.parameters())
    optimizer = _optimizer(recipe, options)
    average = RunningAverage(recipe.trained, options.average) if options.average else None
    step, best = 0, float("-inf")
    if resume and newest.exists():
        saved_state = _to_resume(newest, stable, options.steps)
        recipe.trained.load_state_dict(saved_state["model"])
        restore(optimizer, saved_state["optimizer"])
        if average is not None and saved_state["average"]:
            for k, v in saved_state["average"].items():  # onto the model's own device
                average.values[k].copy_(v)
        step, best = saved_state["step"], saved_state["best"]

    def state() -> dict[str, Any]:
        return {
            "model": recipe.trained.state_dict(),
            "average": average.values if average is not None else {},
            "optimizer": optimizer.state_dict(),
            "step": step,
            "steps": options.steps,
            "best": best,
            "card": card() if card else {},
        }

    saved, began = time.monotonic(), time.monotonic()
    try:
        while step < options.steps:
            for group in optimizer.param_groups:
                group["lr"] = rate(step, options) * group.get("share", 1.0)
            if options.cooldown and step == cooling_from(options):
                atomic_save(state(), stable)
            recipe.model.train()
            optimizer.zero_grad(set_to_none=True)
            loss, figures = recipe.loss(step)
            loss.backward()
            if options.clip:
                figures["gradient"] = float(torch.nn.utils.clip_grad_norm_(parameters, options.clip))
            if not (torch.isfinite(loss) and math.isfinite(figures.get("gradient", 0.0))):
                figures["skipped"] = 1.0
            else:
                optimizer.step()
                if average is not None:
                    average.update(recipe.trained, step)
            step += 1
            figures = {"loss": float(loss.detach()), "rate": rate(step - 1, options), **figures}
            line = {"stage": name, "step": step, "seconds": round(time.monotonic() - began, 1), **figures}
            if step % options.validate_every == 0 or step == options.steps:
                scores = _validate(recipe, average)
                line.update(scores)
                figures.update(scores)
                if scores.get("score", float("-inf")) > best:
                    best = scores["score"]
                    atomic_save(state(), out / f"{name}-best.pt")
            append_log(log, line)
            if step % options.checkpoint_every == 0:
                atomic_save(state(), out / f"{name}-{step}.pt")
            if time.monotonic() - saved > 60 * options.save_minutes:
                atomic_save(state(), newest)
                saved = time.monotonic()
            yield Progress(name, step, options.steps, figures)
    finally:
        atomic_save(state(), newest)
    if average is not None:
        recipe.trained.load_state_dict(average.values)
    recipe.model.eval()
    return recipe.model


def _optimizer(recipe: Recipe, options: LoopOptions) -> torch.optim.Optimizer | Optimizers:
    """The recipe's own, or the one that the options name."""
    if isinstance(recipe, Equipped):
        return recipe.optimizer(options)
    groups = recipe.groups() if isinstance(recipe, Grouped) else [{"params": list(recipe.trained.parameters())}]
    return build_optimizer(options.optimizer, recipe.trained, groups, options.learning_rate, options.weight_decay)


def _to_resume(newest: Path, stable: Path, steps: int) -> dict[str, Any]:
    """The checkpoint to go on from: a finished run that is made longer goes back to before its rate fell."""
    state = load_checkpoint(newest)
    finished = state["step"] >= state.get("steps", float("inf"))
    if finished and steps > state["step"] and stable.exists():
        before = load_checkpoint(stable)
        if before.get("steps") == state["steps"]:  # else it belongs to an earlier, shorter run
            return {**before, "best": state["best"]}  # the best checkpoint so far stays the one to beat
    return state


def _validate(recipe: Recipe, average: RunningAverage | None) -> dict[str, float]:
    """Score the averaged weights, then put the trained ones back."""
    own = {k: v.clone() for k, v in recipe.trained.state_dict().items()} if average is not None else None
    if average is not None:
        recipe.trained.load_state_dict(average.values)
    recipe.model.eval()
    with torch.no_grad():
        scores = recipe.validate(recipe.model)
    if own is not None:
        recipe.trained.load_state_dict(own)
    return scores
