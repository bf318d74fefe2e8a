"""Layout of a run's folder, and its `config.json`: recipe, options, stages and card. No torch here."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from napari_synthseg import __version__
from napari_synthseg.atomic_io import write_text
from napari_synthseg.errors import InputError

CONFIG = "config.json"
EVENTS = "events.jsonl"
CHECKPOINTS = "checkpoints"
REQUESTS = "requests.json"
PICTURE = "picture.npz"
OUTPUT = "output.txt"
"""Output of a run in the background."""
PROCESS = "process.json"
"""Which process, on which machine, trained last, and since when."""
ACTIVITY = "activity.json"
"""What that process does between steps."""
LOCK = "running.lock"
"""Locked by the process that trains, as long as it lives."""


def checkpoint(run: Path, stage: str, kind: str = "") -> Path:
    """Return the path of a stage's checkpoint.

    Args:
        run: the run's folder.
        stage: such as "locate".
        kind: "" for the newest, "best", "stable" (from before the rate began to fall), or a number of steps.
    """
    return run / CHECKPOINTS / (f"{stage}-{kind}.pt" if kind else f"{stage}.pt")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file's object; an empty one if there is none or it is damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def write_config(run: Path, **parts: Any) -> None:
    """Set parts of a run's `config.json` and keep the others; a new one gets its date and version.

    Args:
        run: the run's folder; created if missing.
        parts: "recipe", "options", "stages", "card".
    """
    new = {"created": round(time.time(), 1), "version": __version__}
    write_text(run / CONFIG, json.dumps({**new, **read_json(run / CONFIG), **parts}, indent=1) + "\n")


def read_config(run: Path) -> dict[str, Any]:
    """Read a run's `config.json`.

    Raises:
        InputError: the folder holds none, or a damaged one.
    """
    content = read_json(run / CONFIG)
    if not isinstance(content.get("recipe"), str) or not isinstance(content.get("options"), dict):
        raise InputError(f"The folder {run} contains no training run (no readable {CONFIG}). Choose another folder.")
    return content


def recipe_of(run: Path) -> str | None:
    """Return the name of the recipe of a run, such as "synthseg"; None if the folder is no run."""
    name = read_json(run / CONFIG).get("recipe")
    return name if isinstance(name, str) else None


def card_of(run: Path) -> dict[str, Any]:
    """Return the card that the run's config keeps for its weights; empty if there is none."""
    card = read_json(run / CONFIG).get("card")
    return card if isinstance(card, dict) else {}
