"""Writes the pages that are made from the program itself: every command's help, every module's docstrings, every card.

`python docs/generate.py FOLDER`; `conf.py` calls it before each build, so the pages cannot grow old.
"""

from __future__ import annotations

import ast
import contextlib
import io
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import napari_synthseg
from napari_synthseg.cli import COMMANDS
from napari_synthseg.cli.main import FIRST, main

SOURCE = Path(napari_synthseg.__file__).parent
ROOMS = {
    "volume": "Volumes and their geometry",
    "anatomy": "The label table",
    "io": "Reading and writing",
    "inference": "From a scan to labels",
    "batch": "Many scans",
    "prompting": "From clicks to masks",
    "evaluation": "Scores and studies",
    "generator": "The generative models",
    "training": "Training",
    "networks": "Networks",
    "weights": "Weights",
    "jobs": "Jobs that report and stop",
    "errors": "Errors",
}
"""What the reference is divided into, in its order."""
WIDTH = 100


def generate(folder: Path) -> None:
    """Write all pages; a page that is the same already is left alone, so that Sphinx does not read it again."""
    pages = {"commands.md": commands(), "models.md": models(), "api/index.md": api_index()}
    pages |= {f"api/{room}.md": api_page(room, title) for room, title in ROOMS.items()}
    for name, text in pages.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
    for old in folder.rglob("*.md"):
        if old.relative_to(folder).as_posix() not in pages:
            old.unlink()


# Commands


def commands() -> str:
    """Every sub-command with its help."""
    parts = ["# Commands\n\nWhat `napari-synthseg COMMAND --help` says. Exit codes: 0 done, 1 some scans failed, 2 the"]
    parts[0] += " input or an option cannot be used, 130 stopped.\n"
    for name in dict.fromkeys([*FIRST, *COMMANDS]):
        parts.append(f"## {name}\n\n{COMMANDS[name].summary}\n\n```text\n{help_of(name)}\n```\n")
    return "\n".join(parts)


def help_of(name: str) -> str:
    """What `--help` prints, without colours."""
    said, width = io.StringIO(), os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = str(WIDTH)
    try:
        with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
            main([*name.split(), "--help"])
    finally:
        if width is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = width
    return "\n".join(line.rstrip() for line in said.getvalue().strip().splitlines())


# Weights


def models() -> str:
    """The cards of the weights that come with the program, in words."""
    shipped = SOURCE.parent / "resources" / "weights"
    cards = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(shipped.glob("*.json"))]
    cards = [card for card in cards if "network" in card]
    parts = [
        "# Models and their licences\n\nThe weights that come with the program. Each was trained by this project, on"
        " synthetic images alone; the card beside the file says the same. Weights of others are never shipped, but"
        " [read](../weights.md) where somebody has them: official SynthSeg weights (FreeSurfer's licence), SAM and"
        " MobileSAM checkpoints (Apache-2.0).\n"
    ]
    parts += [model(card) for card in cards]
    notice = (shipped / "NOTICE.md").read_text(encoding="utf-8").splitlines()
    parts += ["## Parts of others\n", *[line for line in notice if not line.startswith("# ")]]
    return "\n".join(parts) + "\n"


def model(card: dict[str, Any]) -> str:
    """One card: what it is for, where it comes from, how good it is, what it may be used for."""
    rows = {
        "Segments": card.get("description", card.get("summary", "")),
        "Network": card["network"],
        "Labels": str(len(card["labels"])) if "labels" in card else "whatever is pointed at",
        "Trained on": card.get("data", ""),
        "Recipe": card.get("recipe", ""),
        "Steps": in_words(card.get("steps", "")),
        "Scores": in_words(card.get("scores", "")),
        "Licence": card.get("licence", ""),
        "Licence of its encoder": card.get("encoder licence", ""),
        "File": f"{card.get('bytes', 0) / 2**20:.1f} MiB, SHA-256 `{card.get('sha256', '')[:16]}…`",
    }
    lines = [f"| {name} | {text} |" for name, text in rows.items() if text]
    return "\n".join([f"## {card['name']}\n", "| | |", "|---|---|", *lines, ""])


def in_words(value: Any) -> str:
    """Nested facts on one line."""
    if isinstance(value, dict):
        return ", ".join(f"{name}: {in_words(one)}" for name, one in value.items())
    return f"{value:g}" if isinstance(value, float) else str(value)


# Python


def api_index() -> str:
    """The list of rooms."""
    parts = [
        "# Python\n\nTwo functions do the main jobs; the rest is what they are made of. Importing `napari_synthseg`"
        " loads neither torch nor Qt.\n",
        "```{eval-rst}\n.. autofunction:: napari_synthseg.segment\n.. autofunction:: napari_synthseg.synthesize\n```\n",
        "```{toctree}\n:maxdepth: 1\n",
        *ROOMS,
        "```\n",
    ]
    return "\n".join(parts)


def api_page(room: str, title: str) -> str:
    """The modules of a room, those with something public."""
    parts = [f"# {title}\n"]
    for path in modules(room):
        name = ".".join(["napari_synthseg", *path.relative_to(SOURCE).with_suffix("").parts]).removesuffix(".__init__")
        parts.append(f"## {name.removeprefix('napari_synthseg.')}\n\n```{{eval-rst}}\n.. automodule:: {name}\n```\n")
    return "\n".join(parts)


def modules(room: str) -> Iterable[Path]:
    """Source files of a room that define something public."""
    path = SOURCE / room
    files = sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]
    return [one for one in files if public(one)]


def public(path: Path) -> bool:
    """Whether a module defines a function or class whose name has no leading underscore."""
    kinds = (ast.FunctionDef, ast.ClassDef)
    body = ast.parse(path.read_text(encoding="utf-8")).body
    return any(isinstance(one, kinds) and not one.name.startswith("_") for one in body)


if __name__ == "__main__":
    generate(Path(sys.argv[1]))
