"""Test-retest studies: reproducibility of volumes in repeated scans of the same people.

ICC by pingouin (Shrout and Fleiss, 1979, Psychol Bull 86; McGraw and Wong, 1996, Psychol Methods 1), limits of
agreement after Bland and Altman (1999), Stat Methods Med Res 8, intervals by scipy.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from napari_synthseg.errors import InputError
from napari_synthseg.evaluation.studies import RetestOptions
from napari_synthseg.evaluation.studies import tables as names
from napari_synthseg.evaluation.studies.cohort import Cohort, load_cohort
from napari_synthseg.evaluation.studies.model import FEWEST, bootstrap_interval
from napari_synthseg.evaluation.studies.tables import Notes
from napari_synthseg.jobs import Progress, run

Interval = tuple[float, float]


@dataclass(frozen=True)
class Reproducibility:
    """Reproducibility of the volume of one structure.

    Attributes:
        mean: mean volume.
        difference_percent: absolute symmetrized percent volume difference, mean over people; BCa interval.
        variation_percent: coefficient of variation within people; BCa interval.
        error: standard deviation within people, in the unit of the volumes; chi-squared interval.
        repeatability: 1.96 sqrt(2) error: two scans of an unchanged person differ by less, 95 times in 100.
        icc: ICC(1,1), one way, of the scans that everybody has; F interval.
        icc_agreement: ICC(A,1), absolute agreement of the same scans.
        icc_consistency: ICC(C,1), their consistency.
        bland_altman: second minus first scans: `bias`, `lower` and `upper` limit of agreement, and each one's `_ci`.
        pairs: (people,) volumes of the first two scans.
    """

    structure: str
    people: int
    scans: int
    mean: float
    difference_percent: float
    difference_ci: Interval
    difference_median: float
    variation_percent: float
    variation_ci: Interval
    error: float
    error_ci: Interval
    repeatability: float
    icc: float
    icc_ci: Interval
    icc_agreement: float
    icc_consistency: float
    bland_altman: dict[str, float | Interval]
    pairs: tuple[np.ndarray, np.ndarray] = field(repr=False, compare=False)


@dataclass(frozen=True, eq=False)
class RetestStudy:
    """Result of a test-retest study; `scans` counts those of people with several."""

    options: RetestOptions
    structures: tuple[Reproducibility, ...]
    notes: Notes
    people: int
    scans: int


def study_retest(tables: Sequence[Path | str], options: RetestOptions | None = None) -> RetestStudy:
    """Measure reproducibility; see `retest_steps`."""
    return run(retest_steps([Path(table) for table in tables], options or RetestOptions()))


def retest_steps(tables: Sequence[Path], options: RetestOptions) -> Generator[Progress, None, RetestStudy]:
    """Measure the reproducibility of each structure, from tables with several scans of the same people.

    Raises:
        InputError: a table or column cannot be used, or too few people (fewer than `FEWEST`) have several scans.
    """
    yield Progress("Reading tables")
    notes = Notes()
    ordered_by = [options.session] if options.session and names.plain(options.session) not in names.SESSION else []
    cohort = _in_order(load_cohort(tables, options, ordered_by, notes), ordered_by, notes)
    found, few, flat = [], [], []
    for place, structure in enumerate(cohort.volumes):
        yield Progress("Measuring", place, len(cohort.volumes.columns), {"structure": structure})
        known = cohort.volumes[structure].dropna()
        person = cohort.who["#person"][known.index]
        wide = known.groupby([person, person.groupby(person).cumcount()]).first().unstack()
        volumes = wide[wide.notna().sum(axis=1) > 1].to_numpy()
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
    return RetestStudy(options, tuple(found), notes, cohort.who["#person"].nunique(), len(cohort))


def _in_order(cohort: Cohort, ordered_by: list[str], notes: Notes) -> Cohort:
    """Return the scans of people with several, by the numbers in the sessions' names; missing ones last."""
    person = cohort.who["#person"]
    several = person.duplicated(keep=False)
    notes.add("rows", "people have one scan only, so left out", cohort.who["#subject"][~several])
    if (people := person[several].nunique()) < FEWEST:
        raise InputError(
            f"Only {people} of {person.nunique()} people have more than one scan, and {FEWEST} are needed: is the "
            "subject recognised (--id names its column)?"
        )
    order = cohort.cells[ordered_by[0]] if ordered_by else cohort.who["#session"]

    def natural(row: Any) -> tuple[bool, list[tuple[bool, float, str]]]:
        parts = re.findall(r"\d+|\D+", order[row]) if isinstance(order[row], str) else []
        return not parts, [(not part.isdigit(), float(part) if part.isdigit() else 0.0, part) for part in parts]

    return cohort.take(np.array(sorted(np.flatnonzero(several), key=natural)))


