"""`runs`: list, show and control the runs of training."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Annotated, Any

import tyro

from napari_synthseg.cli.terminal import DONE, TRAINING, Json, Out, RunName, command, follow
from napari_synthseg.cli.train import train_to_the_end
from napari_synthseg.errors import InputError
from napari_synthseg.fields import changed, to_json
from napari_synthseg.jobs import duration
from napari_synthseg.training import runs

RunNames = Annotated[
    tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN...", help="the runs' folders, or their names.")
]
LATELY = ("loss", "score", "synthetic", "rate")
"""Figures that `show` prints first."""


@command("runs list", heading=TRAINING)
def list_runs(as_json: Json = False) -> int:
    """List the runs of training, the newest first."""
    found = [(run, runs.status(run)) for run in runs.all_runs()]
    if as_json:
        print(json.dumps([facts(run, state) for run, state in found], indent=1))
        return DONE
    width = max((len(run.name) for run, _ in found), default=3)
    for run, state in found:
        print(f"{run.name:{width}}  {runs.recipe_of(run) or '?':12} {state.kind:11} {progress_of(state)}")
    if not found:
        print("There are no runs yet: `train RECIPE` makes one.", file=sys.stderr)
    return DONE


@command("runs show", heading=TRAINING)
def show(run: RunName, as_json: Json = False) -> int:
    """Show a run: state, options, newest figures, Dice of each structure."""
    path = runs.find_run(run)
    state, follower = runs.status(path), runs.Follower(path)
    while follower.read():
        pass
    if as_json:
        print(json.dumps({**facts(path, state), "figures": follower.figures, "dice": follower.dice}, indent=1))
        return DONE
    config, figures = runs.read_config(path), follower.figures
    plain = to_json(config.options)
    options = ", ".join(f"{k} {plain[k]}" for k in changed(config.options) if k not in ("out", "resume"))
    newest = dict.fromkeys(name for name in (*LATELY, *figures) if name in figures and name != "memory")
    began = time.strftime("%Y-%m-%d %H:%M", time.localtime(state.started)) if state.started else ""
    lines = [
        ("folder", path),
        ("because", state.message),
        ("started", began and f"{began} on {state.device}"),
        ("progress", progress_of(state)),
        ("memory", f"{state.memory / 2**30:.1f} GiB" if state.memory else ""),
        ("options", options or "all defaults"),
        ("newest", ", ".join(f"{name} {figures[name]:.4g}" for name in newest)),
        *(("Dice", f"{value:.3f} {name}") for name, value in sorted(follower.dice.items())),
        ("weights", state.weights),
    ]
    print(f"{path.name}: {config.recipe}, {state.kind}")
    print("\n".join(f"  {name:9} {value}" for name, value in lines if value))
    return DONE


@command("runs stop", heading=TRAINING)
def stop(run: RunNames) -> int:
    """Stop runs; each ends after its step, with a checkpoint."""
    return ask_active(run, runs.stop)


@command("runs pause", heading=TRAINING)
def pause(run: RunNames) -> int:
    """Pause runs after their step, keeping their memory; `runs resume` continues them."""
    return ask_active(run, runs.pause)


def ask_active(names: tuple[str, ...], ask: Callable[[Path], None]) -> int:
    """Ask the same of some runs, or of none if one of them is not running.

    Raises:
        InputError: no run is named, or one of them is not running.
    """
    paths = [runs.find_run(name) for name in names]
    if not paths:
        raise InputError("Name at least one run: `runs list` lists them.")
    if idle := next((path for path in paths if not runs.is_active(path)), None):
        raise InputError(f"The run {idle.name} is not running.")
    for path in paths:
        ask(path)
    return DONE


@command("runs resume", heading=TRAINING)
def resume(run: RunName, steps: int | None = None, background: bool = False) -> int:
    """Resume a run that was paused, stopped or interrupted, or make it longer.

    Args:
        steps: of the whole training, if they change.
        background: in a process of its own, behind other runs on its device.
    """
    path = runs.find_run(run)
    if steps is not None:
        if "steps" not in {one.name for one in fields(runs.read_config(path).options)}:
            raise InputError("This recipe has steps for each of its networks: give them to `train ... --resume`.")
        runs.change(path, steps=steps)
    if runs.is_active(path):
        runs.unpause(path)
    elif background:
        runs.launch(path)
    else:
        train_to_the_end(runs.recipe(runs.read_config(path).recipe), runs.train_run(path), path)
    return DONE


@command("runs delete", heading=TRAINING)
def delete(run: RunName, yes: bool = False) -> int:
    """Remove a run, with its checkpoints and weights.

    Args:
        yes: do not ask.
    """
    path = runs.find_run(run)
    if not yes and not sys.stdin.isatty():
        raise InputError("There is no terminal to ask at: add --yes to remove the run.")
    if yes or input(f"Remove {path} with its checkpoints? [y/N] ").strip().lower() in ("y", "yes"):
        runs.delete(path)
    return DONE


@command("runs duplicate", heading=TRAINING)
def duplicate(run: RunName, name: str = "", seed: int | None = None, steps: int | None = None) -> int:
    """Make a new run with the options of another; `runs resume` starts it.

    Args:
        name: of the new folder; default the old one's with a number.
        seed: another seed.
        steps: other steps.
    """
    changes: dict[str, Any] = {k: v for k, v in (("seed", seed), ("steps", steps)) if v is not None}
    print(runs.duplicate(runs.find_run(run), name, **changes))
    return DONE


@command("runs use", heading=TRAINING)
def use(run: RunName, name: str | None = None, newest: bool = False) -> int:
    """Make weights of a run, and install them where they are found by name.

    Args:
        name: for the weights; default the one that the run's options give.
        newest: those of the newest checkpoint, not of the one with the best validation score.
    """
    path = runs.use(runs.find_run(run), name, best=not newest)
    print(f"{path.stem}: {path}")
    return DONE


@command("runs tensorboard", heading=TRAINING)
def tensorboard(run: RunName, out: Out, watch: bool = False) -> int:
    """Write a run's curves as event files of TensorBoard.

    Args:
        out: folder for the files; `tensorboard --logdir` takes it.
        watch: continue until the run has ended.
    """
    from napari_synthseg.training.runs.follow import to_tensorboard

    print(f"{follow(to_tensorboard(runs.find_run(run), out, follow=watch)):,} figures in {out}")
    return DONE


def progress_of(state: runs.Status) -> str:
    """Return how far a run is, in a few words."""
    if not state.done:
        return state.message or f"0 of {state.total:,} steps"
    words = [f"{state.done:,} of {state.total:,} steps"] if state.total else [f"{state.done:,} steps"]
    if state.active and state.steps_per_second:
        words.append(f"{state.steps_per_second:.2f} steps/s")
    if state.seconds_left is not None:
        words.append(f"{duration(state.seconds_left)} left")
    if state.score is not None:
        words.append(f"score {state.score:.3f}")
    return ", ".join(words)


def facts(run: Path, state: runs.Status) -> dict[str, Any]:
    """Return a run as JSON."""
    values = {**asdict(state), "weights": str(state.weights) if state.weights else None}
    return {"name": run.name, "folder": str(run), "recipe": runs.recipe_of(run), "state": values.pop("kind"), **values}
