"""The training loop: steps, validation, log, and checkpoints that are resumed to the bit."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from napari_synthseg.devices import memory_used, resolve_device
from napari_synthseg.errors import InputError
from napari_synthseg.jobs import Progress, Stopped
from napari_synthseg.training.engine.checkpoints import atomic_save, load_checkpoint, load_newest, save_newest
from napari_synthseg.training.engine.distributed import ProcessGroup, process_group
from napari_synthseg.training.engine.events import EventLog, save_picture, watch
from napari_synthseg.training.engine.optim import (
    EMA,
    LoopOptions,
    Optimizers,
    build_optimizer,
    decay_start,
    rate,
    restore,
)
from napari_synthseg.training.folder import checkpoint

logger = logging.getLogger(__name__)

TELL_MEMORY = 5.0
"""Seconds between two log lines with the memory used."""
Validation = Callable[[nn.Module], dict[str, Any]]
"""Scores a model; if it has a method `over`, that tells after each validation whether to stop early."""


@dataclass(eq=False, repr=False)
class Objective:
    """Network, samples, loss and validation of a stage; the loop does the rest.

    Subclasses are dataclasses of their inputs. `model` is the whole network, as it is validated; `trained`, given by
    `part`, is the part of it that is trained, averaged and saved.
    """

    model: Any
    _: KW_ONLY
    seed: int
    device: torch.device
    batch: int = 1
    """Samples a step."""
    validation: Validation | None = None
    shared: bool = False
    """Whether several processes can share a step."""
    channels_last: ClassVar[bool] = False
    """Whether the weights, of 3D convolutions, lie channels last in memory."""

    def __post_init__(self) -> None:
        self.device = torch.device(self.device)
        self.model = to_device(self.model, self.device) if self.channels_last else self.model.to(self.device)
        self.trained: Any = self.part()

    def part(self) -> nn.Module:
        """Return the part of the model that is trained: the whole, or one stage."""
        return self.model

    def loss(self, step: int) -> tuple[torch.Tensor, dict[str, float]]:
        """Draw the samples of a step and run the network; everything random depends on the seed and the step alone."""
        raise NotImplementedError

    def validate(self, model: nn.Module) -> dict[str, Any]:
        """Return scores of the averaged weights; higher is better, the one named "score" chooses the model.

        One named "dice" may be a dictionary of structures' names and Dice.
        """
        return {} if self.validation is None else self.validation(model)

    def picture(self, step: int) -> dict[str, np.ndarray]:
        """Return a training sample of a step: "image", "truth" and "prediction" (label values); empty if there is none.

        Called without gradients; the model is in evaluation mode and holds the weights being trained.
        """
        return {}

    def groups(self) -> list[dict[str, Any]]:
        """Return the optimizer's groups: "params", and "lr_scale", their rate as a fraction of the loop's."""
        return [{"params": list(self.trained.parameters())}]

    def optimizer(self, options: LoopOptions) -> torch.optim.Optimizer | Optimizers:
        """Return the optimizer of the trained part; the loop sets its rates."""
        rates = options.learning_rate, options.weight_decay
        return build_optimizer(options.optimizer, self.trained, self.groups(), *rates)

    def enough(self) -> bool:
        """Tell whether to stop early; asked after every validation."""
        return getattr(self.validation, "over", lambda: False)()

    def use(self, state: dict[str, Any]) -> None:
        """Take the weights of a checkpoint, averaged ones if there are, without training."""
        self.trained.load_state_dict(state["average"] or state["model"])
        self.model.eval()


def labelled_picture(
    image: torch.Tensor, truth: torch.Tensor, found: torch.Tensor, values: Sequence[int]
) -> dict[str, np.ndarray]:
    """Return a sample with its labels and the network's answer, as a picture: arrays of the truth's shape.

    Args:
        image: (X, Y, Z) or (Y, X) intensities.
        truth: channels on the image's grid, or on a finer or coarser one.
        found: the prediction, likewise.
        values: the label that each channel stands for.
    """
    lut = torch.tensor(list(values), dtype=torch.int32)
    shape = truth.shape
    return {
        "image": _onto(image.detach().float().cpu(), shape).numpy().astype(np.float32),
        "truth": lut[truth.detach().cpu().long()].numpy(),
        "prediction": lut[_onto(found.detach().cpu(), shape).long()].numpy(),
    }


def _onto(array: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """Nearest neighbors on another grid; the same array if the grids agree."""
    for axis, count in enumerate(shape):
        if array.shape[axis] != count:
            at = (torch.arange(count) + 0.5) * array.shape[axis] / count
            array = array.index_select(axis, at.long())
    return array


def to_device(model: Any, device: torch.device | str) -> Any:
    """Move a network of 3D convolutions, its weights in the order that is quick."""
    return model.to(device).to(memory_format=torch.channels_last_3d)


def freeze_norms(model: nn.Module) -> None:
    """Freeze the statistics of batch norms: an image or two have none of their own."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


