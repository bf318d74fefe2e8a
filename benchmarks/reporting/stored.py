"""Rows as they were measured, in docs/results/NAME.json, and what they were measured with.

A file holds {"about": {...}, "rows": ...}. `about` says the command, the day, the machine, the commit, and the SHA-256
of every file of weights that the figures hang on: where a shipped file has another content now, the section is stale.
So is one whose command has changed. A "note" says what else a reader should know, such as that rows come from an
earlier run.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import platform
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

from reporting.sections import BENCHMARKS, Section

WEIGHTS = BENCHMARKS.parent / "resources" / "weights"
LINE = 110
"""A list or object that fits into so many characters stands on one line of a file."""


def file_of(docs: Path, name: str) -> Path:
    return docs / "results" / f"{name}.json"


def read(docs: Path, name: str) -> dict[str, Any] | None:
    """What is stored of a section; None if nothing is."""
    path = file_of(docs, name)
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def write(docs: Path, name: str, section: Section, rows: Any) -> None:
    """Store rows that were measured now, on this machine, with the weights that are shipped now."""
    path = file_of(docs, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    about = {
        "command": section.command,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": machine(),
        "commit": commit(),
        "weights": {file: shipped(file) for file in section.weights},
    }
    waiting = path.with_suffix(".part")
    waiting.write_text(as_text({"about": about, "rows": rows}) + "\n", encoding="utf-8")
    waiting.replace(path)


def machine() -> str:
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model)
    return f"{os.cpu_count()} CPU cores, {model}"


def commit() -> str:
    try:
        said = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=BENCHMARKS, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return said.stdout.strip()


def shipped(file: str, folder: Path | None = None) -> str:
    """SHA-256 of a shipped file of weights; empty where there is none."""
    path = (folder or WEIGHTS) / file
    if not path.exists():
        return ""
    stat = path.stat()
    return _digest(path, stat.st_mtime_ns, stat.st_size)


@cache
def _digest(path: Path, changed: int, size: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def stale(section: Section, about: dict[str, Any]) -> list[str]:
    """Why what was measured does not speak of what is shipped now; nothing where it does."""
    known = about.get("weights", {})
    found = [
        f"{file} was {known[file][:8]}, is {shipped(file)[:8] or 'not there'}"
        if file in known
        else f"{file} was not looked at"
        for file in section.weights
        if known.get(file) != shipped(file)
    ]
    if about.get("command") != section.command:
        found.append("the command was another one")
    return found


def other_weights(section: Section, about: dict[str, Any]) -> list[str]:
    """Files of weights that have another content now than when this was measured."""
    return [file for file in section.weights if about.get("weights", {}).get(file) != shipped(file)]


def as_text(value: Any, indent: int = 0) -> str:
    """JSON with what is short on one line, so that a difference of two versions can be read."""
    short = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, dict | list) or not value or len(short) + indent <= LINE:
        return short
    pad = " " * (indent + 1)
    if isinstance(value, dict):
        lines = [f"{pad}{json.dumps(k, ensure_ascii=False)}: {as_text(v, indent + 1)}" for k, v in value.items()]
        return "{\n" + ",\n".join(lines) + f"\n{' ' * indent}}}"
    return "[\n" + ",\n".join(f"{pad}{as_text(v, indent + 1)}" for v in value) + f"\n{' ' * indent}]"
