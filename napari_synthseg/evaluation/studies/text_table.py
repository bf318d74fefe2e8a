"""Tables as files: CSV and TSV of any spreadsheet, with the delimiter, encoding and decimal mark that it happens to
have."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

from napari_synthseg.errors import InputError
from napari_synthseg.evaluation.studies.notes import Notes
from napari_synthseg.evaluation.studies.numerals import decimal_mark

LARGEST = 1 << 29
"""Bytes (512 MiB): a table of 10,000 scans and 100 structures has some 10 MB."""
DELIMITERS = ("\t", ";", ",")
_WORKBOOKS = {b"PK\x03\x04": "an Excel or OpenDocument workbook", b"\xd0\xcf\x11\xe0": "an old Excel workbook"}


@dataclass(frozen=True)
class TextTable:
    """A table of text."""

    path: Path
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    """As many cells in each as there are columns, without white space around them."""
    mark: str | None
    """What separates decimals, `,` or `.`, where that is plain to see."""

    def cells(self, column: str) -> list[str]:
        """The cells of a column."""
        place = self.columns.index(column)
        return [row[place] for row in self.rows]


def read_text_table(path: Path, notes: Notes) -> TextTable:
    """Reads a CSV or TSV table.

    Args:
        path: the file; its delimiter is a tab, semicolon or comma, whatever the ending of its name says.
        notes: what rows were left out is noted here.

    Raises:
        InputError: no such file, not text, too large, no rows, no delimiter, or two columns of one name that differ.
    """
    lines = _lines(path, _text(path))
    header = [name.strip() for name in lines[0][1]]
    names = [name or f"column {place}" for place, name in enumerate(header, 1)]
    rows, short, long = [], [], []
    for number, cells in lines[1:]:
        if any(cell.strip() for cell in cells[len(names) :]):
            long.append(f"line {number}")
            continue
        if len(cells) < len(names):
            short.append(f"line {number}")
        padded = [*cells, *[""] * (len(names) - len(cells))][: len(names)]
        rows.append(tuple(cell.strip() for cell in padded))
    notes.add(path.name, "rows have more cells than the table has columns, so left out", long)
    notes.add(path.name, "rows end early: what lacks counts as missing", short)
    if not rows:
        raise InputError(f"{path} holds no rows below its header: give a table with a row a scan.")
    kept = _distinct(path, names, rows, notes)
    table = tuple(tuple(row[place] for place in kept) for row in rows)
    marks = decimal_mark(cell for row in table for cell in row if "," in cell) or decimal_mark(
        cell for row in table[:1000] for cell in row
    )
    return TextTable(path, tuple(names[place] for place in kept), table, marks)


def _text(path: Path) -> str:
    if path.is_dir():
        raise InputError(f"{path} is a folder: give a table (CSV or TSV).")
    if not path.exists():
        raise InputError(f"There is no table {path}.")
    if not path.is_file():
        raise InputError(f"{path} is no plain file: give a table (CSV or TSV).")
    if path.stat().st_size > LARGEST:
        raise InputError(f"{path} has more than {LARGEST >> 20} MiB: that is no table of volumes.")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}).") from error
    for beginning, what in _WORKBOOKS.items():
        if content.startswith(beginning):
            raise InputError(f"{path} is {what}: save the sheet as CSV and give that file.")
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        text = content.decode("utf-16", errors="replace")
    elif b"\0" in content:
        raise InputError(f"{path} is no text: give a table (CSV or TSV).")
    else:
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = content.decode("cp1252", errors="replace")  # what older spreadsheets write
    return text


def _lines(path: Path, text: str) -> list[tuple[int, list[str]]]:
    """Line number and cells of each line that is not empty, header first."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    counts = {mark: first.count(mark) for mark in DELIMITERS}
    delimiter = next((mark for mark in DELIMITERS if counts[mark] == max(counts.values())), ",")
    if not counts[delimiter]:
        raise InputError(f"{path} has no columns: they must be separated by tabs, commas or semicolons.")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        return [(reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells)]
    except csv.Error as error:
        raise InputError(f"{path} is no table (line {reader.line_num}: {error}).") from error


def _distinct(path: Path, names: list[str], rows: list[tuple[str, ...]], notes: Notes) -> list[int]:
    """Places of the columns to keep: of several that are called the same and hold the same, the first."""
    first: dict[str, int] = {}
    twice = []
    for place, name in enumerate(names):
        if name not in first:
            first[name] = place
        elif all(row[place] == row[first[name]] for row in rows):
            twice.append(name)
        else:
            raise InputError(f"{path} has two columns called {name!r} that differ: rename one of them.")
    notes.add(path.name, "columns stand there twice: the second was left out", twice)
    return list(first.values())
