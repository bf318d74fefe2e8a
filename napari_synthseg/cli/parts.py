"""What several sub-commands share: options that look the same everywhere, and figures as a JSON file."""

import json
from pathlib import Path
from typing import Annotated, Any

import tyro

from napari_synthseg.atomic_io import write_text

Out = Annotated[Path, tyro.conf.arg(aliases=["-o"])]
Count = Annotated[int, tyro.conf.arg(aliases=["-n"], metavar="N")]
JsonFile = Annotated[Path | None, tyro.conf.arg(name="json")]


def write_json(path: Path, content: Any) -> None:
    """Write `content` as JSON, all or nothing, making the folder."""
    write_text(path, json.dumps(content, indent=1) + "\n")
