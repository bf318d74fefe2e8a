"""Ageing studies: trajectories of volumes over the life span, from scans of any slice spacing (SynthSeg+, section 3.4).

Every scan is an observation, as in the paper; the bootstrap draws people.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from napari_synthseg.errors import InputError
from napari_synthseg.evaluation.studies import AgeingOptions, names_of
from napari_synthseg.evaluation.studies import tables as names
from napari_synthseg.evaluation.studies.cohort import Cohort, load_cohort
from napari_synthseg.evaluation.studies.model import (
    DEGREE,
    Design,
    Knots,
    complete,
    fit,
    fit_many,
    is_category,
    make_design,
    read_covariate,
    same_rows,
)
from napari_synthseg.evaluation.studies.tables import Notes
from napari_synthseg.io import read_scans, suffix
from napari_synthseg.jobs import Progress, checkpoint, run

POINTS = 101
"""Ages at which curves are reported."""
SHORTEST = 2.0
"""Years from the youngest to the oldest that a trajectory needs."""
FAR = 4.0
"""Robust standard deviations from the curve beyond which a scan counts as an outlier."""
DIRECTIONS = {"none": (0,), "increasing": (1,), "decreasing": (-1,), "auto": (-1, 1)}
_SPARE = 5
_AT_ONCE = 16
"""Structures whose sums are held at once."""


@dataclass(frozen=True)
class Term:
    """A linear term of the model.

    Attributes:
        name: `sex=M`: males against females. `spacing_z`: a millimetre more.
        value: in the unit of the volumes for one unit of the covariate.
    """

    name: str
    value: float
    ci: tuple[float, float]


@dataclass(frozen=True, eq=False)
class Trajectory:
    """Change of one structure with age.

    Attributes:
        direction: of the soft constraint: 1 rising, -1 falling, 0 none.
        ages: (POINTS,) years, from the youngest to the oldest.
        curve: (POINTS,) volumes, between the sexes, at 1 mm (or the smallest spacing there is) and mean covariates.
        band: pointwise interval of the curve, (POINTS,) each; NaN without bootstrap.
        change: (age, percent a year, low, high) at every tenth year.
        explained: fraction of the variance that the model explains.
        residual: standard deviation about it.
        outliers: scans farther than `FAR` robust standard deviations from the model.
        points: (scans,) ages, and volumes without the linear terms.
    """

    structure: str
    scans: int
    people: int
    direction: int
    ages: np.ndarray
    curve: np.ndarray
    band: tuple[np.ndarray, np.ndarray]
    terms: tuple[Term, ...]
    change: tuple[tuple[float, float, float, float], ...]
    explained: float
    residual: float
    outliers: tuple[str, ...]
    converged: bool
    points: tuple[np.ndarray, np.ndarray] = field(repr=False)


@dataclass(frozen=True, eq=False)
class AgeingStudy:
    """Result of an ageing study; `scans` is the number read from the tables."""

    options: AgeingOptions
    trajectories: tuple[Trajectory, ...]
    terms: tuple[str, ...]
    notes: Notes
    scans: int


@dataclass(frozen=True, eq=False)
class _Model:
    """The model of all structures; `reference` (P,) is the point of the linear terms at which curves are evaluated."""

    knots: Knots
    design: Design
    reference: np.ndarray
    options: AgeingOptions


def study_ageing(tables: Sequence[Path | str], options: AgeingOptions | None = None) -> AgeingStudy:
    """Fit trajectories; see `ageing_steps`."""
    return run(ageing_steps([Path(table) for table in tables], options or AgeingOptions()))


def ageing_steps(tables: Sequence[Path], options: AgeingOptions) -> Generator[Progress, None, AgeingStudy]:
    """Fit the trajectory of each structure, one report a structure.

    Raises:
        InputError: a table or column cannot be used, or too few scans are left.
    """
    yield Progress("Reading tables")
    notes, sex = Notes(), names_of(options.sex)
    spacing = {"auto": list(names.SPACING), "headers": []}.get(options.spacing, names_of(options.spacing))
    linear = [*sex, *spacing, *names_of(options.covariates)]
    hints: dict[str, str | None] = {options.age: "", **dict.fromkeys(linear, "")}
    hints |= dict.fromkeys(sex, " (--sex none leaves it out)")
    if options.spacing == "auto":
        hints |= dict.fromkeys(spacing)
    cohort = load_cohort(tables, options, hints, notes)
    linear = [name for name in linear if name in cohort.cells]
    scans = len(cohort)
    age = read_covariate(cohort, options.age, notes)
    if is_category(age):
        raise InputError(f"The column {options.age!r} holds no ages: name the one that does with --age.")
    terms = [read_covariate(cohort, name, notes) for name in linear]
    if options.spacing == "headers":
        terms += yield from _spacing_from_headers(cohort, notes)
    keep = complete(cohort, [age, *terms], notes)
    cohort, ages = cohort.take(keep), age[keep].to_numpy()
    terms = [one[keep].reset_index(drop=True) for one in terms]
    fewest = options.knots + DEGREE - 1 + _SPARE
    if len(ages) < fewest:
        raise InputError(
            f"Only {len(ages)} scans have an age and all other columns; {options.knots} knots need {fewest} or more."
        )
    if np.ptp(ages) < SHORTEST:
        raise InputError(
            f"All scans are of people {ages.min():g} to {ages.max():g} years old: that makes no trajectory."
        )
    design = make_design(terms, len(cohort), notes)
    knots = Knots(float(ages.min()), float(ages.max()), options.knots)
    model = _Model(knots, design, _reference(design, terms), options)
    found = yield from _all_structures(cohort, ages, model, notes)
    return AgeingStudy(options, tuple(found), design.columns, notes, scans)


def _spacing_from_headers(cohort: Cohort, notes: Notes) -> Generator[Progress, None, list[pd.Series]]:
    """Read the spacing of every scan from its header; unreadable scans are noted.

    Raises:
        InputError: no scan could be read.
    """
    found = np.full((len(cohort), 3), np.nan)
    for row, (scan, folder) in enumerate(zip(cohort.who["#scan"], cohort.who["#folder"], strict=True)):
        yield Progress("Reading headers", row, len(cohort))
        try:
            found[row] = spacing_of(Path(folder, scan)) if isinstance(scan, str) else np.nan
        except (InputError, OSError, ValueError):
            continue
    lost = np.isnan(found).any(1)
    if lost.all():
        raise InputError("No scan of the table could be read for its slice spacing: name columns with --spacing.")
    notes.add("spacing", "scans could not be read for it", cohort.titles(lost))
    return [pd.Series(found[:, axis], name=name) for axis, name in enumerate(names.SPACING)]


def spacing_of(path: Path) -> np.ndarray:
    """Return the voxel size (3,) mm along left-right, back-front and up; of NIfTI and MGH only the header is read.

    Raises:
        InputError: the file cannot be read.
    """
    import nibabel

    if suffix(path) in (".nii", ".nii.gz", ".mgz", ".mgh") and path.is_file():
        try:
            affine = np.asarray(nibabel.load(path).affine)  # type: ignore[attr-defined]
        except Exception as error:  # a broken header can raise nearly anything
            raise InputError(f"{path} cannot be read ({error}).") from error
    else:
        affine = read_scans(path)[0].affine
    axes, sizes = nibabel.orientations.io_orientation(affine)[:, 0], nibabel.affines.voxel_sizes(affine)
    if not np.isfinite(axes).all() or not np.isfinite(sizes).all() or (sizes <= 0).any():
        raise InputError(f"{path} has no usable affine.")
    return sizes[np.argsort(axes)]


def _reference(design: Design, terms: list[pd.Series]) -> np.ndarray:
    """Return the design's columns between the sexes, at fine spacing, else at the mean."""
    by_name = {str(one.name): one for one in terms}
    point = np.zeros(len(design.columns))
    for place, title in enumerate(design.columns):
        one = by_name[title] if title in by_name else by_name[title.partition("=")[0]]
        if is_category(one):
            wanted = 1 / one.nunique()
        elif "spacing" in title.lower():
            wanted = max(1.0, float(one.min()))
        elif one.nunique() == 2:
            wanted = float(one.unique().mean())
        else:
            continue
        point[place] = (wanted - design.centres[place]) * design.scales[place]
    return point


