"""`train RECIPE` for every recipe, and `export`: networks, and the weights that come of them."""

# No `from __future__ import annotations` here: tyro reads the annotations of functions made inside functions.

import argparse
import shlex
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import tyro

from napari_synthseg.cli.terminal import DONE, PROGRAM, Out, follow
from napari_synthseg.errors import InputError
from napari_synthseg.fields import to_json
from napari_synthseg.jobs import Progress
from napari_synthseg.training import runs
from napari_synthseg.training.recipe import check_weights_name
from napari_synthseg.training.runs import RECIPES, RecipeEntry

SURE = ("synthseg", "robust")
"""Recipes whose weights say from which score on a scan needs no second look."""


def make_train(name: str) -> Callable[..., Callable[..., int]]:
    """What makes the sub-command `train NAME`, from the words that follow it: the run that they resume has options."""
    entry = RECIPES[name]

    def make(words: Sequence[str] = ()) -> Callable[..., int]:
        options_type = entry.options
        run = run_to_resume(words)
        own = runs.options_to_resume(run, name) if run is not None else None

        def train(
            training: options_type = tyro.MISSING_NONPROP if own is None else own,  # type: ignore[valid-type]
            estimate: bool = False,
            background: bool = False,
        ) -> int:
            options: Any = training
            options = replace(options, out=options.out.expanduser())
            if estimate:
                print(follow(runs.estimate(name, options)).sentence)
            elif background:
                print(start_in_background(name, options))
            else:
                train_to_the_end(entry, runs.train_recorded(entry, options), options.out)
            return DONE

        train.__doc__ = f"""{entry.summary}

        With --resume, options that are not given are those of the run in the folder --out.

        Args:
            estimate: only try a few steps, and say what time and memory the whole training would take.
            background: train in a process of its own, behind other runs on this device; `runs list` shows it.
        """
        return train

    make.__doc__ = entry.summary
    return make


def run_to_resume(words: Sequence[str]) -> Path | None:
    """The folder of the run that a command goes on with, told before its options are read; None: it begins one."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--out", type=Path, nargs="?")
    parser.add_argument("--resume", action=argparse.BooleanOptionalAction)
    given, _ = parser.parse_known_args(words)
    return given.out.expanduser() if given.resume and given.out is not None else None


def train_to_the_end(entry: RecipeEntry, training: Generator[Progress, None, Path], run: Path) -> None:
    """Follow a training, then say what came of it, and how its weights are used."""
    made = follow(training).absolute()
    if not leads():
        return
    steps = sum(runs.steps_done(run).values())
    done = f"Finished: {steps:,} steps in all, in {run.absolute()}"
    if made.suffix != ".safetensors":  # a stage that makes no weights alone
        print(f"{done}; its checkpoint is {made}")
        return
    use = entry.use.replace("WEIGHTS", shlex.quote(str(made)))
    print(f"{done}; its weights are {made}\nTo use them: {PROGRAM} {use}")


def leads() -> bool:
    """Whether this process is alone, or the first of those that a cluster started."""
    from napari_synthseg.training.engine import distributed  # brings torch, which is there once something was trained

    return distributed.seat().rank == 0


def start_in_background(name: str, options: Any) -> str:
    """Make a run, or take up the one in the folder with these options, and start it; says where it is.

    Raises:
        InputError: the folder holds a run and it is not to be resumed, or it cannot be started.
    """
    out = options.out.expanduser().absolute()
    if options.resume and runs.recipe_of(out) == name:
        runs.change(out, **{k: v for k, v in to_json(options).items() if k not in ("out", "resume")})
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
