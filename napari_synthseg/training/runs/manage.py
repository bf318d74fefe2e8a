"""Making, copying, changing and removing runs, and asking something of one that is going."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from napari_synthseg.errors import InputError
from napari_synthseg.fields import from_json, to_json
from napari_synthseg.training import folder
from napari_synthseg.training.engine.events import read_events
from napari_synthseg.training.runs import requests
from napari_synthseg.training.runs.life import is_going
from napari_synthseg.training.runs.places import new_folder, remember
from napari_synthseg.training.runs.recipes import recipe
from napari_synthseg.weights import data_folder, own_name

OURS = (folder.CONFIG, folder.EVENTS, folder.REQUESTS, folder.PICTURE, folder.OUTPUT, folder.LOCK, "process.json")
"""Files that a run writes into its folder, besides checkpoints, data and weights."""
DATA = "data"
"""Folder inside a run's for layers that were written for it."""


def create(name: str, options: Any) -> Path:
    """Make a run that `launch` can start.

    Args:
        name: of the recipe.
        options: of the recipe; `out` is the folder of the run.

    Returns:
        The folder.

    Raises:
        InputError: the folder holds a run already.
    """
    out = options.out.expanduser().absolute()
    if (out / folder.CONFIG).exists():
        raise InputError(f"The folder {out} holds a run already: choose another name.")
    entry = recipe(name)
    folder.write_config(out, recipe=name, options=to_json(replace(options, out=out)), stages=entry.stages(options))
    remember(out)
    return out


@dataclass(frozen=True)
class Config:
    """What a run is.

    Attributes:
        recipe: name of its recipe.
        options: of the recipe, as its dataclass; `out` is the run's folder.
        stages: steps of each stage, in their order.
        created: seconds since 1970.
        version: of the program that made it.
        card: what is to stand on the card of its weights; empty before its first start.
    """

    recipe: str
    options: Any
    stages: dict[str, int]
    created: float
    version: str
    card: dict[str, Any]


def read_config(run: Path) -> Config:
    """What a run is.

    Raises:
        InputError: the folder holds no run, or its options are of another version.
    """
    content = folder.read_config(run)
    values = {**content["options"], "out": str(run), "resume": False}
    return Config(
        content["recipe"],
        from_json(recipe(content["recipe"]).options_type(), values),
        dict(content.get("stages") or {}),
        float(content.get("created") or 0.0),
        str(content.get("version", "")),
        folder.card_of(run),
    )


def options_to_resume(run: Path, name: str) -> Any | None:
    """The options of a run that is to be gone on with; None where the folder holds none, so that one begins there.

    Args:
        run: its folder.
        name: of the recipe that it must be a run of.

    Raises:
        InputError: it is a run of another recipe, or its options are of another version.
    """
    check_recipe(run, name)
    return None if folder.recipe_of(run) is None else read_config(run).options


def check_recipe(run: Path, name: str) -> None:
    """Refuse to go on with the run of another recipe.

    Raises:
        InputError: the folder holds one.
    """
    if (own := folder.recipe_of(run)) not in (None, name):
        raise InputError(
            f"The folder {run} holds a run of `train {own}`, not of `train {name}`: choose another folder."
        )


def steps_done(run: Path) -> dict[str, int]:
    """Steps that each stage has done, as far as checkpoints are there to go on from."""
    done = {str(event.get("stage", "")): int(event["step"]) for event in read_events(run) if "step" in event}
    return {stage: steps for stage, steps in done.items() if folder.checkpoint(run, stage).exists()}


def check_steps(run: Path, stages: Mapping[str, int]) -> None:
    """Refuse to make a run shorter than it is already.

    Args:
        run: its folder.
        stages: the steps that are asked for, of each stage.

    Raises:
        InputError: it has done more of them.
    """
    if dict(stages) == folder.read_json(run / folder.CONFIG).get("stages"):
        return
    done, total = steps_done(run), sum(stages.values())
    if (did := sum(done.get(stage, 0) for stage in stages)) > total:
        raise InputError(f"The run {run.name} has done {did:,} steps already, more than {total:,}: ask for more steps.")