def measure(structure: str, volumes: np.ndarray, options: RetestOptions) -> Reproducibility:
    """Measure one structure: volumes (people, scans) above 0, at least two each, NaN at the end of shorter rows."""
    count = np.isfinite(volumes).sum(1)
    means, variances = np.nanmean(volumes, 1), np.nanvar(volumes, 1, ddof=1)
    apart = np.nanmean([200 * np.abs(a - b) / (a + b) for a, b in combinations(volumes.T, 2)], 0)

    def estimate(weights: np.ndarray) -> np.ndarray:
        sums = weights @ np.column_stack([apart, variances / means**2]) / weights.sum(1, keepdims=True)
        return np.column_stack([sums[:, 0], 100 * np.sqrt(sums[:, 1])])

    ends = bootstrap_interval(
        (len(volumes),), estimate, method="bca", resamples=options.resamples, confidence=options.confidence,
        seed=options.seed,
    )  # fmt: skip
    difference, variation = map(float, estimate(np.ones((1, len(volumes))))[0])
    difference_ci, variation_ci = ((float(low), float(high)) for low, high in zip(*ends, strict=True))
    freedom, squares = int((count - 1).sum()), float(((count - 1) * variances).sum())
    error = float(np.sqrt(squares / freedom))
    error_low, error_high = np.sqrt(squares / np.array(stats.chi2.interval(options.confidence, freedom))[::-1])
    first, second = volumes[:, 0], volumes[:, 1]
    icc, icc_ci, agreement, consistency = intraclass(volumes[:, : int(count.min())], options.confidence)
    return Reproducibility(
        structure=structure,
        people=len(volumes),
        scans=int(count.sum()),
        mean=float(means.mean()),
        difference_percent=difference,
        difference_ci=difference_ci,
        difference_median=float(np.median(apart)),
        variation_percent=variation,
        variation_ci=variation_ci,
        error=error,
        error_ci=(float(error_low), float(error_high)),
        repeatability=float(1.96 * np.sqrt(2) * error),
        icc=icc,
        icc_ci=icc_ci,
        icc_agreement=agreement,
        icc_consistency=consistency,
        bland_altman=bland_altman(second - first, options.confidence),
        pairs=(first, second),
    )


def intraclass(volumes: np.ndarray, confidence: float) -> tuple[float, Interval, float, float]:
    """Return ICC(1,1), its interval, ICC(A,1) and ICC(C,1) of volumes (people, scans) by pingouin.

    pingouin rounds its intervals to two digits, so the interval is made from its F statistic.
    """
    from pingouin import intraclass_corr  # takes a second to import

    if not np.ptp(volumes, 1).any():
        return 1.0, (1.0, 1.0), 1.0, 1.0
    long = pd.DataFrame(volumes).melt(ignore_index=False, var_name="scan", value_name="volume").reset_index()
    with np.errstate(all="ignore"):
        table = intraclass_corr(long, targets="index", raters="scan", ratings="volume").set_index("Type")
    one, k = table.loc["ICC(1,1)"], volumes.shape[1]
    ends = one["F"] / np.array(stats.f.interval(confidence, one["df1"], one["df2"]))[::-1]
    low, high = (ends - 1) / (ends + k - 1)
    agreement, consistency = (float(table.at[kind, "ICC"]) for kind in ("ICC(A,1)", "ICC(C,1)"))
    return float(one["ICC"]), (float(low), float(high)), agreement, consistency


def bland_altman(difference: np.ndarray, confidence: float) -> dict[str, float | Interval]:
    """Return bias and 95 % limits of agreement, and their intervals, of (people,) second minus first scans."""
    n, z = len(difference), float(stats.norm.ppf(0.975))
    bias, spread = float(difference.mean()), float(difference.std(ddof=1))
    t = float(stats.t.ppf((1 + confidence) / 2, n - 1)) * spread
    found: dict[str, float | Interval] = {}
    for name, side in (("bias", 0), ("lower", -z), ("upper", z)):
        value, half = bias + side * spread, t * float(np.sqrt(1 / n + side**2 / (2 * (n - 1))))
        found |= {name: value, f"{name}_ci": (value - half, value + half)}
    return found
