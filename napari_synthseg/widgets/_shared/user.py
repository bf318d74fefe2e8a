"""What the user is told and asked: errors as one sentence, files, remembered choices.

Choices and folders are kept beside napari's own settings, unless napari keeps none.
"""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from napari.settings import get_settings
from napari.utils.notifications import (
    ErrorNotification,
    Notification,
    NotificationSeverity,
    notification_manager,
    show_info,
)
from qtpy.QtWidgets import QFileDialog, QWidget

from napari_synthseg.atomic_io import write_lines, write_text

logger = logging.getLogger("napari_synthseg")

FILE = "napari-synthseg-choices.json"
TABLES = "Table (*.tsv *.csv)"


def complain(error: Exception, doing: str) -> str:
    """Show an error as a notification of napari, which has a button for the traceback of one that we did not expect.

    Args:
        error: the message of a `ValueError` (such as `InputError`) is the sentence; of others it tells what failed.
        doing: the failed action, as the beginning of a sentence: "Segmenting".

    Returns:
        The sentence, to be shown in the widget too.
    """
    if isinstance(error, ValueError):
        sentence = str(error)
    else:
        sentence = f"{doing} failed ({type(error).__name__}: {error})."
        logger.error("%s failed", doing, exc_info=error)
        traceback.clear_frames(error.__traceback__)  # napari keeps the error, and with it the arrays of its frames
    ours = isinstance(error, ValueError)
    notice = Notification(sentence, NotificationSeverity.ERROR) if ours else ErrorNotification(error)
    notice.message = sentence
    notification_manager.dispatch(notice)
    return sentence


def recall(face: str) -> dict[str, Any]:
    """Return the remembered choices of a widget; empty if there are none or they cannot be read."""
    kept = _read().get(face, {})
    return kept if isinstance(kept, dict) else {}


def remember(face: str, choices: dict[str, Any]) -> None:
    """Remember choices of a widget (plain JSON values) besides earlier ones."""
    path = _path()
    if path is None:
        return
    kept = _read()
    kept[face] = recall(face) | choices
    try:
        write_text(path, json.dumps(kept, indent=1))
    except OSError as error:  # choices are a comfort: losing them stops nobody
        logger.info("Choices are not remembered: %s", error)


def ask_for_file(parent: QWidget, face: str, title: str, name: str, filters: str = TABLES) -> Path | None:
    """Ask for a file to write, starting in the last folder of a widget; `TABLES` get an ending if none is given."""
    folder = Path(recall(face).get("folder", ""))
    chosen, _ = QFileDialog.getSaveFileName(parent, title, str(folder / name.replace("/", "-")), filters)
    if not chosen:
        return None
    path = Path(chosen)
    if filters == TABLES and path.suffix.lower() not in (".csv", ".tsv"):
        path = path.with_name(f"{path.name}{Path(name).suffix}")
        if path.exists():  # the dialog could not ask about it
            complain(ValueError(f"{path} exists: give its whole name to replace it."), "Saving")
            return None
    remember(face, {"folder": str(path.parent)})
    return path


def save_lines(path: Path, lines: Sequence[Sequence[str]], noun: str) -> None:
    """Write lines of cells atomically, with commas, or with tabs to a .tsv, and say so."""
    try:
        write_lines(path, lines)
    except OSError as error:
        complain(error, "Saving")
    else:
        show_info(f"{noun} saved to {path}.")


def _read() -> dict[str, Any]:
    path = _path()
    try:
        kept = json.loads(path.read_text(encoding="utf-8")) if path is not None else {}
    except (OSError, ValueError):
        return {}
    return kept if isinstance(kept, dict) else {}


def _path() -> Path | None:
    """Return the file of choices; None if napari's settings have no file, as in tests."""
    config = get_settings().config_path
    return Path(config).with_name(FILE) if config else None
