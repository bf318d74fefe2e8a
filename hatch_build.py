"""Build hook: the manifest and the resources stand at the top level of a checkout and inside the installed package.

napari resolves the entry point ``napari_synthseg:napari.yaml`` inside the package folder. So a wheel carries the files
there, and an editable install gets links there (ignored by git), or copies where the file system has no links.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

INSIDE = ("napari.yaml", "resources")


def link(source: Path, target: Path) -> None:
    """Make `target` point to `source`; a copy where links are not allowed."""
    if target.is_symlink() or target.is_file():
        target.unlink()
    elif target.is_dir():
        shutil.rmtree(target)
    try:
        target.symlink_to(os.path.relpath(source, target.parent), target_is_directory=source.is_dir())
    except OSError:
        (shutil.copytree if source.is_dir() else shutil.copy2)(source, target)


class TopLevelFiles(BuildHookInterface):
    """Runs before hatchling writes a wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Link the files when `version` is ``"editable"``, else have the wheel carry them."""
        root = Path(self.root)
        for name in INSIDE:
            if version == "editable":
                link(root / name, root / "napari_synthseg" / name)
            else:
                build_data["force_include"][str(root / name)] = f"napari_synthseg/{name}"