def change(run: Path, **changes: Any) -> None:
    """Change options of a run that is not going, such as its steps.

    Raises:
        InputError: it is going, or there is no such option, or a value is out of range, or it has done more steps.
    """
    if is_going(run):
        raise InputError(f"The run {run.name} is going: stop it before you change it.")
    config = folder.read_config(run)
    entry = recipe(config["recipe"])
    options = from_json(entry.options_type(), {**to_json(read_config(run).options), **changes})
    stages = entry.stages(options)
    check_steps(run, stages)
    folder.write_config(run, options=to_json(options), stages=stages)


def duplicate(run: Path, wish: str = "", **changes: Any) -> Path:
    """A new run with the options of another one, and none of its checkpoints.

    Args:
        run: to take the options of.
        wish: name of the new folder; default the old one's with a number.
        changes: options that are to be different.

    Returns:
        The new run's folder.
    """
    config = folder.read_config(run)
    out = new_folder(config["recipe"], wish or run.name)
    values = {**to_json(read_config(run).options), **changes, "out": str(out)}
    if (run / DATA).is_dir():  # layers that were written for it
        shutil.copytree(run / DATA, out / DATA)
        old, new = str((run / DATA).absolute()), str((out / DATA).absolute())
        values = {k: v.replace(old, new) if isinstance(v, str) else v for k, v in values.items()}
    return create(config["recipe"], from_json(recipe(config["recipe"]).options_type(), values))


def delete(run: Path) -> None:
    """Remove a run: what it wrote, checkpoints and weights included; other files of its folder stay.

    Raises:
        InputError: it is going, or the folder holds no run.
    """
    config = folder.read_config(run)
    if is_going(run):
        raise InputError(f"The run {run.name} is going: stop it before you delete it.")
    name = str(config["options"].get("name", ""))
    for path in run.glob(f"{name}.*") if name else []:
        if path.name in (f"{name}.safetensors", f"{name}.json"):
            path.unlink()
    remove_folder(run)


def remove_folder(run: Path) -> None:
    """Remove what runs write, and the folder if nothing else is in it."""
    for name in (folder.CHECKPOINTS, DATA):
        shutil.rmtree(run / name, ignore_errors=True)
    for name in OURS:
        (run / name).unlink(missing_ok=True)
    if run.is_dir() and not any(run.iterdir()):
        run.rmdir()


def pause(run: Path) -> None:
    """Have a run wait after its step; its memory stays taken."""
    requests.ask(run, do="pause")


def go_on(run: Path) -> None:
    """End a run's pause."""
    requests.ask(run, do="go")


def stop(run: Path) -> None:
    """Have a run end after its step, with a checkpoint."""
    requests.ask(run, do="stop")


def ask_pictures(run: Path, every: int | None) -> None:
    """Have a run keep a picture of a training sample every so many steps; None: no more."""
    requests.ask(run, pictures=every)


def use(run: Path, name: str | None = None, *, best: bool = True) -> Path:
    """Make weights of a run and put them where segmenting and prompting find them.

    Args:
        run: its folder; it may still be going.
        name: for the weights, by default that of the options; made different if it is taken.
        best: the checkpoint with the best validation score, where there is one.

    Returns:
        The weights file.

    Raises:
        InputError: the run has no checkpoint of every stage yet.
    """
    config = folder.read_config(run)
    entry = recipe(config["recipe"])
    wish = name or own_name(str(config["options"].get("name") or run.name))
    path = _free(data_folder() / "weights" / f"{wish}.safetensors")
    best = best and any((run / folder.CHECKPOINTS).glob("*-best.pt"))
    if best:
        try:
            return entry.export(run, path, best=True)
        except InputError:  # a stage that has no score yet
            pass
    return entry.export(run, path)


def _free(path: Path) -> Path:
    """A path that no weights have, by name, anywhere they are looked for."""
    from napari_synthseg.weights import ENDINGS, folders

    def taken(stem: str) -> bool:
        return any((one / f"{stem}{ending}").exists() for one in folders() for ending in ENDINGS)

    count, stem = 1, path.stem
    while taken(stem):
        count += 1
        stem = f"{path.stem}-{count}"
    return path.with_name(f"{stem}.safetensors")
