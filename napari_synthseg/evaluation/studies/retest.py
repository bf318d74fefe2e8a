"""Test-retest studies: how alike are the volumes of repeated scans of the same people?"""

from __future__ import annotations

import re
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from napari_synthseg.errors import InputError
from napari_synthseg.evaluation.studies import bootstrap, reliability
from napari_synthseg.evaluation.studies.cohort import Cohort, load_cohort
from napari_synthseg.evaluation.studies.identity import normal
from napari_synthseg.evaluation.studies.notes import Notes
from napari_synthseg.evaluation.studies.numerals import is_missing
from napari_synthseg.evaluation.studies.options import RetestOptions
from napari_synthseg.jobs import Progress, run

FEWEST = 3
"""People with two scans or more that any figure needs."""

Interval = tuple[float, float]


@dataclass(frozen=True)
class Reproducibility:
    """How well the volume of one structure is reproduced."""

    structure: str
    people: int
    scans: int
    mean: float
    """Mean volume."""
    difference_percent: float
    """Absolute symmetrised percent volume difference, mean over people."""
    difference_ci: Interval
    """BCa bootstrap."""
    difference_median: float
    variation_percent: float
    """Coefficient of variation within people."""
    variation_ci: Interval
    """BCa bootstrap."""
    error: float
    """Standard deviation within people, in the unit of the volumes."""
    error_ci: Interval
    repeatability: float
    """1.96 sqrt(2) error: two scans of somebody who has not changed differ by less, 95 times in 100."""
    icc: float
    """ICC(1,1), one way."""
    icc_ci: Interval
    icc_agreement: float
    """ICC(2,1) of the first two scans."""
    icc_consistency: float
    """ICC(3,1) of the first two scans."""
    bland_altman: dict[str, float | Interval]
    """Second scans less first ones: bias and limits of agreement, with intervals."""
    pairs: tuple[np.ndarray, np.ndarray] = field(repr=False, compare=False)
    """(people,) volumes of the first two scans."""


@dataclass(frozen=True, eq=False)
class RetestStudy:
    """What a test-retest study found."""

    options: RetestOptions
    structures: tuple[Reproducibility, ...]
    notes: Notes
    people: int
    scans: int
    """Of people with several."""


def study_retest(tables: Sequence[Path | str], options: RetestOptions | None = None) -> RetestStudy:
    """Measures reproducibility; see `retest_steps`."""
    return run(retest_steps([Path(table) for table in tables], options or RetestOptions()))


def retest_steps(tables: Sequence[Path], options: RetestOptions) -> Generator[Progress, None, RetestStudy]:
    """Measures the reproducibility of each structure, one report a structure.

    Args:
        tables: tables of volumes with several scans of the same people.
        options: whose scans they are.

    Raises:
        InputError: a table or column cannot be used, or too few people have several scans.
    """
    yield Progress("Reading tables")
    notes = Notes()
    cohort = load_cohort(tables, options, [options.session] if options.session else [], notes)
    scans = _scans_of_people(cohort, options, notes)
    most = max(len(rows) for rows in scans)
    found = []
    few, flat = [], []
    for place, structure in enumerate(cohort.structures):
        yield Progress("Measuring", place, len(cohort.structures), {"structure": structure})
        volumes = np.full((len(scans), most), np.nan)
        for person, rows in enumerate(scans):
            known = cohort.volumes[rows, place]
            known = known[np.isfinite(known)]
            volumes[person, : len(known)] = known
        volumes = volumes[np.isfinite(volumes).sum(1) > 1]
        if len(volumes) < FEWEST:
            few.append(structure)
        elif np.nanmin(volumes) <= 0 or np.ptp(np.nanmean(volumes, 1)) == 0:
            flat.append(structure)
        else:
            found.append(measure(structure, volumes, options))
    notes.add("structures", f"structures have fewer than {FEWEST} people with two volumes, so left out", few)
    notes.add("structures", "structures have volumes of 0, or the same for everybody, so left out", flat)
    if not found:
        raise InputError(f"No structure has two volumes of each of {FEWEST} people: repeated scans are needed.")
    return RetestStudy(options, tuple(found), notes, len(scans), sum(len(rows) for rows in scans))


