"""Studies from tables of volumes: groups, ageing and reproducibility, on pandas, statsmodels, pingouin and scipy.

::

    from napari_synthseg.evaluation.studies import GroupOptions, study_groups

    study = study_groups(["volumes.csv"], GroupOptions(group="diagnosis", participants="participants.tsv"))
    for effect in study.comparisons[0].effects:
        print(effect.structure, effect.cohens_d, effect.ci, effect.q)

The libraries come with the extra `studies` and are imported with the first study: here are only the options, which
the command line reads for its help.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Annotated, Any, Literal

from napari_synthseg.errors import InputError
from napari_synthseg.fields import File, Info, NonNegative, NonNegativeInt, check

Confidence = Annotated[float, Info(low=0.5, high=0.999)]
Resamples = Annotated[int, Info(low=100, high=100_000)]


@dataclass(frozen=True, kw_only=True)
class TableOptions:
    """Which tables belong together, and which of their columns are structures."""

    participants: File | None = None
    """A table of the people, such as a BIDS participants.tsv: joined with the volumes by the subject (and session)."""
    id: str = ""
    """Column of the volumes that names the scan or subject; by default one called scan, participant_id and so on."""
    structures: str = ""
    """Structures to study, by name or a part of it, separated by commas (hippocampus,Brain-Stem); by default all."""
    sides: Literal["apart", "together"] = "apart"
    """together: add left and right of every structure."""
    quality: File | None = None
    """A table of `segment --qc`: scans whose segmentation has likely failed are left out."""
    confidence: Confidence = 0.95
    """Confidence of all intervals."""
    seed: NonNegativeInt = 0
    """Seed of the bootstrap: the same seed gives the same intervals."""

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, kw_only=True)
class GroupOptions(TableOptions):
    """How to compare groups."""

    group: str
    """Column that names the group of each person."""
    reference: str = ""
    """The group to compare with; by default the one called control, CN, HC, healthy and so on, else the first name."""
    covariates: str = "age,sex,icv"
    """Columns to correct for by a linear model, separated by commas; icv is the intracranial volume; none: no
    correction."""
    fit: Literal["within", "reference", "all"] = "within"
    """People the linear model is fitted to. within: both groups, each about its own mean. reference: the reference
    group. all: everybody as one group (shrinks effects if the groups differ in a covariate)."""
    repeats: Literal["mean", "first"] = "mean"
    """For somebody with several scans: use their mean, or the first."""
    interval: Literal["bca", "percentile"] = "bca"
    """Bootstrap interval of Cohen's d: bias-corrected and accelerated, or plain percentiles."""
    resamples: Resamples = 2000
    """Resamples of the bootstrap."""


@dataclass(frozen=True, kw_only=True)
class AgeingOptions(TableOptions):
    """How to fit trajectories of ageing."""

    age: str = "age"
    """Column of the age, years."""
    sex: str = "sex"
    """Column of the sex, a bias of the volumes; none: leave it out."""
    spacing: str = "auto"
    """Columns of the slice spacing in each direction, mm, separated by commas; auto: spacing_x, spacing_y, spacing_z
    if they exist; headers: from the scans themselves (a column must hold their paths); none: leave it out."""
    covariates: str = "none"
    """Further columns with a linear term, separated by commas (icv)."""
    knots: Annotated[int, Info(low=4, high=40)] = 10
    """Equally spaced knots of the B-splines from the youngest to the oldest."""
    monotonic: Literal["auto", "decreasing", "increasing", "none"] = "auto"
    """Direction of the soft constraint; auto: the one that fits better."""
    softness: NonNegative = 0.1
    """Weight of the soft constraint: squared wrong steps (in standard deviations) against mean squared residuals."""
    resamples: Annotated[int, Info(low=0, high=100_000)] = 1000
    """Resamples of people for the band about the curve; 0: no band."""


@dataclass(frozen=True, kw_only=True)
class RetestOptions(TableOptions):
    """How to measure reproducibility."""

    session: str = ""
    """Column that orders the scans of a person; by default the session if there is one, else the table's order."""
    resamples: Resamples = 2000
    """Resamples of people."""


def names_of(text: str) -> list[str]:
    """Split a comma-separated list of names; an empty one if it says none."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    return [] if [name.lower() for name in names] == ["none"] else list(dict.fromkeys(names))


_HOMES = {
    **dict.fromkeys(("AgeingStudy", "Trajectory", "ageing_steps", "study_ageing"), "ageing"),
    **dict.fromkeys(("Comparison", "Effect", "GroupStudy", "group_steps", "study_groups"), "groups"),
    **dict.fromkeys(("Reproducibility", "RetestStudy", "retest_steps", "study_retest"), "retest"),
}
_LIBRARIES = ("pandas", "pingouin", "scipy", "statsmodels", "tabulate")
__all__ = ["AgeingOptions", "GroupOptions", "RetestOptions", *_HOMES]


def __getattr__(name: str) -> Any:
    """Import the study that a name belongs to.

    Raises:
        InputError: a library of the extra is not installed.
    """
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if missing := [library for library in _LIBRARIES if find_spec(library) is None]:
        raise InputError(f'Studies need {", ".join(missing)}: pip install "napari-synthseg[studies]".')
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
