"""What recipes do alike before their first step and after their last: options, device, the run's folder, its card."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import torch

from napari_synthseg.devices import resolve_device
from napari_synthseg.errors import InputError
from napari_synthseg.fields import to_json
from napari_synthseg.training.engine.checkpoints import load_checkpoint
from napari_synthseg.training.engine.watching import watch
from napari_synthseg.training.folder import card_of, checkpoint, recipe_of, write_config
from napari_synthseg.training.options.checks import check_weights_name as check_weights_name


class RunOptions(Protocol):
    """What the options of all recipes have."""

    @property
    def seed(self) -> int:
        """Seed of everything random."""

    @property
    def device(self) -> str:
        """auto, cpu, cuda or mps."""

    @property
    def threads(self) -> int | None:
        """CPU threads; None: torch's."""


def begin(options: RunOptions) -> torch.device:
    """Set threads and seed; where to train."""
    if options.threads:
        torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    automatic = "cuda" if torch.cuda.is_available() else "cpu"  # not mps, on which nothing was ever trained
    return resolve_device(automatic if options.device == "auto" else options.device)


def check_new(out: Path, resume: bool, stages: str = "*") -> None:
    """Refuse to start over in the folder of a run.

    Args:
        out: the run's folder.
        resume: whether the run is to be resumed.
        stages: pattern of the stages that are to be trained.

    Raises:
        InputError: there are checkpoints, and the run is not to be resumed.
    """
    if not resume and any(checkpoint(out, stages).parent.glob(checkpoint(out, stages).name)):
        raise InputError(f"The folder {out} holds a run already: add --resume to go on, or choose another folder.")


def describe(recipe: str, options: Any, stages: Mapping[str, int], card: Mapping[str, Any]) -> None:
    """Keep in the run's folder what is trained and how, and what is to stand on the card of its weights.

    Args:
        recipe: name of the recipe.
        options: its options; their folder is made.
        stages: steps of each stage.
        card: of the weights to come.
    """
    if watch().recorded:  # the options that got here have a device of this machine in place of "auto"
        write_config(options.out, card=dict(card))
        return
    write_config(options.out, recipe=recipe, options=to_json(options), stages=dict(stages), card=dict(card))


def recipe_words(first: str, options: Any, plain: Any, hidden: Collection[str]) -> str:
    """A recipe in words: what it begins with, then the options that differ from the defaults.

    Args:
        first: such as "train synthseg, preset fast, seed 1".
        options: a dataclass.
        plain: the same with its defaults.
        hidden: options that are left out.
    """
    defaults = asdict(plain)
    chosen = {k: v for k, v in asdict(options).items() if v != defaults[k] and k not in hidden}
    return ", ".join([first, *(f"{k} {v}" for k, v in chosen.items())])


def trained_state(run: Path, stage: str, *, best: bool = False) -> dict[str, Any]:
    """A stage's checkpoint, to make weights of.

    Args:
        run: the run's folder.
        stage: such as "locate".
        best: the one with the best validation score, not the newest.

    Raises:
        InputError: there is none, such as of a stage that was never validated, or it is damaged.
    """
    path = checkpoint(run, stage, "best" if best else "")
    if best and not path.exists() and checkpoint(run, stage).exists():
        raise InputError(
            f"The stage {stage} of {run} has no validation score, so no best checkpoint: leave out --best."
        )
    if not path.exists():
        raise InputError(f"The run {run} has no checkpoint {path.name}: train that stage first.")
    return load_checkpoint(path)


def state_and_card(
    run: Path, path: Path, recipe: str, stage: str, *, best: bool, scores: Path | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What weights are made of in recipes of one stage: its checkpoint, and the card with name, steps and scores.

    Args:
        run: the run's folder; it may still be going.
        path: of the weights, ending in .safetensors.
        recipe: that the folder must be a run of.
        stage: its only one.
        best: the checkpoint with the best validation score instead of the newest.
        scores: JSON of `evaluate`, whose means go into the card.

    Raises:
        InputError: the folder holds no such run, it lacks the checkpoint, or the name ends otherwise.
    """
    check_weights_name(path)
    if recipe_of(run) != recipe:
        raise InputError(f"{run} is no run of train {recipe}: choose a folder that holds one.")
    state = trained_state(run, stage, best=best)
    card = {**card_of(run), "name": path.stem, "steps": int(state["step"])}
    if scores is not None:
        card["scores"] = mean_scores(scores)
    return state, card


def mean_scores(scores: Path) -> dict[str, float]:
    """The means in a file of `evaluate --json`, fit for a card."""
    return {k: round(v, 4) for k, v in json.loads(scores.read_text())["mean"].items() if v is not None}
