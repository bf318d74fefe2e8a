"""The choices a user made last, kept beside napari's own settings; nothing is kept where napari keeps none."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from napari.settings import get_settings

from napari_synthseg.atomic_io import write_text

logger = logging.getLogger("napari_synthseg")

FILE = "napari-synthseg-choices.json"


def recall(face: str) -> dict[str, Any]:
    """What was remembered of a widget, by name of the choice; empty where there is nothing or it cannot be read."""
    kept = _read().get(face, {})
    return kept if isinstance(kept, dict) else {}


def remember(face: str, choices: dict[str, Any]) -> None:
    """Remember choices of a widget (plain values that JSON knows), beside those remembered before."""
    path = _path()
    if path is None:
        return
    kept = _read()
    kept[face] = recall(face) | choices
    try:
        write_text(path, json.dumps(kept, indent=1))
    except OSError as error:  # choices are a comfort: losing them stops nobody
        logger.info("Choices are not remembered: %s", error)


def _read() -> dict[str, Any]:
    path = _path()
    try:
        kept = json.loads(path.read_text(encoding="utf-8")) if path is not None else {}
    except (OSError, ValueError):
        return {}
    return kept if isinstance(kept, dict) else {}


def _path() -> Path | None:
    """The file of choices; None where napari's settings have no file, as in its tests."""
    config = get_settings().config_path
    return Path(config).with_name(FILE) if config else None
