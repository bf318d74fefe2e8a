"""Where the data for development lies, if it is there: `NAPARI_SYNTHSEG_SHARED`, else `shared` beside the checkout."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def _find() -> Path | None:
    named = os.environ.get("NAPARI_SYNTHSEG_SHARED")
    folder = Path(named) if named else Path(__file__).resolve().parents[2] / "shared"
    return folder if folder.is_dir() else None


SHARED: Path | None = _find()


def shared(path: str) -> Path:
    """A file or folder of the shared data; the test that asks is skipped where it is missing."""
    if SHARED is None or not (SHARED / path).exists():
        pytest.skip(f"no shared data ({path})")
    return SHARED / path
