"""Ageing studies: trajectories of volumes over the life span, from scans of any slice spacing (SynthSeg+, section 3.4).

Every scan enters by itself, as in the paper; where people have several, the bootstrap draws people and not scans.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from napari_synthseg.errors import InputError
from napari_synthseg.evaluation.studies import bootstrap, splines
from napari_synthseg.evaluation.studies.cohort import Cohort, load_cohort
from napari_synthseg.evaluation.studies.covariates import Covariate, Design, complete, make_design, read_covariate
from napari_synthseg.evaluation.studies.effects import additions
from napari_synthseg.evaluation.studies.groups import same_rows
from napari_synthseg.evaluation.studies.identity import normal
from napari_synthseg.evaluation.studies.notes import Notes
from napari_synthseg.evaluation.studies.options import AgeingOptions, names_of
from napari_synthseg.evaluation.studies.spacing import COLUMNS, columns_of, spacing_from_headers
from napari_synthseg.evaluation.studies.text_table import read_text_table
from napari_synthseg.jobs import Progress, checkpoint, run

POINTS = 101
"""Ages at which curves are told."""
SHORTEST = 2.0
"""Years from the youngest to the oldest that a trajectory needs."""
FAR = 4.0
"""Robust standard deviations from the curve beyond which a scan counts as an outlier."""
_SPARE = 5
_AT_ONCE = 16
"""Structures whose sums are held at once."""


@dataclass(frozen=True)
class Term:
    """A linear term of the model."""

    name: str
    """`sex=M`: males against females. `spacing_z`: a millimetre more."""
    value: float
    """In the unit of the volumes for one unit of the covariate."""
    ci: tuple[float, float]


@dataclass(frozen=True, eq=False)
class Trajectory:
    """How one structure changes with age."""

    structure: str
    scans: int
    people: int
    direction: int
    """Which way the soft constraint bends: 1 rising, -1 falling, 0 none."""
    ages: np.ndarray
    """(POINTS,) years, from the youngest to the oldest."""
    curve: np.ndarray
    """(POINTS,) volumes, between the sexes, at 1 mm (or the smallest spacing there is) and mean covariates."""
    band: tuple[np.ndarray, np.ndarray]
    """Pointwise interval of the curve, (POINTS,) each; NaN without bootstrap."""
    terms: tuple[Term, ...]
    change: tuple[tuple[float, float, float, float], ...]
    """(age, percent a year, low, high) at every tenth year."""
    explained: float
    """Share of the variance that the model explains."""
    residual: float
    """Standard deviation about it."""
    outliers: tuple[str, ...]
    """Scans farther than `FAR` robust standard deviations from the model."""
    converged: bool
    points: tuple[np.ndarray, np.ndarray] = field(repr=False)
    """(scans,) ages, and volumes with the linear terms taken out."""


@dataclass(frozen=True, eq=False)
class AgeingStudy:
    """What an ageing study found."""

    options: AgeingOptions
    trajectories: tuple[Trajectory, ...]
    terms: tuple[str, ...]
    notes: Notes
    scans: int
    """Read from the tables."""


@dataclass(frozen=True, eq=False)
class _Model:
    """What all structures share."""

    knots: splines.Knots
    design: Design
    reference: np.ndarray
    """(P,) the linear terms' columns at the point the curve is told for."""
    options: AgeingOptions


def study_ageing(tables: Sequence[Path | str], options: AgeingOptions | None = None) -> AgeingStudy:
    """Fits trajectories; see `ageing_steps`."""
    return run(ageing_steps([Path(table) for table in tables], options or AgeingOptions()))


def ageing_steps(tables: Sequence[Path], options: AgeingOptions) -> Generator[Progress, None, AgeingStudy]:
    """Fits the trajectory of each structure, one report a structure.

    Args:
        tables: tables of volumes.
        options: what to fit, and how.

    Raises:
        InputError: a table or column cannot be used, or too few scans are left.
    """
    yield Progress("Reading tables")
    notes = Notes()
    sex = names_of(options.sex)
    columns = columns_of(options.spacing, _all_columns(tables, options))
    linear = [*sex, *columns, *names_of(options.covariates)]
    hints = {options.age: "", **dict.fromkeys(sex, " (--sex none leaves it out)")}
    hints |= dict.fromkeys([name for name in linear if name not in hints], "")
    cohort = load_cohort(tables, options, hints, notes)
    read = len(cohort)
    age = read_covariate(cohort, options.age, notes)
    if age.is_category:
        raise InputError(f"The column {options.age!r} holds no ages: name the one that does with --age.")
    terms = [read_covariate(cohort, name, notes) for name in linear]
    if options.spacing == "headers":
        terms += yield from spacing_from_headers(cohort, notes)
    keep = np.flatnonzero(complete(cohort, [age, *terms], notes))
    cohort, ages = cohort.take(keep), age.values[keep].astype(float)
    terms = [Covariate(one.name, one.values[keep]) for one in terms]
    _check_ages(ages, options)
    design = make_design(terms, np.ones(len(cohort), bool), notes)
    knots = splines.Knots(float(ages.min()), float(ages.max()), options.knots)
    model = _Model(knots, design, _reference(design, terms), options)
    found = yield from _all_structures(cohort, ages, model, notes)
    return AgeingStudy(options, tuple(found), design.columns, notes, read)


