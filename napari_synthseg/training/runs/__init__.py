"""Runs of training: create, launch, follow, pause, stop, resume, export.

Everything about a run stands in its folder (`training.folder`), so whoever finds the folder can follow and control the
run without a server. Importing this imports neither torch nor Qt.
"""

from napari_synthseg.training.folder import EVENTS, recipe_of
from napari_synthseg.training.recipe import Recipe, recipe, recipes
from napari_synthseg.training.runs.estimate import Estimate, estimate
from napari_synthseg.training.runs.follow import Curves, Follower, RunPicture, best_score, pictures, to_tensorboard
from napari_synthseg.training.runs.process import launch, train_recorded, train_run
from napari_synthseg.training.runs.queue import devices
from napari_synthseg.training.runs.registry import (
    Config,
    all_runs,
    change,
    create,
    delete,
    duplicate,
    find_run,
    new_folder,
    options_to_resume,
    read_config,
    runs_folder,
    steps_done,
    use,
)
from napari_synthseg.training.runs.run import Status, is_active, pause, request_pictures, status, stop, unpause

RECIPES: dict[str, Recipe] = recipes()
"""All recipes by name."""

__all__ = [
    "EVENTS", "RECIPES", "Config", "Curves", "Estimate", "Follower", "RunPicture", "Recipe", "Status", "all_runs",
    "best_score", "change", "create", "delete", "devices", "duplicate", "estimate", "find_run",
    "is_active", "launch", "new_folder", "options_to_resume", "pause", "pictures", "read_config", "recipe",
    "recipe_of", "request_pictures", "runs_folder", "status", "steps_done", "stop", "to_tensorboard", "train_recorded",
    "train_run", "unpause", "use",
]  # fmt: skip
