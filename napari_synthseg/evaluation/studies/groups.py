"""Group studies: differences of structures between patients and controls at equal age, sex and head size.

SynthSeg, section 5.3. The difference, its interval and its p-value come from one linear model with HC3 standard
errors (statsmodels), which hold if patients vary more than controls; the interval of Cohen's d is a bootstrap (scipy).
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from statsmodels.api import OLS
from statsmodels.stats.multitest import multipletests

from napari_synthseg.errors import InputError
from napari_synthseg.evaluation.studies import GroupOptions, names_of
from napari_synthseg.evaluation.studies import tables as names
from napari_synthseg.evaluation.studies.cohort import Cohort, load_cohort
from napari_synthseg.evaluation.studies.model import (
    FEWEST,
    Moments,
    bootstrap_interval,
    complete,
    effects,
    hedges_factor,
    is_category,
    make_design,
    read_covariate,
    same_rows,
)
from napari_synthseg.evaluation.studies.tables import Notes
from napari_synthseg.jobs import Progress, run

MOST_GROUPS = 12
CONTROLS = (
    "control", "controls", "cn", "hc", "nc", "healthy", "healthycontrol", "healthycontrols", "normal",
    "cognitivelynormal", "ctrl", "ctl", "td", "0", "no", "false", "negative",
)  # fmt: skip
"""Usual names of a reference group."""
FEWEST_DRAWN, FEWEST_LEFT = 6, 12
"""People of each group, and degrees of freedom, without which d has no interval: those of a bootstrap would be far too
narrow, or boundless, since a model fits the few different people in a resample exactly."""
_HINT = " (--covariates names those to correct for; none: no correction)"


@dataclass(frozen=True)
class Effect:
    """Difference of one structure between two groups.

    Attributes:
        n: people of the reference and of the other group.
        means: adjusted means, at the covariates' means over both groups.
        raw_means: as measured.
        difference: other minus reference, adjusted, in the unit of the volumes.
        difference_ci: its interval (HC3).
        cohens_d: other minus reference; negative if the other group has less.
        ci: bootstrap interval of d; NaN if there are too few people for one.
        hedges_g: d without the bias of small groups.
        p: of the difference (HC3).
        p_student: the same for groups that vary alike (analysis of covariance).
        p_holm: p corrected for the number of structures.
        q: false discovery rate.
    """

    structure: str
    n: tuple[int, int]
    means: tuple[float, float]
    raw_means: tuple[float, float]
    difference: float
    difference_ci: tuple[float, float]
    cohens_d: float
    ci: tuple[float, float]
    hedges_g: float
    p: float
    p_student: float
    p_holm: float
    q: float

    @property
    def difference_percent(self) -> float:
        return 100 * self.difference / self.means[0] if self.means[0] else float("nan")


@dataclass(frozen=True, eq=False)
class Comparison:
    """A group against the reference.

    Attributes:
        covariates: columns of the linear model.
        effects: one for each structure, in the order of the table.
        corrected: (people, structures) corrected volumes; NaN where missing.
        is_other: (people,) bool
    """

    reference: str
    group: str
    sizes: tuple[int, int]
    covariates: tuple[str, ...]
    effects: tuple[Effect, ...]
    corrected: np.ndarray = field(repr=False)
    people: Cohort = field(repr=False)
    is_other: np.ndarray = field(repr=False)


@dataclass(frozen=True, eq=False)
class GroupStudy:
    """Result of a group study; `scans` is the number read from the tables."""

    options: GroupOptions
    comparisons: tuple[Comparison, ...]
    notes: Notes
    scans: int


def study_groups(tables: Sequence[Path | str], options: GroupOptions) -> GroupStudy:
    """Compare groups; see `group_steps`."""
    return run(group_steps([Path(table) for table in tables], options))


def group_steps(tables: Sequence[Path], options: GroupOptions) -> Generator[Progress, None, GroupStudy]:
    """Compare each group with the reference.

    Raises:
        InputError: a table or column cannot be used, or too few people are left.
    """
    yield Progress("Reading tables")
    notes, wanted, column = Notes(), names_of(options.covariates), options.group
    if column in wanted:
        raise InputError(f"The group {column!r} is among the covariates too: leave it out there.")
    cohort = load_cohort(tables, options, {column: "", **dict.fromkeys(wanted, _HINT)}, notes)
    scans, cohort = len(cohort), _with_group(cohort, column, notes)
    covariates = [read_covariate(cohort, name, notes) for name in wanted]
    keep = complete(cohort, covariates, notes)
    covariates = [one[keep].reset_index(drop=True) for one in covariates]
    people, covariates = _as_people(cohort.take(keep), covariates, options.repeats, notes)
    cells = people.cells[column]
    reference, *others = _ordered_groups(cells, options, notes)
    comparisons = []
    for number, group in enumerate(others):
        yield Progress("Comparing groups", number, len(others), {"group": group})
        rows = cells.isin([reference, group]).to_numpy()
        own = [one[rows].reset_index(drop=True) for one in covariates]
        try:
            comparisons.append((yield from _compare(people.take(rows), own, (reference, group), options, notes)))
        except InputError as error:
            if len(others) == 1:
                raise
            notes.add(column, f"groups could not be compared with {reference}: {error}", [group])
    if not comparisons:
        raise InputError(f"No group can be compared with {reference}: {notes.all[-1].what}")
    return GroupStudy(options, tuple(comparisons), notes, scans)


def _with_group(cohort: Cohort, column: str, notes: Notes) -> Cohort:
    cells = cohort.cells[column]
    moved = cells.notna() & (cells.groupby(cohort.who["#person"]).transform("nunique") > 1)
    notes.add(column, "scans lack it, so left out", cohort.titles(cells.isna()))
    notes.add(column, "scans are of people who are in several groups, so left out", cohort.titles(moved))
    kept = cohort.take((cells.notna() & ~moved).to_numpy())
    if not len(kept):
        raise InputError(f"Nobody has a value in the column {column!r}.")
    return kept


def _as_people(
    cohort: Cohort, covariates: list[pd.Series], repeats: str, notes: Notes
) -> tuple[Cohort, list[pd.Series]]:
    """Return one row a person: the mean of their scans, or the first of them; categories are those of the first."""
    person = cohort.who["#person"]
    first = ~person.duplicated()
    what = "the mean of them was taken" if repeats == "mean" else "the first was taken"
    several = cohort.who["#subject"][person.duplicated(keep=False) & first]
    notes.add("rows", f"people have several scans: {what}", several)

    def merged(values: Any) -> Any:
        numeric = repeats == "mean" and not (isinstance(values, pd.Series) and is_category(values))
        rows = values.groupby(person, sort=False).mean() if numeric else values[first]
        return rows.reset_index(drop=True)

    return replace(cohort.take(first.to_numpy()), volumes=merged(cohort.volumes)), [merged(c) for c in covariates]


def _ordered_groups(cells: pd.Series, options: GroupOptions, notes: Notes) -> list[str]:
    """Return the groups, the reference first; too small ones are left out and noted.

    Raises:
        InputError: fewer than two groups of `FEWEST` people, too many, or no such reference.
    """
    column, sizes = options.group, cells.value_counts().sort_index()
    if not len(sizes):
        raise InputError(f"Nobody is left who has a group ({column!r}) and all covariates: the table lacks too much.")
    if len(sizes) > MOST_GROUPS:
        raise InputError(
            f"The column {column!r} has {len(sizes)} different values ({', '.join(sizes.index[:3])}, ...): "
            "give one that names a few groups."
        )
    small = sizes[sizes < FEWEST]
    notes.add(column, f"groups have fewer than {FEWEST} people, so left out", [f"{g}: {n}" for g, n in small.items()])
    groups = [str(group) for group in sizes.index.difference(small.index)]
    if len(groups) < 2:
        said = ", ".join(f"{group} ({size} people)" for group, size in sizes.items())
        raise InputError(f"A comparison needs two groups of {FEWEST} people or more; {column!r} has {said}.")
    first = names.find(options.reference, groups) if options.reference else names.find_any(CONTROLS, groups)
    if first is None and options.reference:
        raise InputError(
            f"The reference {options.reference!r} is no group of {column!r}: there are {', '.join(groups)}."
        )
    if first is None:
        first = groups[0]
        notes.add(column, "group was taken as the reference, the first by name (--reference names it)", [first])
    return [first, *(group for group in groups if group != first)]


def _compare(
    people: Cohort, covariates: list[pd.Series], groups: tuple[str, str], options: GroupOptions, notes: Notes
) -> Generator[Progress, None, Comparison]:
    """Compare two groups: structures known of the same people are computed together."""
    other = (people.cells[options.group] == groups[1]).to_numpy()
    design = make_design(covariates, len(people), notes)
    if _rank(other, design.matrix) == _rank(None, design.matrix):
        raise InputError(
            f"{groups[0]} and {groups[1]} ({options.group}) cannot be separated from the covariates "
            f"({', '.join(design.columns)}), so no effect can be either: correct for fewer covariates, or give more "
            "people."
        )
    corrected = pd.DataFrame(np.nan, people.volumes.index, people.volumes.columns)
    found: dict[str, dict[str, Any]] = {}
    skipped: dict[str, list[str]] = {}
    for known, columns in same_rows(people.volumes):
        x = design.matrix[known]
        fitting: list[str] = []
        for column in columns:
            reason = _obstacle(people.volumes.loc[known, column].to_numpy(), other[known], x)
            (skipped.setdefault(reason, []) if reason else fitting).append(column)
        if fitting:
            yield Progress(f"Bootstrap, {groups[1]}", len(found), len(corrected.columns))
            figures, values = effects_on(people.volumes.loc[known, fitting], x, other[known], options)
            corrected.loc[known, fitting] = values
            found |= dict(zip(fitting, figures, strict=True))
    why = "structures have no interval of Cohen's d: there are too few people for a bootstrap"
    notes.add(f"{groups[0]} - {groups[1]}", why, [one for one in found if np.isnan(found[one]["ci"][0])])
    for why, structures in skipped.items():
        notes.add(f"{groups[0]} - {groups[1]}", f"structures were not compared: {why}", structures)
    if not found:
        why = "; ".join(skipped) or "there are none"
        raise InputError(f"No structure can be compared between {groups[0]} and {groups[1]}: {why}.")
    ordered = [column for column in corrected if column in found]
    holm, q = (corrected_for_number([found[one]["p"] for one in ordered], method) for method in ("holm", "fdr_bh"))
    made = [Effect(one, **found[one], p_holm=h, q=f) for one, h, f in zip(ordered, holm, q, strict=True)]
    sizes = (int((~other).sum()), int(other.sum()))
    values = corrected[ordered].to_numpy(copy=True)
    return Comparison(*groups, sizes, design.columns, tuple(made), values, people, other)


def _rank(other: np.ndarray | None, x: np.ndarray) -> int:
    columns = [np.ones(len(x)), x] if other is None else [np.ones(len(x)), x, other]
    return int(np.linalg.matrix_rank(np.column_stack(columns)))


def _obstacle(volumes: np.ndarray, other: np.ndarray, x: np.ndarray) -> str:
    n, m, p = int((~other).sum()), int(other.sum()), x.shape[1]
    if min(n, m) < FEWEST:
        return f"fewer than {FEWEST} people of a group have them"
    if n + m - 2 - p < 3 or n < p + 2:
        return "too few people for this number of covariates"
    if _rank(other, x) < p + 2:
        return "among the people who have them, covariates are collinear"
    return "the same volume everywhere" if np.ptp(volumes) <= 1e-9 * np.abs(volumes).max() else ""


def effects_on(
    volumes: pd.DataFrame, x: np.ndarray, other: np.ndarray, options: GroupOptions
) -> tuple[list[dict[str, Any]], np.ndarray]:
    """Return the figures of `Effect` of each structure, and the corrected volumes (people, structures)."""
    y, x = volumes.to_numpy(), x - x.mean(0)
    scale = y.std(0)
    z = (y - y.mean(0)) / scale
    control, case = Moments(z[~other], x[~other]), Moments(z[other], x[other])
    n, m = int((~other).sum()), int(other.sum())
    d, beta = effects(control(np.ones((1, n))), case(np.ones((1, m))), options.fit)
    low = high = np.full(y.shape[1], np.nan)
    if min(n, m) >= FEWEST_DRAWN and n + m - 2 - x.shape[1] >= FEWEST_LEFT:
        low, high = bootstrap_interval(
            (n, m), lambda a, b: effects(control(a), case(b), options.fit)[0], method=options.interval,
            resamples=options.resamples, confidence=options.confidence, seed=options.seed,
        )  # fmt: skip
    found = []
    design = np.column_stack([np.ones(n + m), other, x])
    for i in range(y.shape[1]):
        classical = OLS(y[:, i], design).fit()
        robust = classical.get_robustcov_results("HC3", use_t=True)
        found.append({
            "n": (n, m),
            "means": (float(classical.params[0]), float(classical.params[:2].sum())),
            "raw_means": (float(y[~other, i].mean()), float(y[other, i].mean())),
            "difference": float(classical.params[1]),
            "difference_ci": tuple(map(float, robust.conf_int(1 - options.confidence)[1])),
            "cohens_d": float(d[0, i]),
            "ci": (float(low[i]), float(high[i])),
            "hedges_g": float(d[0, i]) * hedges_factor(n, m, x.shape[1]),
            "p": float(robust.pvalues[1]),
            "p_student": float(classical.pvalues[1]),
        })  # fmt: skip
    return found, y - x @ (beta[0] * scale)


def corrected_for_number(p: Sequence[float], method: str) -> list[float]:
    """Correct p-values for their number by `multipletests`; NaN stay and do not count."""
    known = pd.Series(p, dtype=float).dropna()
    made = pd.Series(multipletests(known, method=method)[1] if len(known) else [], known.index, dtype=float)
    return made.reindex(range(len(p))).tolist()
