"""Remember the last choices and folders of a user beside napari's own settings, unless napari keeps none."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from napari.settings import get_settings
from napari.utils.notifications import show_info
from qtpy.QtWidgets import QFileDialog, QWidget

from napari_synthseg.atomic_io import write_lines, write_text
from napari_synthseg.widgets._shared.notices import complain

logger = logging.getLogger("napari_synthseg")

FILE = "napari-synthseg-choices.json"
TABLES = "Table (*.tsv *.csv)"


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
    """Ask for a file to write, starting in the last folder of a widget.

    Args:
        parent: of the dialog.
        face: the widget, which remembers the folder.
        title: of the dialog.
        name: suggested for the file.
        filters: Qt's; for `TABLES` a missing ending is added.
    """
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
        complain(ValueError(f"{path} cannot be written ({error.strerror}); choose another folder."), "Saving")
        return
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
