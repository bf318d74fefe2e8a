"""What labels are called, from the files that other programs keep this in.

A text file of lines `1 left ventricle`, FreeSurfer's colour table (`1 name r g b a`), ITK-SNAP's label descriptions
(`1 r g b a v m "name"`), a BIDS table (.tsv with index and name), and JSON: {"1": "name"}, {"name": 1}, or either of
these under "labels", as in nnU-Net's and the Decathlon's dataset.json.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from napari_synthseg.errors import InputError
from napari_synthseg.io.label_table import LabelName, read_label_table

_SNAP = re.compile(r'^(\d+)\s+(\d+)\s+(\d+)\s+(\d+)\s+[\d.]+\s+\d+\s+\d+\s+"(.*)"$')
_FREESURFER = re.compile(r"^(\d+)\s+(\S+)\s+(\d+)\s+(\d+)\s+(\d+)\s+\d+$")
_PLAIN = re.compile(r"^(\d+)[\s,;:=]+(.*\S)$")


def read_label_names(path: Path | str) -> dict[int, LabelName]:
    """Names, and colours where there are some, by label; background (0) left out.

    Raises:
        InputError: the file is missing, cannot be read, or names no label.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
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
    except ValueError as error:
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
