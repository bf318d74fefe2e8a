"""Names and colors of labels: the table beside a label map, and the files of other programs.

The table is that of a BIDS `dseg.tsv`: index, name and color of each label. Read are, too, text files of lines
`1 left ventricle`, FreeSurfer's color table (`1 name r g b a`), ITK-SNAP's label descriptions (`1 r g b a v m "name"`),
and JSON: {"1": "name"}, {"name": 1}, or either of these under "labels", as in nnU-Net's and the Decathlon's
dataset.json.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from napari_synthseg import anatomy
from napari_synthseg.atomic_io import read_text
from napari_synthseg.errors import InputError
from napari_synthseg.io.formats import stem

_INDEX, _NAME, _COLOR = "index", "name", "color"
_SNAP = re.compile(r'^(\d+)\s+(\d+)\s+(\d+)\s+(\d+)\s+[\d.]+\s+\d+\s+\d+\s+"(.*)"$')
_FREESURFER = re.compile(r"^(\d+)\s+(\S+)\s+(\d+)\s+(\d+)\s+(\d+)\s+\d+$")
_PLAIN = re.compile(r"^(\d+)[\s,;:=]+(.*\S)$")


@dataclass(frozen=True)
class LabelName:
    """What a label is called and how it is drawn."""

    name: str
    color: tuple[int, int, int] | None = None
    """Red, green and blue, 0 to 255; None where the table has none."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """Numbers in further columns of the table, by the column's name."""


def labels_table(
    values: list[int],
    columns: Mapping[str, Mapping[int, object]] | None = None,
    names: Mapping[int, LabelName] | None = None,
) -> str:
    """The text of a BIDS `dseg.tsv` for these label values, background left out.

    Args:
        values: the labels.
        columns: further columns, by name: what each value has in it (`n/a` where it has nothing).
        names: what labels are called and their colors, where that is not what `anatomy` says.
    """
    more = columns or {}
    rows = ["\t".join((_INDEX, _NAME, _COLOR, *more))]
    for value in values:
        if value == 0:
            continue
        own = (names or {}).get(value, LabelName(anatomy.name(value)))
        color = "#{:02x}{:02x}{:02x}".format(*(own.color or anatomy.color(value)))
        rest = (str(column.get(value, "n/a")) for column in more.values())
        rows.append("\t".join((str(value), " ".join(own.name.split()), color, *rest)))
    return "\n".join(rows) + "\n"


def table_path(path: str | Path) -> Path:
    """Where the table of a label file stands: `<stem>.tsv` beside it."""
    return Path(path).with_name(stem(path) + ".tsv")


def check_replaceable(path: Path) -> None:
    """Refuses to write a table over a file that is none of ours.

    Raises:
        InputError: there is a file of another kind under that name.
    """
    first: list[str] = []
    with suppress(OSError, UnicodeDecodeError), open(path, encoding="utf-8-sig") as file:
        first = file.readline(4096).strip().split("\t")
    if path.is_file() and first[:2] != [_INDEX, _NAME]:
        raise InputError(f"{path} exists and is no table of labels: choose another name for the labels.")


def read_label_table(path: str | Path) -> dict[int, LabelName]:
    """Return names, colors and figures from the table beside a label file; empty if there is none that can be read.

    Args:
        path: the label file (not its table).
    """
    found: dict[int, LabelName] = {}
    try:
        with open(table_path(path), encoding="utf-8-sig", newline="") as file:
            for row in csv.DictReader(file, delimiter="\t"):
                found[int(row[_INDEX])] = LabelName(str(row[_NAME]), _parsed_color(row.get(_COLOR)), _figures(row))
    except (OSError, ValueError, KeyError, TypeError, csv.Error):
        return {}
    return found


def _figures(row: Mapping[str, str]) -> dict[str, float]:
    found = {}
    for name, text in row.items():
        with suppress(TypeError, ValueError):  # "n/a", or a column of words
            if name not in (_INDEX, _NAME, _COLOR):
                found[name] = float(text)
    return found


def _parsed_color(text: str | None) -> tuple[int, int, int] | None:
    found = re.fullmatch(r"\s*#?([0-9a-fA-F]{2})([0-9a-fA-F]{2})([0-9a-fA-F]{2})\s*", text or "")
    return (int(found[1], 16), int(found[2], 16), int(found[3], 16)) if found else None


def read_label_names(path: Path | str) -> dict[int, LabelName]:
    """Names, and colors where there are some, by label; background (0) left out.

    Raises:
        InputError: the file is missing, cannot be read, or names no label.
    """
    path = Path(path)
    try:
        text = read_text(path)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The names of labels {path} cannot be read: give a text, TSV or JSON file.") from error
    if path.suffix.lower() == ".json":
        found = _from_json(path, text)
    else:
        found = read_label_table(path) if path.suffix.lower() == ".tsv" else {}
        found = found or dict(filter(None, (_from_line(line.strip()) for line in text.splitlines())))
    named = {value: name for value, name in sorted(found.items()) if value != 0 and name.name}
    if not named:
        raise InputError(f"{path} names no label: write a line such as 1 left ventricle for each.")
    return named


def _from_line(line: str) -> tuple[int, LabelName] | None:
    """The label that a line names, in any of the three forms; None where it names none."""
    if found := _SNAP.match(line):
        value, red, green, blue, name = found.groups()
        return int(value), LabelName(name, (int(red), int(green), int(blue)))
    if found := _FREESURFER.match(line):
        value, name, red, green, blue = found.groups()
        return int(value), LabelName(name, (int(red), int(green), int(blue)))
    if found := _PLAIN.match(line):
        return int(found[1]), LabelName(found[2].strip("\"'"))
    return None


def _from_json(path: Path, text: str) -> dict[int, LabelName]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is no valid JSON ({error}): correct it.") from error
    table = content.get("labels", content) if isinstance(content, dict) else None
    if not isinstance(table, dict):
        raise InputError(f'{path} does not say what labels are called: write {{"1": "name"}}.')
    found = {}
    for key, value in table.items():
        number, name = (key, value) if isinstance(value, str) and str(key).isdecimal() else (value, key)
        if (whole := _whole(number)) is not None:
            found[whole] = LabelName(str(name))
    return found


def _whole(number: Any) -> int | None:
    try:
        return int(number)
    except (TypeError, ValueError):
        return None
