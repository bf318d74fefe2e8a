"""Runs of training: made, started in processes of their own, followed, paused, stopped, taken up again, used.

Everything about a run stands in its folder (`training.folder`), so whoever finds the folder can follow the run or ask
something of it; no server, and no window that must stay open. Importing this imports neither torch nor Qt.
"""

from napari_synthseg.training.folder import EVENTS, recipe_of
from napari_synthseg.training.runs.estimate import Estimate, estimate, in_hours
from napari_synthseg.training.runs.follower import Curves, Follower, Picture, pictures
from napari_synthseg.training.runs.launch import launch
from napari_synthseg.training.runs.life import State, is_going, state
from napari_synthseg.training.runs.manage import (
    Config,
    ask_pictures,
    change,
    create,
    delete,
    duplicate,
    go_on,
    options_to_resume,
    pause,
    read_config,
    steps_done,
    stop,
    use,
)
from napari_synthseg.training.runs.places import all_runs, find_run, new_folder, runs_folder
from napari_synthseg.training.runs.queue import devices
from napari_synthseg.training.runs.recipes import RECIPES, RecipeEntry, recipe
from napari_synthseg.training.runs.work import recorded, work

__all__ = [
    "EVENTS", "RECIPES", "Config", "Curves", "Estimate", "Follower", "Picture", "RecipeEntry", "State", "all_runs",
    "ask_pictures", "change", "create", "delete", "devices", "duplicate", "estimate", "find_run", "go_on", "in_hours",
    "is_going", "launch", "new_folder", "options_to_resume", "pause", "pictures", "read_config", "recipe", "recipe_of",
    "recorded", "runs_folder", "state", "steps_done", "stop", "use", "work",
]  # fmt: skip
