"""What recipes do alike before their first step and after their last: options, device, the run's folder, its card."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from napari_synthseg.errors import InputError
from napari_synthseg.fields import to_json
from napari_synthseg.training.engine.checkpoints import trained_state as trained_state
from napari_synthseg.training.engine.loop import begin as begin
from napari_synthseg.training.engine.watching import watch
from napari_synthseg.training.folder import card_of, checkpoint, recipe_of, write_config
from napari_synthseg.training.recipe import check_weights_name as check_weights_name


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