def _all_structures(
    cohort: Cohort, ages: np.ndarray, model: _Model, notes: Notes
) -> Generator[Progress, None, list[Trajectory]]:
    found: dict[str, Trajectory] = {}
    few, flat = [], []
    needed = model.knots.size + len(model.design.columns) + _SPARE
    for known, columns in same_rows(cohort.volumes):
        if known.sum() < needed:
            few += columns
            continue
        some = cohort.volumes.loc[known, columns]
        varied = [c for c in columns if np.ptp(some[c]) > 1e-9 * some[c].abs().max()]
        flat += [column for column in columns if column not in varied]
        for start in range(0, len(varied), _AT_ONCE):
            part = varied[start : start + _AT_ONCE]
            for trajectory in _fit(cohort.take(known), ages[known], model, model.design.matrix[known], part):
                found[trajectory.structure] = trajectory
                figures = {"structure": trajectory.structure}
                yield Progress("Fitting trajectories", len(found), len(cohort.volumes.columns), figures)
    notes.add("structures", f"structures have fewer than {needed} scans, so left out", few)
    notes.add("structures", "structures have the same volume everywhere, so left out", flat)
    if not found:
        raise InputError(f"No structure has {needed} scans with a volume, an age and all other columns.")
    return [found[column] for column in cohort.volumes if column in found]


