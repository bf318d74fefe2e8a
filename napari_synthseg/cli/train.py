"""`train RECIPE` for every recipe, and `export`: networks, and the weights that come of them."""

# No `from __future__ import annotations` here: tyro reads the annotations of functions made inside functions.

from collections.abc import Callable
from pathlib import Path
from typing import Any

import tyro

from napari_synthseg.cli.ends import DONE
from napari_synthseg.cli.following import follow
from napari_synthseg.cli.parts import Out
from napari_synthseg.errors import InputError
from napari_synthseg.training import runs
from napari_synthseg.training.options.as_json import options_to_json
from napari_synthseg.training.options.checks import check_weights_name
from napari_synthseg.training.runs import RECIPES

SURE = ("synthseg", "robust")
"""Recipes whose weights say from which score on a scan needs no second look."""


def make_train(name: str) -> Callable[[], Callable[..., int]]:
    """What makes the sub-command `train NAME`."""
    entry = RECIPES[name]

    def make() -> Callable[..., int]:
        options_type = entry.options_type()

        def train(
            training: options_type,  # type: ignore[valid-type]
            estimate: bool = False,
            background: bool = False,
        ) -> int:
            if estimate:
                print(follow(runs.estimate(name, training)).words)
            elif background:
                print(start_in_background(name, training))
            else:
                follow(runs.recorded(entry, training))
            return DONE

        train.__doc__ = f"""{entry.summary}

        Args:
            estimate: only try a few steps, and say what time and memory the whole training would take.
            background: train in a process of its own, behind other runs on this device; `runs list` shows it.
        """
        return train

    make.__doc__ = entry.summary
    return make


def start_in_background(name: str, options: Any) -> str:
    """Make a run, or take up the one in the folder with these options, and start it; says where it is.

    Raises:
        InputError: the folder holds a run and it is not to be resumed, or it cannot be started.
    """
    out = options.out.expanduser().absolute()
    if options.resume and runs.recipe_of(out) == name:
        runs.change(out, **{k: v for k, v in options_to_json(options).items() if k not in ("out", "resume")})
    else:
        runs.create(name, options)
    runs.launch(out)
    return f"{out} is being trained; `runs show {out.name}` tells how it goes."


def make_export() -> Callable[..., int]:
    """Turn a training run's checkpoints into weights that can be used."""

    def export(
        run: tyro.conf.Positional[Path],
        out: Out,
        best: bool = False,
        scores: Path | None = None,
        confident_score: float | None = None,
    ) -> int:
        """Turn the checkpoints of a training run, finished or not, into weights that can be used.

        Args:
            run: the run's folder.
            out: the weights to write (.safetensors); their card is written beside them.
            best: the checkpoints with the best validation scores instead of the newest.
            scores: figures of `evaluate --json` on scans segmented with these weights, or of `evaluate-prompts --json`,
                for their card.
            confident_score: how sure the first stage is on ordinary scans; below, other orientations are looked at.
        """
        print(exported(run, out, best, scores, confident_score))
        return DONE

    return export


def exported(run: Path, out: Path, best: bool, scores: Path | None, confident_score: float | None = None) -> Path:
    """Make weights of a run's checkpoints.

    Raises:
        InputError: the folder holds no run, a checkpoint is missing, or the recipe knows no `confident_score`.
    """
    check_weights_name(out)
    entry = runs.recipe(runs.read_config(run).recipe)
    wanted: dict[str, Any] = {"best": best, "scores": scores}
    if confident_score is not None:
        if entry.name not in SURE:
            raise InputError(f"Weights of the recipe {entry.name} have no confident score: leave that option out.")
        wanted["confident_score"] = confident_score
    return entry.export(run, out, **wanted)