def _all_columns(tables: Sequence[Path], options: AgeingOptions) -> list[str]:
    if options.spacing != "auto":
        return []
    paths = [*tables, *([options.participants] if options.participants else [])]
    return [column for path in paths for column in read_text_table(Path(path), Notes()).columns]


def _check_ages(ages: np.ndarray, options: AgeingOptions) -> None:
    fewest = options.knots + splines.DEGREE - 1 + _SPARE
    if len(ages) < fewest:
        raise InputError(
            f"Only {len(ages)} scans have an age and all other columns; {options.knots} knots need {fewest} or more."
        )
    if np.ptp(ages) < SHORTEST:
        raise InputError(
            f"All scans are of people {ages.min():g} to {ages.max():g} years old: that makes no trajectory."
        )


def _reference(design: Design, terms: list[Covariate]) -> np.ndarray:
    """Columns of the design at the point the curve is told for: between sexes, at fine spacing, else at the mean."""
    by_name = {one.name: one for one in terms}
    point = np.zeros(len(design.columns))
    for place, title in enumerate(design.columns):
        name, _, level = title.partition("=")
        one = by_name.get(title) or by_name[name]
        if level and one.is_category:
            wanted = 1 / len(set(one.values.tolist()))
        elif "spacing" in title.lower() or title in COLUMNS:
            wanted = max(1.0, float(np.min(one.values)))
        elif len(set(one.values.tolist())) == 2:
            wanted = float(np.unique(one.values).mean())
        else:
            continue
        point[place] = (wanted - design.centres[place]) * design.scales[place]
    return point


def _all_structures(
    cohort: Cohort, ages: np.ndarray, model: _Model, notes: Notes
) -> Generator[Progress, None, list[Trajectory]]:
    found: dict[int, Trajectory] = {}
    few, flat = [], []
    needed = model.knots.size + len(model.design.columns) + _SPARE
    total = len(cohort.structures)
    for known, places in same_rows(np.isfinite(cohort.volumes)):
        if known.sum() < needed:
            few += [cohort.structures[place] for place in places]
            continue
        varied = [p for p in places if np.ptp(cohort.volumes[known, p]) > 1e-9 * np.abs(cohort.volumes[known, p]).max()]
        flat += [cohort.structures[place] for place in places if place not in varied]
        rows = np.flatnonzero(known)
        for start in range(0, len(varied), _AT_ONCE):
            some = varied[start : start + _AT_ONCE]
            jobs = _fit_some(cohort.take(rows), ages[rows], model, rows, some)
            for place, trajectory in zip(some, jobs, strict=True):
                found[place] = trajectory
                yield Progress("Fitting trajectories", len(found), total, {"structure": trajectory.structure})
    notes.add("structures", f"structures have fewer than {needed} scans, so left out", few)
    notes.add("structures", "structures have the same volume everywhere, so left out", flat)
    if not found:
        raise InputError(f"No structure has {needed} scans with a volume, an age and all other columns.")
    return [found[place] for place in sorted(found)]


