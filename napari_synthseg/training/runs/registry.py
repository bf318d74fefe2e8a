"""Run registry: find, create, copy, change and delete runs, read their configuration, and install their weights.

New runs go into the user's folder of runs; runs in other folders are remembered in a list.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import chain, count
from pathlib import Path
from typing import Any

from napari_synthseg.errors import InputError
from napari_synthseg.fields import from_json, to_json
from napari_synthseg.training import folder
from napari_synthseg.training.engine.events import read_events
from napari_synthseg.training.recipe import recipe
from napari_synthseg.training.runs.run import is_active
from napari_synthseg.weights.catalogue import data_folder, own_name

ELSEWHERE = "elsewhere.txt"
"""One line for each run outside of the user's folder of runs."""
DATA = "data"
"""Folder inside a run's for layers that were written for it."""
WRITTEN = (
    folder.CONFIG, folder.EVENTS, folder.REQUESTS, folder.PICTURE, folder.OUTPUT, folder.LOCK, folder.PROCESS,
    folder.ACTIVITY,
)  # fmt: skip
"""Files that a run writes into its folder, besides checkpoints, data and weights."""


# Find


def runs_folder() -> Path:
    """Return the folder for new runs; NAPARI_SYNTHSEG_RUNS overrides it."""
    given = os.environ.get("NAPARI_SYNTHSEG_RUNS")
    return Path(given).expanduser() if given else data_folder() / "runs"


def remember(run: Path) -> None:
    """List a run that lies outside of the user's folder, so that `all_runs` finds it."""
    run, home = run.expanduser().absolute(), runs_folder()
    if run.parent == home.absolute() or str(run) in _elsewhere():
        return
    home.mkdir(parents=True, exist_ok=True)
    with (home / ELSEWHERE).open("a", encoding="utf-8") as f:
        f.write(f"{run}\n")


def all_runs() -> list[Path]:
    """Return the folders of all known runs that still exist, newest first."""
    home = runs_folder()
    inside = [path.parent for path in home.glob(f"*/{folder.CONFIG}")] if home.is_dir() else []
    outside = [path for line in _elsewhere() if ((path := Path(line)) / folder.CONFIG).is_file()]
    return sorted(dict.fromkeys([*inside, *outside]), key=_created, reverse=True)


def find_run(wish: str | Path) -> Path:
    """Find a run by its folder, or by the name of its folder; an `InputError` if not exactly one has it."""
    path = Path(wish).expanduser()
    if (path / folder.CONFIG).is_file():
        return path.absolute()
    named = [run for run in all_runs() if run.name == str(wish)]
    if len(named) > 1:
        raise InputError(f"Several runs are called {wish}: give the folder of one of them.")
    if not named:
        raise InputError(f"There is no run {str(wish)!r}: `runs list` shows all runs.")
    return named[0]


def new_folder(recipe: str, wish: str = "") -> Path:
    """Return a folder for a new run that does not exist yet.

    Args:
        recipe: name of the recipe.
        wish: name of the folder, followed by a number if it is taken; by default recipe and date.
    """
    plain = "".join(c if c.isalnum() or c in "-_." else "-" for c in wish).strip("-.")
    name = plain or f"{recipe}-{time.strftime('%Y-%m-%d')}"
    names = {run.name for run in all_runs()}  # also those elsewhere, since runs are found by name
    return runs_folder() / _free(name, lambda one: one in names or (runs_folder() / one).exists())


def _free(name: str, taken: Callable[[str], bool]) -> str:
    return next(one for one in chain([name], (f"{name}-{i}" for i in count(2))) if not taken(one))


def _created(run: Path) -> float:
    created = folder.read_json(run / folder.CONFIG).get("created")
    return float(created) if isinstance(created, int | float) else 0.0


def _elsewhere() -> list[str]:
    try:
        return (runs_folder() / ELSEWHERE).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


# Configuration


@dataclass(frozen=True)
class Config:
    """Configuration of a run."""

    recipe: str
    options: Any
    """Of the recipe, as its dataclass; `out` is the run's folder."""
    stages: dict[str, int]
    """Steps of each stage, in their order."""
    created: float
    """Seconds since 1970."""
    version: str
    """Of the program that made it."""
    card: dict[str, Any]
    """Of its weights; empty before the first start."""


def read_config(run: Path) -> Config:
    """Read the configuration of a run; an `InputError` if there is none, or its options are of another version."""
    content = folder.read_config(run)
    values = {**content["options"], "out": str(run), "resume": False}
    return Config(
        content["recipe"],
        recipe(content["recipe"]).read_options(values),
        dict(content.get("stages") or {}),
        float(content.get("created") or 0.0),
        str(content.get("version", "")),
        folder.card_of(run),
    )


def options_to_resume(run: Path, name: str) -> Any | None:
    """Return the options of a run of a recipe to resume, or None if the folder holds none and a new run begins there.

    An `InputError` says that it is a run of another recipe or version.
    """
    check_recipe(run, name)
    return None if folder.recipe_of(run) is None else read_config(run).options