def _scans_of_people(cohort: Cohort, options: RetestOptions, notes: Notes) -> list[list[int]]:
    """Rows of each person with several scans, in the order of their sessions."""
    order = cohort.cells[options.session] if options.session else list(cohort.sessions)
    rows: dict[str, list[int]] = {}
    for row, subject in enumerate(cohort.subjects):
        rows.setdefault(normal(subject), []).append(row)
    single = [cohort.subjects[one[0]] for one in rows.values() if len(one) == 1]
    notes.add("rows", "people have one scan only, so left out", single)
    several = [sorted(one, key=lambda row: _ordering(order[row])) for one in rows.values() if len(one) > 1]
    if len(several) < FEWEST:
        raise InputError(
            f"Only {len(several)} of {len(rows)} people have more than one scan, and {FEWEST} are needed: is the "
            "subject recognised (--id names its column)?"
        )
    return several


def _ordering(session: str) -> tuple[bool, list[tuple[bool, float, str]]]:
    """Sessions in the order of the numbers in them: ses-2 before ses-10; what is missing comes last."""
    parts = re.findall(r"\d+|\D+", session)
    return is_missing(session), [(not p.isdigit(), float(p) if p.isdigit() else 0.0, p) for p in parts]


def measure(structure: str, volumes: np.ndarray, options: RetestOptions) -> Reproducibility:
    """All measures of one structure.

    Args:
        structure: its name.
        volumes: (people, scans) above 0, NaN at the end of the rows of people with fewer scans, two at least.
        options: confidence, resamples and seed.
    """
    count, mean, variance = reliability.spread_within(volumes)
    apart = reliability.symmetrised_difference(volumes)
    added = np.stack([np.ones(len(volumes)), apart, variance / mean**2], 1)
    ends = _intervals(added, options)
    error = reliability.error_of_measurement(volumes, options.confidence)
    icc = reliability.icc_one_way(volumes, options.confidence)
    first, second = volumes[:, 0], volumes[:, 1]
    agreement, consistency = reliability.icc_two_way(first, second)
    return Reproducibility(
        structure=structure,
        people=len(volumes),
        scans=int(count.sum()),
        mean=float(mean.mean()),
        difference_percent=float(apart.mean()),
        difference_ci=ends[0],
        difference_median=float(np.median(apart)),
        variation_percent=reliability.variation_within(volumes),
        variation_ci=ends[1],
        error=error[0],
        error_ci=error[1:],
        repeatability=float(1.96 * np.sqrt(2) * error[0]),
        icc=icc[0],
        icc_ci=icc[1:],
        icc_agreement=agreement,
        icc_consistency=consistency,
        bland_altman=reliability.bland_altman(first, second, options.confidence),
        pairs=(first, second),
    )


def _intervals(added: np.ndarray, options: RetestOptions) -> list[Interval]:
    """Intervals of the mean difference and of the coefficient of variation: people are drawn anew."""

    def estimate(sums: np.ndarray) -> np.ndarray:
        means = sums[:, 1:] / sums[:, :1]
        return np.stack([means[:, 0], 100 * np.sqrt(means[:, 1])], 1)

    rng = np.random.default_rng(options.seed)
    samples = np.concatenate([estimate(part) for (part,) in bootstrap.drawn([added], options.resamples, rng)])
    accelerated = bootstrap.acceleration(bootstrap.influences([added], estimate))
    low, high = bootstrap.bca_interval(samples, estimate(added.sum(0)[None])[0], accelerated, options.confidence)
    return [(float(a), float(b)) for a, b in zip(low, high, strict=True)]
