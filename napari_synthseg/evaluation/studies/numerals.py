"""Numbers in the cells of tables, as people and spreadsheets write them: 1234.5, 1234,5, 1.234,5, 1,234.5, n/a."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

MISSING = frozenset(
    {"", "n/a", "na", "nan", "n.a.", "null", "none", "missing", "-", "--", ".", "?", "#n/a", "#value!", "#div/0!", "nd"}
)
"""What stands for "not known", in lower case."""

_PLAIN = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")
_COMMA_AFTER_DOTS = re.compile(r"[+-]?\d{1,3}(\.\d{3})+,\d+")
_DOTS = re.compile(r"[+-]?\d{1,3}(\.\d{3})+")
_COMMAS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+")
_DOT_AFTER_COMMAS = re.compile(r"[+-]?\d{1,3}(,\d{3})+\.\d+")


def is_missing(cell: str) -> bool:
    """Whether a cell says that something is not known."""
    return cell.strip().lower() in MISSING


@dataclass(frozen=True)
class Parsed:
    """A column of numbers."""

    values: np.ndarray
    """(rows,) float64, NaN where missing or wrong."""
    wrong: tuple[int, ...]
    """Rows whose cells are neither numbers nor missing."""


def decimal_mark(cells: Iterable[str]) -> str | None:
    """`,` or `.` where some cell shows beyond doubt which of them separates decimals; None without such a cell.

    1,5 and 1.234,5 do for the comma; 1.5, 1,234.5 for the point; 1,234 and 1.234 say nothing by themselves. Where
    cells of both kinds occur, the answer is None too.
    """
    found = {mark for cell in cells if "," in cell or "." in cell if (mark := _shows(cell.strip())) is not None}
    return found.pop() if len(found) == 1 else None


def _shows(text: str) -> str | None:
    if _COMMA_AFTER_DOTS.fullmatch(text) or (_COMMA.fullmatch(text) and not _COMMAS.fullmatch(text)):
        return ","
    if _DOT_AFTER_COMMAS.fullmatch(text) or (
        "." in text and _PLAIN.fullmatch(text) and not (_DOTS.fullmatch(text) and not text.lstrip("+-").startswith("0"))
    ):
        return "."
    return None


def parse_number(cell: str, mark: str | None = None) -> float | None:
    """The number in a cell; NaN where it is missing, None where it is no finite number.

    Args:
        cell: its text.
        mark: what separates decimals in this column; without it, a cell such as 1,234 has no clear meaning: None.
    """
    text = cell.strip().replace("\u2212", "-")  # the minus sign of typesetters
    if is_missing(text):
        return float("nan")
    if "," in text:
        text = _without_commas(text, mark)
    elif mark == "," and _DOTS.fullmatch(text):
        text = text.replace(".", "")
    if not _PLAIN.fullmatch(text):
        return None
    number = float(text)
    return number if np.isfinite(number) else None


def _without_commas(text: str, mark: str | None) -> str:
    shown = _shows(text) or mark
    if shown == "," and (_COMMA.fullmatch(text) or _COMMA_AFTER_DOTS.fullmatch(text)):
        return text.replace(".", "").replace(",", ".")
    if shown == "." and (_COMMAS.fullmatch(text) or _DOT_AFTER_COMMAS.fullmatch(text)):
        return text.replace(",", "")
    return text


def parse_numbers(cells: Sequence[str], mark: str | None = None) -> Parsed:
    """The numbers in a column.

    Args:
        cells: the column's cells.
        mark: what separates decimals in the table, for a column that does not show it itself.
    """
    own = decimal_mark(cells) or mark
    values = np.empty(len(cells))
    wrong = []
    for row, cell in enumerate(cells):
        number = parse_number(cell, own)
        if number is None:
            wrong.append(row)
        values[row] = np.nan if number is None else number
    return Parsed(values, tuple(wrong))


def is_numeric(parsed: Parsed) -> bool:
    """Whether a column is one of numbers: some are, and at most half of what is not missing is something else."""
    good = int(np.isfinite(parsed.values).sum())
    return good > 0 and good >= len(parsed.wrong)
