"""What a study can be told: the options of the three jobs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from napari_synthseg.fields import File, Info, NonNegative, NonNegativeInt, check


@dataclass(frozen=True, kw_only=True)
class TableOptions:
    """Which tables belong together, and what in them is a structure."""

    participants: File | None = None
    """A table of the people, such as a BIDS participants.tsv: joined with the volumes by the subject (and session)."""
    id: str = ""
    """Column of the volumes that names the scan or subject; by default one called scan, participant_id and so on."""
    structures: str = ""
    """Which structures, by name or a part of it, separated by commas (hippocampus,Brain-Stem); by default all."""
    sides: Literal["apart", "together"] = "apart"
    """together: add left and right of every structure."""
    quality: File | None = None
    """A table of `segment --qc`: scans whose segmentation has likely failed are left out."""
    confidence: Annotated[float, Info(low=0.5, high=0.999)] = 0.95
    """Confidence of all intervals."""
    seed: NonNegativeInt = 0
    """Seed of the bootstrap: the same seed gives the same intervals."""

    def __post_init__(self) -> None:
        """Refuse options out of range."""
        check(self)


@dataclass(frozen=True, kw_only=True)
class GroupOptions(TableOptions):
    """How to compare groups."""

    group: str
    """Column that says to which group somebody belongs."""
    reference: str = ""
    """The group to compare with; by default the one called control, CN, HC, healthy and so on, else the first name."""
    covariates: str = "age,sex,icv"
    """Columns to correct for by a linear model, separated by commas; icv is the volumes' intracranial; none: no."""
    fit: Literal["within", "reference", "all"] = "within"
    """What the linear model is fitted to. within: both groups, each about its own mean. reference: the reference group.
    all: everybody as one group (shrinks effects where groups differ in a covariate)."""
    repeats: Literal["mean", "first"] = "mean"
    """Of somebody with several scans: the mean, or the first."""
    interval: Literal["bca", "percentile"] = "bca"
    """Which bootstrap interval of Cohen's d: bias-corrected and accelerated, or plain percentiles."""
    resamples: Annotated[int, Info(low=100, high=100_000)] = 2000
    """How often the bootstrap draws the groups anew."""


@dataclass(frozen=True, kw_only=True)
class AgeingOptions(TableOptions):
    """How to fit trajectories of ageing."""

    age: str = "age"
    """Column of the age, years."""
    sex: str = "sex"
    """Column of the sex, a bias of the volumes; none: leave it out."""
    spacing: str = "auto"
    """Columns of the slice spacing in each direction, mm, separated by commas; auto: spacing_x, spacing_y, spacing_z
    where they are; headers: from the scans themselves (a column must hold their paths); none: leave it out."""
    covariates: str = "none"
    """Further columns with a linear term, separated by commas (icv)."""
    knots: Annotated[int, Info(low=4, high=40)] = 10
    """Equally spaced knots of the B-splines from the youngest to the oldest."""
    monotonic: Literal["auto", "decreasing", "increasing", "none"] = "auto"
    """Which way the soft constraint bends the curve; auto: the way that fits better."""
    softness: NonNegative = 0.1
    """Weight of the soft constraint: squared wrong steps (in standard deviations) against mean squared
    residuals."""
    resamples: Annotated[int, Info(low=0, high=100_000)] = 1000
    """How often the bootstrap draws the people anew for the band about the curve; 0: no band."""


@dataclass(frozen=True, kw_only=True)
class RetestOptions(TableOptions):
    """How to measure reproducibility."""

    session: str = ""
    """Column that orders the scans of somebody; by default the session where there is one, else the table's order."""
    resamples: Annotated[int, Info(low=100, high=100_000)] = 2000
    """How often the bootstrap draws the people anew."""


def names_of(text: str) -> list[str]:
    """The names in a comma-separated list; none where it is empty or says none."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    return [] if [name.lower() for name in names] == ["none"] else list(dict.fromkeys(names))
