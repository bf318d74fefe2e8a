"""The table beside a label map, as BIDS has it for `dseg.tsv`: index, name and colour of each label."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from napari_synthseg import anatomy
from napari_synthseg.errors import InputError
from napari_synthseg.io import paths

_INDEX, _NAME, _COLOR = "index", "name", "color"


@dataclass(frozen=True)
class LabelName:
    """What a label is called and how it is drawn."""

    name: str
    color: tuple[int, int, int] | None = None
    """Red, green and blue, 0 to 255; None where the table has none."""


def labels_table(
    values: list[int],
    columns: Mapping[str, Mapping[int, object]] | None = None,
    names: Mapping[int, LabelName] | None = None,
) -> str:
    """The text of a BIDS `dseg.tsv` for these label values, background left out.

    Args:
        values: the labels.
        columns: further columns, by name: what each value has in it (`n/a` where it has nothing).
        names: what labels are called and their colours, where that is not what `anatomy` says.
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
    return Path(path).with_name(paths.stem(path) + ".tsv")


def check_replaceable(path: Path) -> None:
    """Refuses to write a table over a file that is none of ours.

    Raises:
        InputError: there is a file of another kind under that name.
    """
    if path.is_file() and _header(path)[:2] != [_INDEX, _NAME]:
        raise InputError(f"{path} exists and is no table of labels: choose another name for the labels.")


def read_label_table(path: str | Path) -> dict[int, LabelName]:
    """Names and colours from the table beside a label file; empty where there is none that can be read.

    Args:
        path: the label file (not its table).
    """
    table = table_path(path)
    found: dict[int, LabelName] = {}
    try:
        with open(table, encoding="utf-8-sig", newline="") as file:
            for row in csv.DictReader(file, delimiter="\t"):
                found[int(row[_INDEX])] = LabelName(str(row[_NAME]), _parsed_color(row.get(_COLOR)))
    except (OSError, ValueError, KeyError, TypeError, csv.Error):
        return {}
    return found


def _header(table: Path) -> list[str]:
    try:
        with open(table, encoding="utf-8-sig") as file:
            return file.readline(4096).strip().split("\t")
    except (OSError, UnicodeDecodeError):
        return []


def _parsed_color(text: str | None) -> tuple[int, int, int] | None:
    digits = (text or "").strip().lstrip("#")
    if len(digits) != 6:
        return None
    try:
        return int(digits[:2], 16), int(digits[2:4], 16), int(digits[4:], 16)
    except ValueError:
        return None
