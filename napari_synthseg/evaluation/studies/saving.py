"""Files of a study: they appear complete or not at all."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from napari_synthseg.atomic_io import placed
from napari_synthseg.errors import InputError

TABLES = (".tsv", ".csv", ".md")


def check_table_name(path: Path) -> None:
    """Refuse the name of a table whose ending says no format."""
    if path.suffix.lower() not in TABLES:
        raise InputError(f"{path} cannot be written: the name of a table must end with one of {', '.join(TABLES)}.")


def write(path: Path, fill: Callable[[BinaryIO], object]) -> None:
    """Fill a file beside its place, then move it there.

    Raises:
        InputError: the place cannot be written to.
    """
    try:
        with placed(path) as part, part.open("wb") as file:
            fill(file)
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror or error}): choose another place.") from error


def write_text(path: Path, text: str) -> None:
    """Write text as UTF-8."""
    write(path, lambda file: file.write(text.encode("utf-8")))


def write_json(path: Path, content: Any) -> None:
    """Write JSON; what is no number (an interval that cannot be had) becomes null."""
    write_text(path, json.dumps(clean(content), indent=1, allow_nan=False, ensure_ascii=False) + "\n")


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table as TSV, CSV or Markdown, by the ending of the name."""
    check_table_name(path)
    lines = [header, *[[cell_text(cell) for cell in row] for row in rows]]
    if path.suffix.lower() == ".md":
        write_text(path, markdown(lines[0], lines[1:]))
        return
    text = io.StringIO()
    delimiter = "," if path.suffix.lower() == ".csv" else "\t"
    csv.writer(text, delimiter=delimiter, lineterminator="\n").writerows(lines)
    write_text(path, text.getvalue())


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return (
        "\n".join([*lines, *("| " + " | ".join(cell.replace("|", "/") for cell in row) + " |" for row in rows)]) + "\n"
    )


def cell_text(cell: object) -> str:
    """A cell of a table: six digits of a number, n/a for none."""
    if isinstance(cell, float):
        return f"{cell:.6g}" if math.isfinite(cell) else "n/a"
    return "n/a" if cell is None else str(cell)


def clean(content: Any) -> Any:
    """The same with lists for tuples and arrays, and null for numbers that are none."""
    if isinstance(content, dict):
        return {str(key): clean(value) for key, value in content.items()}
    if hasattr(content, "tolist"):
        return clean(content.tolist())
    if isinstance(content, (list, tuple)):
        return [clean(value) for value in content]
    if isinstance(content, float):
        return content if math.isfinite(content) else None
    return str(content) if isinstance(content, Path) else content