def _fit_some(cohort: Cohort, ages: np.ndarray, model: _Model, rows: np.ndarray, places: list[int]):
    """The trajectories of structures that the same scans have, one after the other."""
    linear = model.design.matrix[rows]
    x = np.concatenate([model.knots.basis(ages), linear], 1)
    y = cohort.volumes[:, places]
    centre, scale = y.mean(0), y.std(0)
    z = (y - centre) / scale
    sums = additions(z, x)
    people: dict[str, int] = {}
    owner = np.array([people.setdefault(normal(subject), len(people)) for subject in cohort.subjects])
    of_people = np.zeros((len(people), sums.shape[1]))
    np.add.at(of_people, owner, sums)
    resampled = []
    if model.options.resamples:
        rng = np.random.default_rng(model.options.seed)
        resampled = [part for (part,) in bootstrap.drawn([of_people], model.options.resamples, rng)]
    spread = np.sqrt(len(people) / max(1, len(people) - x.shape[1]))
    all_sums = np.concatenate([of_people.sum(0)[None], *resampled])
    for number, place in enumerate(places):
        grams, moments, squares = _mean_squares(all_sums, x.shape[1], len(places), number)
        first = splines.Problem(grams[0], moments[0], float(squares[0]), model.knots.size)
        direction, fitted = splines.fit_direction(first, model.options.monotonic, model.options.softness)
        checkpoint()
        again = splines.fit_many(grams[1:], moments[1:], model.knots.size, direction, model.options.softness)
        # Resamples vary less than samples do: the model takes as many degrees of freedom as it has columns.
        again = fitted.coefficients + (again - fitted.coefficients) * spread
        thetas = np.concatenate([fitted.coefficients[None], again]) * scale[number]
        residuals = y[:, number] - centre[number] - x @ thetas[0]
        yield _trajectory(
            cohort,
            place,
            len(people),
            ages,
            linear,
            thetas,
            centre[number],
            residuals,
            model,
            direction,
            fitted.converged,
        )


def _mean_squares(
    sums: np.ndarray, columns: int, structures: int, number: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean products of columns, of columns and volumes, and of volumes: of one structure, for each resample."""
    shapes = (1, columns, structures, columns**2, columns * structures, structures)
    n, _, _, xx, xy, yy = np.split(sums, np.cumsum(shapes)[:-1], 1)
    moments = (xy / n).reshape(-1, columns, structures)[:, :, number]
    return (xx / n).reshape(-1, columns, columns), moments, (yy / n)[:, number]


def _trajectory(
    cohort: Cohort,
    place: int,
    people: int,
    ages: np.ndarray,
    linear: np.ndarray,
    thetas: np.ndarray,
    centre: float,
    residuals: np.ndarray,
    model: _Model,
    direction: int,
    converged: bool,
) -> Trajectory:
    """A trajectory from coefficients (1 + resamples, K), the first of which are the estimate."""
    knots, size = model.knots, model.knots.size
    at = np.linspace(knots.low, knots.high, POINTS)
    offset = centre + thetas[:, size:] @ model.reference
    curves = thetas[:, :size] @ knots.basis(at).T + offset[:, None]
    slopes = thetas[:, size:] * model.design.scales
    terms = [
        Term(name, float(slopes[0, i]), _ends(slopes[1:, i], model.options.confidence))
        for i, name in enumerate(model.design.columns)
    ]
    low, high = _band(curves[1:], model.options.confidence)
    volumes = cohort.volumes[:, place]
    spread = 1.4826 * float(np.median(np.abs(residuals - np.median(residuals))))
    far = np.flatnonzero(np.abs(residuals - np.median(residuals)) > FAR * spread)
    return Trajectory(
        structure=cohort.structures[place],
        scans=len(ages),
        people=people,
        direction=direction,
        ages=at,
        curve=curves[0],
        band=(low, high),
        terms=tuple(terms),
        change=tuple(_changes(thetas[:, :size], offset, knots, model.options.confidence)),
        explained=float(1 - residuals.var() / volumes.var()),
        residual=float(np.sqrt((residuals**2).sum() / max(1, len(ages) - thetas.shape[1]))),
        outliers=tuple(cohort.scans[i] or cohort.subjects[i] for i in far),
        converged=converged,
        points=(ages, volumes - linear @ thetas[0, size:] + model.reference @ thetas[0, size:]),
    )


def _changes(coefficients: np.ndarray, offset: np.ndarray, knots: splines.Knots, confidence: float):
    """Percent a year at every tenth year inside the range, with intervals."""
    for age in range(10 * int(np.ceil((knots.low + 1) / 10)), int(knots.high), 10):
        before, here, after = (knots.basis(np.array([age + step])) @ coefficients.T for step in (-0.5, 0.0, 0.5))
        rates = 100 * (after - before)[0] / (here[0] + offset)
        yield (float(age), float(rates[0]), *_ends(rates[1:], confidence))


def _ends(samples: np.ndarray, confidence: float) -> tuple[float, float]:
    if not len(samples):
        return float("nan"), float("nan")
    low, high = np.quantile(samples, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _band(curves: np.ndarray, confidence: float) -> tuple[np.ndarray, np.ndarray]:
    if not len(curves):
        return np.full(curves.shape[1], np.nan), np.full(curves.shape[1], np.nan)
    low, high = np.quantile(curves, [(1 - confidence) / 2, (1 + confidence) / 2], axis=0)
    return low, high
