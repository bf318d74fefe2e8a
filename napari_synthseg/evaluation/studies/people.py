"""From scans to people, and from people to groups."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np

from napari_synthseg.errors import InputError
from napari_synthseg.evaluation.studies import names
from napari_synthseg.evaluation.studies.cohort import Cohort
from napari_synthseg.evaluation.studies.covariates import Covariate, who
from napari_synthseg.evaluation.studies.identity import normal
from napari_synthseg.evaluation.studies.notes import Notes
from napari_synthseg.evaluation.studies.numerals import is_missing

FEWEST = 3
"""People a group must have."""
MOST_GROUPS = 12
CONTROLS = (
    "control", "controls", "cn", "hc", "nc", "healthy", "healthycontrol", "healthycontrols", "normal",
    "cognitivelynormal", "ctrl", "ctl", "td", "none", "0", "no", "false", "negative",
)  # fmt: skip
"""What a reference group is usually called."""


def with_group(cohort: Cohort, column: str, notes: Notes) -> Cohort:
    """The scans of which the group is known; those of people who change it are left out."""
    cells = ["" if is_missing(cell) else cell for cell in cohort.cells[column]]
    lost = np.array([not cell for cell in cells])
    notes.add(column, "scans lack it, so left out", who(cohort, lost))
    groups: dict[str, set[str]] = {}
    for subject, cell in zip(cohort.subjects, cells, strict=True):
        groups.setdefault(normal(subject), set()).update({cell} - {""})
    moved = np.array([len(groups[normal(subject)]) > 1 for subject in cohort.subjects]) & ~lost
    notes.add(column, "scans are of people who are in several groups, so left out", who(cohort, moved))
    kept = replace(cohort, cells={**cohort.cells, column: cells})
    return kept.take(np.flatnonzero(~lost & ~moved))


def as_people(
    cohort: Cohort, covariates: list[Covariate], repeats: str, notes: Notes
) -> tuple[Cohort, list[Covariate]]:
    """One row a person: the mean of their scans, or the first of them; a category must be the same in all of them."""
    rows: dict[str, list[int]] = {}
    for row, subject in enumerate(cohort.subjects):
        rows.setdefault(normal(subject), []).append(row)
    several = [cohort.subjects[one[0]] for one in rows.values() if len(one) > 1]
    if not several:
        return cohort, covariates
    what = "the mean of them was taken" if repeats == "mean" else "the first was taken"
    notes.add("rows", f"people have several scans: {what}", several)
    firsts = [one[0] for one in rows.values()]
    people = cohort.take(firsts)
    if repeats == "first":
        return people, [Covariate(c.name, c.values[firsts]) for c in covariates]
    volumes = np.array([_mean(cohort.volumes[one]) for one in rows.values()])
    merged = []
    for c in covariates:
        means = c.values[firsts] if c.is_category else np.array([_mean(c.values[one]) for one in rows.values()])
        merged.append(Covariate(c.name, means))
    return replace(people, volumes=volumes), merged


def _mean(values: np.ndarray) -> np.ndarray:
    """Mean along the first axis without what is NaN; NaN where all is."""
    known = np.isfinite(values)
    count = known.sum(0)
    return np.where(count, np.where(known, values, 0).sum(0) / np.maximum(count, 1), np.nan)


def ordered_groups(cells: list[str], column: str, reference: str, notes: Notes) -> list[str]:
    """The groups of the people, the reference first; too small ones are left out and noted.

    Args:
        cells: the group of each person.
        column: what the column is called.
        reference: the group to compare with; empty to guess.
        notes: what was left out is noted here.

    Raises:
        InputError: fewer than two groups of `FEWEST` people, too many, or no such reference.
    """
    sizes = Counter(cells)
    if not sizes:
        raise InputError(f"Nobody is left who has a group ({column!r}) and all covariates: the table lacks too much.")
    if len(sizes) > MOST_GROUPS:
        raise InputError(
            f"The column {column!r} has {len(sizes)} different values ({', '.join(sorted(sizes)[:3])}, ...): "
            "give one that says to which of a few groups somebody belongs."
        )
    small = [group for group in sizes if sizes[group] < FEWEST]
    notes.add(column, f"groups have fewer than {FEWEST} people, so left out", [f"{g}: {sizes[g]}" for g in small])
    groups = sorted(group for group in sizes if group not in small)
    if len(groups) < 2:
        said = ", ".join(f"{group} ({sizes[group]} people)" for group in sorted(sizes))
        raise InputError(f"A comparison needs two groups of {FEWEST} people or more; {column!r} has {said}.")
    first = _reference(groups, column, reference, notes)
    return [first, *(group for group in groups if group != first)]


def _reference(groups: list[str], column: str, wanted: str, notes: Notes) -> str:
    if wanted:
        found = wanted if wanted in groups else names.find_any([names.plain(wanted)], groups)
        if found is None:
            raise InputError(f"The reference {wanted!r} is no group of {column!r}: there are {', '.join(groups)}.")
        return found
    usual = names.find_any(CONTROLS, groups)
    if usual is None:
        notes.add(column, "group was taken as the reference, the first by name (--reference names it)", groups[:1])
    return usual or groups[0]
