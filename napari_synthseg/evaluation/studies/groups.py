"""Group studies: do structures of patients differ from those of controls at equal age, sex and head size?

SynthSeg, section 5.3: volumes are corrected for covariates by a linear model, and effect sizes are Cohen's d (eq. 28).
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from napari_synthseg.errors import InputError
from napari_synthseg.evaluation.studies import bootstrap
from napari_synthseg.evaluation.studies.cohort import Cohort, load_cohort
from napari_synthseg.evaluation.studies.covariates import Covariate, Design, complete, make_design, read_covariate
from napari_synthseg.evaluation.studies.effects import additions, effects, hedges_factor, slopes
from napari_synthseg.evaluation.studies.notes import Notes
from napari_synthseg.evaluation.studies.options import GroupOptions, names_of
from napari_synthseg.evaluation.studies.people import FEWEST, as_people, ordered_groups, with_group
from napari_synthseg.evaluation.studies.significance import GroupTest, benjamini_hochberg, group_test, holm
from napari_synthseg.jobs import Progress, run

HINT = " (--covariates names those to correct for; none: no correction)"


@dataclass(frozen=True)
class Effect:
    """How one structure differs between two groups."""

    structure: str
    n: tuple[int, int]
    """People of the reference and of the other group."""
    means: tuple[float, float]
    """Adjusted means: at the covariates' means over both groups."""
    raw_means: tuple[float, float]
    """As measured."""
    difference: float
    """Other less reference, adjusted, in the unit of the volumes."""
    difference_ci: tuple[float, float]
    cohens_d: float
    """SynthSeg, eq. 28: positive where the reference is larger."""
    ci: tuple[float, float]
    """Bootstrap interval of d."""
    hedges_g: float
    """d, made unbiased for small groups."""
    p: float
    """Of the difference, also where groups vary unequally (HC3)."""
    p_student: float
    """The same for groups that vary alike."""
    p_holm: float = float("nan")
    """p corrected for the number of structures."""
    q: float = float("nan")
    """False discovery rate."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """A group against the reference."""

    reference: str
    group: str
    sizes: tuple[int, int]
    covariates: tuple[str, ...]
    """Columns of the linear model."""
    effects: tuple[Effect, ...]
    """One a structure, in the order of the table."""
    corrected: np.ndarray = field(repr=False)
    """(people, structures) corrected volumes; NaN where missing."""
    people: Cohort = field(repr=False)
    is_other: np.ndarray = field(repr=False)
    """(people,) bool"""


@dataclass(frozen=True, eq=False)
class GroupStudy:
    """What a group study found."""

    options: GroupOptions
    comparisons: tuple[Comparison, ...]
    notes: Notes
    scans: int
    """Read from the tables."""


def study_groups(tables: Sequence[Path | str], options: GroupOptions) -> GroupStudy:
    """Compares groups; see `group_steps`."""
    return run(group_steps([Path(table) for table in tables], options))


def group_steps(tables: Sequence[Path], options: GroupOptions) -> Generator[Progress, None, GroupStudy]:
    """Compares each group with the reference, one report a comparison and part of the bootstrap.

    Args:
        tables: tables of volumes.
        options: what to compare, and how.

    Raises:
        InputError: a table or column cannot be used, or too few people are left.
    """
    yield Progress("Reading tables")
    notes = Notes()
    wanted = names_of(options.covariates)
    if options.group in wanted:
        raise InputError(f"The group {options.group!r} is among the covariates too: leave it out there.")
    cohort = load_cohort(tables, options, {options.group: "", **dict.fromkeys(wanted, HINT)}, notes)
    read = len(cohort)
    cohort = with_group(cohort, options.group, notes)
    if not len(cohort):
        raise InputError(f"Nobody has a value in the column {options.group!r}.")
    covariates = [read_covariate(cohort, name, notes) for name in wanted]
    keep = np.flatnonzero(complete(cohort, covariates, notes))
    cohort, covariates = cohort.take(keep), [Covariate(c.name, c.values[keep]) for c in covariates]
    people, covariates = as_people(cohort, covariates, options.repeats, notes)
    cells = people.cells[options.group]
    reference, *others = ordered_groups(cells, options.group, options.reference, notes)
    comparisons = []
    for number, group in enumerate(others):
        yield Progress("Comparing groups", number, len(others), {"group": group})
        rows = np.array([cell in (reference, group) for cell in cells])
        other = np.array([cell == group for cell in cells])[rows]
        own = [Covariate(c.name, c.values[rows]) for c in covariates]
        own_people = people.take(np.flatnonzero(rows))
        try:
            comparisons.append((yield from _compare(own_people, other, own, (reference, group), options, notes)))
        except InputError as error:
            if len(others) == 1:
                raise
            notes.add(options.group, f"groups could not be compared with {reference}: {error}", [group])
    if not comparisons:
        raise InputError(f"No group can be compared with {reference}: {notes.all[-1].what}")
    return GroupStudy(options, tuple(comparisons), notes, read)


def _compare(
    people: Cohort,
    other: np.ndarray,
    covariates: list[Covariate],
    groups: tuple[str, str],
    options: GroupOptions,
    notes: Notes,
) -> Generator[Progress, None, Comparison]:
    """One comparison: structures of which the same people are known are computed together."""
    design = make_design(covariates, np.ones(len(people), bool), notes)
    _refuse_confounded(design, other, groups, options.group)
    corrected = np.full(people.volumes.shape, np.nan)
    found: dict[int, Effect] = {}
    skipped: dict[str, list[str]] = {}
    for known, places in same_rows(np.isfinite(people.volumes)):
        reason = _cannot(known, other, design, people.volumes[known][:, places])
        for place in [p for p, why in zip(places, reason, strict=True) if why]:
            skipped.setdefault(reason[places.index(place)], []).append(people.structures[place])
        places = [p for p, why in zip(places, reason, strict=True) if not why]
        if not places:
            continue
        title = f"Bootstrap, {groups[1]}"
        part = yield from _effects(people.volumes[known][:, places], design.matrix[known], other[known], options, title)
        figures, values = part
        corrected[np.ix_(np.flatnonzero(known), np.array(places))] = values
        for place, figure in zip(places, figures, strict=True):
            found[place] = Effect(people.structures[place], **figure)
    for why, structures in skipped.items():
        notes.add(f"{groups[0]} - {groups[1]}", f"structures were not compared: {why}", structures)
    if not found:
        why = "; ".join(skipped) or "there are none"
        raise InputError(f"No structure can be compared between {groups[0]} and {groups[1]}: {why}.")
    sizes = (int((~other).sum()), int(other.sum()))
    effects_found = _corrected_for_number([found[place] for place in sorted(found)])
    order = sorted(found)
    return Comparison(
        groups[0], groups[1], sizes, design.columns, effects_found, corrected[:, order],
        people, other,
    )  # fmt: skip


def same_rows(known: np.ndarray) -> list[tuple[np.ndarray, list[int]]]:
    """Structures by who has them: rows (bool), and the columns of `known` (rows, columns) that are so."""
    patterns: dict[bytes, list[int]] = {}
    for place in range(known.shape[1]):
        patterns.setdefault(known[:, place].tobytes(), []).append(place)
    return [(known[:, places[0]], places) for places in patterns.values()]


def _refuse_confounded(design: Design, other: np.ndarray, groups: tuple[str, str], column: str) -> None:
    """An error where the covariates tell who is in which group."""
    inside = np.concatenate([np.ones((len(other), 1)), design.matrix], 1)
    if np.linalg.matrix_rank(inside) == np.linalg.matrix_rank(np.column_stack([inside, other])):
        names = ", ".join(design.columns)
        raise InputError(
            f"{groups[0]} and {groups[1]} ({column}) cannot be told from the covariates ({names}), so no effect can "
            "be either: correct for fewer covariates, or give more people."
        )


def _cannot(known: np.ndarray, other: np.ndarray, design: Design, volumes: np.ndarray) -> list[str]:
    """Why each structure cannot be compared; empty texts where it can."""
    n, m = int((known & ~other).sum()), int((known & other).sum())
    p = design.matrix.shape[1]
    if min(n, m) < FEWEST:
        return [f"fewer than {FEWEST} people of a group have them"] * volumes.shape[1]
    if n + m - 2 - p < 3 or n < p + 2:
        return ["too few people for so many covariates"] * volumes.shape[1]
    x = np.column_stack([np.ones(n + m), other[known], design.matrix[known]])
    if np.linalg.matrix_rank(x) < x.shape[1]:
        return ["among the people who have them, covariates cannot be told apart"] * volumes.shape[1]
    flat = np.ptp(volumes, axis=0) <= 1e-9 * np.abs(volumes).max(0)
    return ["the same volume everywhere" if same else "" for same in flat]


def _effects(
    y: np.ndarray, x: np.ndarray, other: np.ndarray, options: GroupOptions, title: str
) -> Generator[Progress, None, tuple[list[dict], np.ndarray]]:
    """The figures of structures, and their corrected volumes (people, structures)."""
    x = x - x.mean(0)
    scale, centre = y.std(0), y.mean(0)
    z = (y - centre) / scale
    p, s = x.shape[1], z.shape[1]
    groups = [additions(z[~other], x[~other]), additions(z[other], x[other])]
    sums = [group.sum(0)[None] for group in groups]

    def estimate(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return effects(a, b, p, s, options.fit)

    d = estimate(*sums)[0]
    parts: list[np.ndarray] = []
    done = 0
    for drawn in bootstrap.drawn(groups, options.resamples, np.random.default_rng(options.seed)):
        parts.append(estimate(*drawn))
        done += len(parts[-1])
        yield Progress(title, done, options.resamples)
    samples = np.concatenate(parts)
    if options.interval == "bca":
        a = bootstrap.acceleration(bootstrap.influences(groups, estimate))
        low, high = bootstrap.bca_interval(samples, d, a, options.confidence)
    else:
        low, high = bootstrap.percentile_interval(samples, options.confidence)
    test = group_test(y, x, other)
    figures = _figures(y, other, d, (low, high), test, options.confidence, p)
    corrected = y - x @ (slopes(sums[0], sums[1], p, s, options.fit)[0] * scale)
    return figures, corrected


def _figures(
    y: np.ndarray,
    other: np.ndarray,
    d: np.ndarray,
    ends: tuple[np.ndarray, np.ndarray],
    test: GroupTest,
    confidence: float,
    covariates: int,
) -> list[dict]:
    from scipy.special import stdtrit

    n, m = int((~other).sum()), int(other.sum())
    reach = float(stdtrit(test.freedom, (1 + confidence) / 2)) * test.error
    factor = hedges_factor(n, m, covariates)
    return [
        {
            "n": (n, m),
            "means": (float(test.reference_mean[i]), float(test.reference_mean[i] + test.difference[i])),
            "raw_means": (float(y[~other, i].mean()), float(y[other, i].mean())),
            "difference": float(test.difference[i]),
            "difference_ci": (float(test.difference[i] - reach[i]), float(test.difference[i] + reach[i])),
            "cohens_d": float(d[i]),
            "ci": (float(ends[0][i]), float(ends[1][i])),
            "hedges_g": float(d[i] * factor),
            "p": float(test.p[i]),
            "p_student": float(test.p_student[i]),
        }
        for i in range(y.shape[1])
    ]


def _corrected_for_number(found: list[Effect]) -> tuple[Effect, ...]:
    p = np.array([one.p for one in found])
    return tuple(
        replace(one, p_holm=float(h), q=float(q))
        for one, h, q in zip(found, holm(p), benjamini_hochberg(p), strict=True)
    )