def check_recipe(run: Path, name: str) -> None:
    """Raise an `InputError` if the folder holds the run of another recipe."""
    if (own := folder.recipe_of(run)) not in (None, name):
        raise InputError(f"The folder {run} holds a run of `train {own}`, not `train {name}`: choose another folder.")


def steps_done(run: Path) -> dict[str, int]:
    """Return the finished steps of each stage that has a checkpoint."""
    done = {str(event.get("stage", "")): int(event["step"]) for event in read_events(run) if "step" in event}
    return {stage: steps for stage, steps in done.items() if folder.checkpoint(run, stage).exists()}


def check_steps(run: Path, stages: Mapping[str, int]) -> None:
    """Raise an `InputError` if the run has done more steps than are now asked for of all stages."""
    if dict(stages) == folder.read_json(run / folder.CONFIG).get("stages"):
        return
    done, total = steps_done(run), sum(stages.values())
    if (did := sum(done.get(stage, 0) for stage in stages)) > total:
        raise InputError(f"The run {run.name} has done {did:,} steps already, more than {total:,}: ask for more steps.")


# Create, change, delete


def create(name: str, options: Any) -> Path:
    """Create a run of a recipe in the folder `options.out`, which it returns; an `InputError` if that holds a run."""
    out = options.out.expanduser().absolute()
    if (out / folder.CONFIG).exists():
        raise InputError(f"The folder {out} holds a run already: choose another name.")
    stages = recipe(name).stages(options)
    folder.write_config(out, recipe=name, options=to_json(replace(options, out=out)), stages=stages)
    remember(out)
    return out


def change(run: Path, **changes: Any) -> None:
    """Change options of an inactive run, such as its steps.

    Raises:
        InputError: it is active, has done more steps, an option does not exist, or a value is out of range.
    """
    if is_active(run):
        raise InputError(f"The run {run.name} is active: stop it before you change it.")
    config = read_config(run)
    options = from_json(type(config.options), {**to_json(config.options), **changes})
    stages = recipe(config.recipe).stages(options)
    check_steps(run, stages)
    folder.write_config(run, options=to_json(options), stages=stages)


def duplicate(run: Path, wish: str = "", **changes: Any) -> Path:
    """Create a run with the options of another one but for some changes, without checkpoints; return its folder.

    `wish` is the name of the new folder; by default the old one's, with a number.
    """
    config = read_config(run)
    out = new_folder(config.recipe, wish or run.name)
    values = {**to_json(config.options), **changes, "out": str(out)}
    if (run / DATA).is_dir():  # layers that were written for it
        shutil.copytree(run / DATA, out / DATA)
        old, new = str((run / DATA).absolute()), str((out / DATA).absolute())
        values = {k: v.replace(old, new) if isinstance(v, str) else v for k, v in values.items()}
    return create(config.recipe, from_json(type(config.options), values))


def delete(run: Path) -> None:
    """Delete the files of a run, checkpoints and weights included; other files in its folder stay.

    Raises:
        InputError: it is active, or the folder holds no run.
    """
    config = folder.read_config(run)
    if is_active(run):
        raise InputError(f"The run {run.name} is active: stop it before you delete it.")
    if name := str(config["options"].get("name", "")):
        for ending in (".safetensors", ".json"):
            (run / f"{name}{ending}").unlink(missing_ok=True)
    remove_folder(run)


def remove_folder(run: Path) -> None:
    """Remove the files of a run, and the folder if nothing else is in it."""
    for name in (folder.CHECKPOINTS, DATA):
        shutil.rmtree(run / name, ignore_errors=True)
    for name in WRITTEN:
        (run / name).unlink(missing_ok=True)
    if run.is_dir() and not any(run.iterdir()):
        run.rmdir()


def use(run: Path, name: str | None = None, *, best: bool = True) -> Path:
    """Export weights of a run to the folder where segmenting and prompting find them, and return their file.

    Args:
        run: its folder; it may still be active.
        name: of the weights, by default that of the options; followed by a number if it is taken in any folder.
        best: take the checkpoint with the best validation score, if there is one.

    Raises:
        InputError: the run has no checkpoint of every stage yet.
    """
    from napari_synthseg.weights.catalogue import ENDINGS, folders

    config = folder.read_config(run)
    entry = recipe(config["recipe"])
    wish = name or own_name(str(config["options"].get("name") or run.name))
    stem = _free(wish, lambda one: any((place / f"{one}{end}").exists() for place in folders() for end in ENDINGS))
    path = data_folder() / "weights" / f"{stem}.safetensors"
    if best and any((run / folder.CHECKPOINTS).glob("*-best.pt")):
        try:
            return entry.export(run, path, best=True)
        except InputError:  # a stage without a score
            pass
    return entry.export(run, path)