def begin(options: Any) -> torch.device:
    """Set threads and seed of a run, and return the device to train on."""
    if options.threads:
        torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    automatic = "cuda" if torch.cuda.is_available() else "cpu"  # not mps, on which nothing was ever trained
    return resolve_device(automatic if options.device == "auto" else options.device)


def fit(
    objective: Objective,
    options: LoopOptions,
    out: Path,
    *,
    name: str = "train",
    resume: bool = False,
    card: Callable[[], dict[str, Any]] | None = None,
) -> Generator[Progress, None, nn.Module]:
    """Train a stage; yields one report a step.

    Args:
        objective: network, samples, loss and validation.
        options: steps, rates and intervals.
        out: folder of the run; gets `events.jsonl`, and in `checkpoints/` `<name>.pt` (the newest),
            `<name>-<step>.pt`, `<name>-best.pt`, `<name>-stable.pt` (from before the rate began to fall).
        name: of this stage.
        resume: continue from the newest checkpoint if there is one; from the stable one if a finished run is extended.
        card: called for facts stored with every checkpoint.

    Returns:
        The model with its averaged weights, or its own if there is no average.

    Raises:
        OSError: the last checkpoint cannot be written; one in between only leaves a warning and is tried again.
    """
    trainer = _Trainer(objective, options, out, name, card or dict)
    if resume and checkpoint(out, name).exists():
        trainer.resume()
    together = process_group()
    if together.size > 1:
        if not objective.shared:
            raise InputError(f"{type(objective).__name__} trains in one process only: ask for one device.")
        trainer.take(together.broadcast(trainer.state()))
    asked = watch()
    steps = options.steps if asked.trial is None else min(options.steps, trainer.step + asked.trial)
    try:
        while _continues(together, trainer.step < steps and not trainer.enough):
            figures = trainer.forward()
            if together.is_main and (trainer.step % options.validate_every == 0 or trainer.step == steps):
                figures |= trainer.validate()
            trainer.note(figures)
            if asked.picture_due(trainer.step):
                trainer.show()
            trainer.save_now_and_then()
            yield Progress(name, trainer.step, options.steps, figures)
    except (GeneratorExit, Stopped):
        if together.is_main:
            together.broadcast("stop")  # the others wait to be told whether to continue
        raise
    finally:
        save_newest(trainer.state(), out, name)
    if trainer.average is not None:
        objective.trained.load_state_dict(trainer.average.values)
    objective.model.eval()
    return objective.model


def _continues(together: ProcessGroup, wanted: bool) -> bool:
    """Tell whether there is another step, as the main process decides; `Stopped` if that was stopped."""
    word = together.broadcast("go" if wanted else "over")
    if word == "stop":
        raise Stopped("stopped with the first process")
    return word == "go"


