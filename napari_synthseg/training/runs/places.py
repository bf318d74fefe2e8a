"""Where runs are: a folder of the user's for new ones, and a list of those that were started elsewhere."""

from __future__ import annotations

import os
import time
from pathlib import Path

from napari_synthseg.training.folder import CONFIG
from napari_synthseg.weights import data_folder

ELSEWHERE = "elsewhere.txt"
"""A line for every folder of a run outside of the user's folder."""


def runs_folder() -> Path:
    """Where new runs go; NAPARI_SYNTHSEG_RUNS overrides it."""
    given = os.environ.get("NAPARI_SYNTHSEG_RUNS")
    return Path(given).expanduser() if given else data_folder() / "runs"


def remember(run: Path) -> None:
    """Have `all_runs` find a run that lies elsewhere."""
    run, home = run.expanduser().absolute(), runs_folder()
    if run.parent == home.absolute() or str(run) in _elsewhere():
        return
    home.mkdir(parents=True, exist_ok=True)
    with (home / ELSEWHERE).open("a", encoding="utf-8") as f:
        f.write(f"{run}\n")


def all_runs() -> list[Path]:
    """Folders of all runs that are known and still there, the newest first."""
    home = runs_folder()
    inside = [path.parent for path in home.glob(f"*/{CONFIG}")] if home.is_dir() else []
    outside = [path for line in _elsewhere() if ((path := Path(line)) / CONFIG).is_file()]
    return sorted(dict.fromkeys([*inside, *outside]), key=_made, reverse=True)


def find_run(wish: str | Path) -> Path:
    """A run by its folder, or by the name of its folder.

    Raises:
        InputError: there is none, or several have this name.
    """
    from napari_synthseg.errors import InputError

    path = Path(wish).expanduser()
    if (path / CONFIG).is_file():
        return path.absolute()
    named = [run for run in all_runs() if run.name == str(wish)]
    if len(named) == 1:
        return named[0]
    if named:
        raise InputError(f"Several runs are called {wish}: give the folder of the one you mean.")
    raise InputError(f"There is no run {str(wish)!r}: `runs list` says which there are.")


def new_folder(recipe: str, wish: str = "") -> Path:
    """A folder for a new run that does not exist yet.

    Args:
        recipe: name of the recipe.
        wish: name to give it, made different by a number if it is taken; default recipe and date.
    """
    plain = "".join(c if c.isalnum() or c in "-_." else "-" for c in wish).strip("-.")
    name = plain or f"{recipe}-{time.strftime('%Y-%m-%d')}"
    folder = runs_folder() / name
    count, names = 1, {run.name for run in all_runs()}  # those elsewhere too: a run is found by its name
    while folder.exists() or folder.name in names:
        count += 1
        folder = folder.with_name(f"{name}-{count}")
    return folder


def _made(run: Path) -> float:
    from napari_synthseg.training.folder import read_json

    created = read_json(run / CONFIG).get("created")
    return float(created) if isinstance(created, int | float) else 0.0


def _elsewhere() -> list[str]:
    try:
        return (runs_folder() / ELSEWHERE).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