def _fit(
    cohort: Cohort, ages: np.ndarray, model: _Model, linear: np.ndarray, columns: list[str]
) -> Iterator[Trajectory]:
    x = np.concatenate([model.knots.basis(ages), linear], 1)
    y = cohort.volumes[columns].to_numpy()
    centre, scale = y.mean(0), y.std(0)
    z = (y - centre) / scale
    k, s, n = x.shape[1], len(columns), len(x)
    products = (x[:, :, None] * np.concatenate([x, z], 1)[:, None, :]).reshape(n, k * (k + s))
    terms = np.concatenate([np.ones((n, 1)), products], 1)
    owner, people = pd.factorize(cohort.who["#person"])
    of_people = np.zeros((len(people), terms.shape[1]))
    np.add.at(of_people, owner, terms)
    rng = np.random.default_rng(model.options.seed)
    drawn = rng.multinomial(len(people), np.full(len(people), 1 / len(people)), model.options.resamples)
    sums = np.concatenate([of_people.sum(0)[None], drawn @ of_people])
    both = (sums[:, 1:] / sums[:, :1]).reshape(-1, k, k + s)  # means over scans, of every resample
    grams, size, softness = both[:, :, :k], model.knots.size, model.options.softness
    # Resamples vary less than samples do: the model takes as many degrees of freedom as it has columns.
    spread = np.sqrt(len(people) / max(1, len(people) - k))
    for place, column in enumerate(columns):
        moments = both[:, :, k + place]
        fits = {one: fit(grams[0], moments[0], size, one, softness) for one in DIRECTIONS[model.options.monotonic]}
        direction = min(fits, key=lambda one: fits[one][0] @ (grams[0] @ fits[one][0] - 2 * moments[0]))
        best, converged = fits[direction]
        checkpoint()
        again = best + (fit_many(grams[1:], moments[1:], size, direction, softness) - best) * spread
        thetas = np.concatenate([best[None], again]) * scale[place]
        residuals = y[:, place] - centre[place] - x @ thetas[0]
        middle = np.abs(residuals - np.median(residuals))
        yield Trajectory(
            structure=column,
            scans=n,
            people=len(people),
            direction=direction,
            **_curve(thetas, centre[place], model),
            explained=float(1 - residuals.var() / y[:, place].var()),
            residual=float(np.sqrt((residuals**2).sum() / max(1, n - k))),
            outliers=tuple(
                cohort.who["#scan"].fillna(cohort.who["#subject"])[middle > FAR * 1.4826 * np.median(middle)]
            ),
            converged=converged,
            points=(ages, y[:, place] + (model.reference - linear) @ thetas[0, size:]),
        )


def _curve(thetas: np.ndarray, centre: float, model: _Model) -> dict:
    """Return a trajectory's curve, band, terms and change from coefficients (1 + resamples, K), the estimate first."""
    knots, size, confidence = model.knots, model.knots.size, model.options.confidence

    def ends(samples: np.ndarray) -> np.ndarray:
        """Percentile interval (2, ...) over the first axis."""
        if not len(samples):
            return np.full((2, *samples.shape[1:]), np.nan)
        return np.quantile(samples, [(1 - confidence) / 2, (1 + confidence) / 2], axis=0)

    ages = np.linspace(knots.low, knots.high, POINTS)
    offset = centre + thetas[:, size:] @ model.reference
    curves = thetas[:, :size] @ knots.basis(ages).T + offset[:, None]
    slopes = thetas[:, size:] * model.design.scales
    low, high = ends(slopes[1:])
    terms = [
        Term(name, float(slopes[0, i]), (float(low[i]), float(high[i]))) for i, name in enumerate(model.design.columns)
    ]
    change = []
    for age in range(10 * int(np.ceil((knots.low + 1) / 10)), int(knots.high), 10):
        before, here, after = (knots.basis(np.array([age + step])) @ thetas[:, :size].T for step in (-0.5, 0.0, 0.5))
        rates = 100 * (after - before)[0] / (here[0] + offset)
        change.append((float(age), float(rates[0]), *map(float, ends(rates[1:]))))
    band = ends(curves[1:])
    return {
        "ages": ages,
        "curve": curves[0],
        "band": (band[0], band[1]),
        "terms": tuple(terms),
        "change": tuple(change),
    }