class _Trainer:
    def __init__(
        self, objective: Objective, options: LoopOptions, out: Path, name: str, card: Callable[[], dict[str, Any]]
    ) -> None:
        out.mkdir(parents=True, exist_ok=True)
        self.objective, self.options, self.out, self.name, self.card = objective, options, out, name, card
        self.parameters = list(objective.trained.parameters())
        self.optimizer = objective.optimizer(options)
        self.average = EMA(objective.trained, options.ema_decay) if options.ema_decay else None
        self.events = EventLog(out)
        self.step, self.best, self.enough = 0, float("-inf"), False
        self.score: float | None = None  # of the last validation
        self.began = self.saved = time.monotonic()
        self.told = -math.inf
        self.cpu_before, self.cpu_began = 0.0, time.process_time()

    def resume(self) -> None:
        """Continue from the newest checkpoint."""
        newest, damage = load_newest(self.out, self.name)
        self.take(_to_resume(newest, checkpoint(self.out, self.name, "stable"), self.options.steps))
        self.events.append({"event": "resumed", "stage": self.name, "step": self.step})
        if damage:
            logger.warning("%s", damage)
            self.events.append({"event": "trouble", "stage": self.name, "step": self.step, "why": damage})

    def take(self, saved: dict[str, Any]) -> None:
        self.objective.trained.load_state_dict(saved["model"])
        restore(self.optimizer, saved["optimizer"])
        if self.average is not None and saved["average"]:
            for k, v in saved["average"].items():  # onto the model's own device
                self.average.values[k].copy_(v)
        self.step, self.best, self.enough = saved["step"], saved["best"], saved.get("enough", False)
        self.score, self.cpu_before = saved.get("score"), saved.get("cpu_seconds", 0.0)

    @property
    def cpu_seconds(self) -> float:
        """Processor time that this stage has taken so far, over all its stretches, in seconds."""
        return round(self.cpu_before + time.process_time() - self.cpu_began, 1)

    def state(self) -> dict[str, Any]:
        return {
            "model": self.objective.trained.state_dict(),
            "average": self.average.values if self.average is not None else {},
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "steps": self.options.steps,
            "best": self.best,
            "score": self.score,
            "enough": self.enough,
            "cpu_seconds": self.cpu_seconds,
            "card": self.card(),
        }

    def forward(self) -> dict[str, Any]:
        """Make one step, and return its figures."""
        options, objective, began = self.options, self.objective, time.monotonic()
        for group in self.optimizer.param_groups:
            group["lr"] = rate(self.step, options) * group.get("lr_scale", 1.0)
        if options.decay_fraction and self.step == decay_start(options):
            self.keep("stable")
        objective.model.train()
        self.optimizer.zero_grad(set_to_none=True)
        loss, figures = objective.loss(self.step)
        loss.backward()
        process_group().sum_gradients(self.parameters)
        if options.clip:
            figures["gradient"] = float(torch.nn.utils.clip_grad_norm_(self.parameters, options.clip))
        if not (torch.isfinite(loss) and self._finite(figures.get("gradient"))):
            figures["skipped"] = 1.0
        else:
            self.optimizer.step()
            if self.average is not None:
                self.average.update(objective.trained, self.step)
        self.step += 1
        took = round(time.monotonic() - began, 4)
        return {"loss": float(loss.detach()), "rate": rate(self.step - 1, options), "took": took, **figures}

    def _finite(self, norm: float | None) -> bool:
        if norm is not None:
            return math.isfinite(norm)
        return all(bool(p.grad.isfinite().all()) for p in self.parameters if p.grad is not None)

    def validate(self) -> dict[str, Any]:
        """Score the averaged weights, and keep them if they are the best so far."""
        began, objective = time.monotonic(), self.objective
        own = {k: v.clone() for k, v in objective.trained.state_dict().items()} if self.average is not None else None
        if self.average is not None:
            objective.trained.load_state_dict(self.average.values)
        objective.model.eval()
        try:
            with torch.no_grad():
                scores: dict[str, Any] = dict(objective.validate(objective.model))
        finally:
            if own is not None:  # put the trained weights back
                objective.trained.load_state_dict(own)
        self.score = scores.get("score")
        if scores.get("score", float("-inf")) > self.best:
            self.best = scores["score"]
            self.keep("best")
        self.enough = objective.enough()
        return {**scores, "validating": round(time.monotonic() - began, 3)}

    def note(self, figures: dict[str, Any]) -> None:
        """Write a line of the log."""
        now = time.monotonic()
        if now - self.told > TELL_MEMORY:
            figures["memory"] = memory_used(self.parameters[0].device if self.parameters else torch.device("cpu"))
            figures["cpu_seconds"] = self.cpu_seconds
            self.told = now
        line = {"stage": self.name, "step": self.step, "steps": self.options.steps}
        self.events.append({**line, "seconds": round(now - self.began, 1), **figures})

    def show(self) -> None:
        """Keep a picture of a training sample, if the objective has one."""
        self.objective.model.eval()
        with torch.no_grad():
            picture = self.objective.picture(self.step)
        try:
            if picture:
                save_picture(self.out, self.name, self.step, picture)
        except OSError as error:
            logger.warning("No picture of the run could be kept: %s", error)

    def save_now_and_then(self) -> None:
        """Update the newest checkpoint when it is due, and keep one every `checkpoint_every` steps."""
        if self.step % self.options.checkpoint_every == 0:
            self.keep(str(self.step))
        if time.monotonic() - self.saved > 60 * self.options.save_minutes:
            self.keep("")
            self.saved = time.monotonic()

    def keep(self, kind: str) -> None:
        """Write a checkpoint; a full disk does not end the run."""
        try:
            if kind:
                atomic_save(self.state(), checkpoint(self.out, self.name, kind))
            else:
                save_newest(self.state(), self.out, self.name)
        except OSError as error:
            logger.warning("A checkpoint could not be written, and will be tried again: %s", error)
            self.events.append({"event": "trouble", "stage": self.name, "step": self.step, "why": str(error)})


def _to_resume(state: dict[str, Any], stable: Path, steps: int) -> dict[str, Any]:
    """Return the checkpoint to resume from: a finished run that gets longer goes back to before its rate fell."""
    finished = state["step"] >= state.get("steps", float("inf"))
    if finished and steps > state["step"] and stable.exists():
        before = load_checkpoint(stable)
        if before.get("steps") == state["steps"]:  # else it belongs to an earlier, shorter run
            return {**before, "best": state["best"]}  # the best checkpoint so far stays the one to beat
    return state
