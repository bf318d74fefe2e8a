"""Covariates: columns of text become numbers or categories, and those a design matrix that can be fitted."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from napari_synthseg.errors import InputError
from napari_synthseg.evaluation.studies import names
from napari_synthseg.evaluation.studies.cohort import Cohort
from napari_synthseg.evaluation.studies.identity import bare
from napari_synthseg.evaluation.studies.notes import Notes
from napari_synthseg.evaluation.studies.numerals import is_missing, is_numeric, parse_numbers

OLDEST = 120.0
FEWEST = 3
"""A category of fewer people says nothing about itself: they are left out."""
_SEXES = {"m": "M", "male": "M", "man": "M", "f": "F", "female": "F", "w": "F", "woman": "F"}
_NUMBERS_ONLY = ("age", *names.ALIASES["age"], *names.INTRACRANIAL)
_TOLERANCE = 1e-8


@dataclass(frozen=True, eq=False)
class Covariate:
    """A column by which volumes are corrected."""

    name: str
    values: np.ndarray
    """(scans,): numbers (NaN where missing), or categories as text (empty where missing)."""

    @property
    def is_category(self) -> bool:
        """Whether it holds categories."""
        return self.values.dtype.kind == "U"

    @property
    def known(self) -> np.ndarray:
        """(scans,) bool: where it is not missing."""
        return self.values != "" if self.is_category else np.isfinite(self.values)


@dataclass(frozen=True, eq=False)
class Design:
    """Covariates as numbers, each column with mean 0 and standard deviation 1 over the scans it was made for."""

    columns: tuple[str, ...]
    """`age`, or `sex=M` for a category against the first one."""
    matrix: np.ndarray
    """(scans, columns)"""
    scales: np.ndarray
    """(columns,): a unit of the covariate in units of the column."""
    centres: np.ndarray
    """(columns,): means of the covariates."""


def read_covariate(cohort: Cohort, name: str, notes: Notes) -> Covariate:
    """A column as numbers, or else as categories; what is neither is noted and missing.

    Raises:
        InputError: the column is empty, or is one of numbers (age, intracranial volume) and holds none.
    """
    cells = cohort.cells[name]
    parsed = parse_numbers(cells, cohort.marks.get(name))
    if all(is_missing(cell) for cell in cells):
        raise InputError(f"The column {name!r} is empty: give another one, or leave it out.")
    if is_numeric(parsed) or names.plain(name) in _NUMBERS_ONLY:
        notes.add(name, "cells are no numbers, so taken as missing", [cells[row] for row in parsed.wrong])
        values = _possible(name, parsed.values, cells, notes)
        if not np.isfinite(values).any():
            raise InputError(f"The column {name!r} holds no usable number (such as {_first(cells)!r}): correct it.")
        return Covariate(name, values)
    return Covariate(name, np.array([_category(cell) for cell in cells], dtype=np.str_))


def _possible(name: str, values: np.ndarray, cells: list[str], notes: Notes) -> np.ndarray:
    if names.plain(name) in ("age", *names.ALIASES["age"]):
        bad, what = (values < 0) | (values > OLDEST), f"ages are not between 0 and {OLDEST:g} years"
    elif names.plain(name) in names.INTRACRANIAL:
        bad, what = values <= 0, "are not above 0"
    else:
        return values
    notes.add(name, f"{what}, so taken as missing", [cells[row] for row in np.flatnonzero(bad)])
    return np.where(bad, np.nan, values)


def _first(cells: list[str]) -> str:
    return next((cell for cell in cells if not is_missing(cell)), "")


def _category(cell: str) -> str:
    return "" if is_missing(cell) else _SEXES.get(cell.strip().lower(), cell.strip())


def complete(cohort: Cohort, covariates: list[Covariate], notes: Notes) -> np.ndarray:
    """(scans,) bool: for whom all covariates are known, those in tiny categories left out; what is lost is noted.

    Raises:
        InputError: a column of text has nearly as many categories as there are scans.
    """
    keep = np.ones(len(cohort), bool)
    for one in covariates:
        lost = ~one.known
        notes.add(one.name, "scans lack it, so left out", who(cohort, lost))
        keep &= ~lost
    for one in covariates:
        if one.is_category:
            _check_categories(one, keep)
            people: Counter[str] = Counter()
            for _, value in {(s, v) for s, v, k in zip(cohort.subjects, one.values, keep, strict=True) if k}:
                people[str(value)] += 1
            for value, count in people.items():
                if count < FEWEST:
                    rare = keep & (one.values == value)
                    what = f"scans are the only ones with {value!r} (fewer than {FEWEST} people), so left out"
                    notes.add(one.name, what, who(cohort, rare))
                    keep &= ~rare
    return keep


def _check_categories(one: Covariate, keep: np.ndarray) -> None:
    """Refuse a column of text that says something else of nearly everybody."""
    levels = sorted(set(one.values[keep].tolist()))
    if len(levels) > max(10, int(keep.sum()) // 4):
        raise InputError(
            f"The column {one.name!r} holds text with {len(levels)} different values ({', '.join(levels[:3])}, ...) "
            f"for {int(keep.sum())} scans: give a column of numbers or of few categories."
        )


def who(cohort: Cohort, rows: np.ndarray) -> list[str]:
    """Names of scans to show in a note; `rows` (scans,) bool."""
    return [bare(cohort.scans[i]) if cohort.scans[i] else cohort.subjects[i] for i in np.flatnonzero(rows)]


def make_design(covariates: list[Covariate], keep: np.ndarray, notes: Notes) -> Design:
    """The design matrix of some scans, without an intercept; constant and collinear columns are left out and noted.

    Args:
        covariates: without missing values where `keep`.
        keep: (scans,) bool.
        notes: what was left out is noted here.
    """
    titles: list[str] = []
    columns: list[np.ndarray] = []
    for one in covariates:
        found = _columns_of(one, keep)
        notes.add(one.name, "covariate is the same for everybody, so not corrected for", [] if found else [one.name])
        titles += [title for title, _ in found]
        columns += [column for _, column in found]
    chosen = _independent(titles, columns, notes)
    raw = np.stack([columns[i] for i in chosen], 1) if chosen else np.zeros((int(keep.sum()), 0))
    centres, scales = raw.mean(0) if len(raw) else np.zeros(0), raw.std(0)
    return Design(tuple(titles[i] for i in chosen), (raw - centres) / scales, 1 / scales, centres)


def _columns_of(one: Covariate, keep: np.ndarray) -> list[tuple[str, np.ndarray]]:
    values = one.values[keep]
    if not one.is_category:
        spread = np.ptp(values) if len(values) else 0.0
        return [(one.name, values)] if spread > _TOLERANCE * max(1.0, float(np.abs(values).max(initial=0))) else []
    levels = sorted(set(values.tolist()))
    return [(f"{one.name}={level}", (values == level).astype(float)) for level in levels[1:]]


def _independent(titles: list[str], columns: list[np.ndarray], notes: Notes) -> list[int]:
    """Places of columns none of which is a sum of multiples of those before it and a constant."""
    basis: list[np.ndarray] = []
    chosen, left = [], []
    for place, column in enumerate(columns):
        rest = column - column.mean()
        size = np.linalg.norm(rest)
        for direction in basis * 2:  # twice: rounding errors of the first pass are taken out by the second
            rest = rest - direction * (direction @ rest)
        if size == 0 or np.linalg.norm(rest) < 1e-6 * size:
            left.append(titles[place])
            continue
        basis.append(rest / np.linalg.norm(rest))
        chosen.append(place)
    what = "covariates follow from those before them (collinear), so left out: the correction is the same without them"
    notes.add("covariates", what, left)
    return chosen
