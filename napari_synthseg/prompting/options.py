"""What to point at and how to follow it through a volume: the options that both faces share. No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from napari_synthseg.errors import InputError
from napari_synthseg.fields import File, Folder, Fraction, Info, NonNegative, NonNegativeInt, PositiveInt, check


@dataclass(frozen=True)
class PropagateOptions:
    """How far an object is followed."""

    direction: Literal["both", "up", "down"] = "both"
    """To slices of higher numbers (up), of lower ones (down), or both."""
    least_score: Fraction = 0.5
    """End where the model expects a smaller overlap (IoU) with the truth."""
    least_overlap: Fraction = 0.3
    """End where the mask overlaps less (Dice) with that of the slice before."""
    most_growth: Annotated[float, Info(low=1)] = 2.5
    """End where the area grows more than so many times from a slice to the next."""
    most_area: Annotated[float, Info(low=1)] = 3.0
    """End where the area is more than so many times that on the largest marked slice: what creeps into its
    surroundings grows little at each step."""
    most_change: NonNegative = 1.75
    """End where the brightness inside differs by more than so many of its standard deviations from that on all marked
    slices."""
    most_slices: PositiveInt | None = None
    """Go no further than so many slices from a marked one; to the end, if not given."""
    vote: bool = False
    """Follow the object along all three axes, and keep the voxels on which two of them agree. Takes three times as
    long."""

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class SimilarOptions:
    """Which objects of an image resemble one of them."""

    most_area_ratio: Annotated[float, Info(low=1)] = 2.5
    """Leave out objects that are so many times larger, or smaller."""
    least_likeness: float = 0.0
    """Leave out objects whose mean log-odds of resembling the object rather than its surroundings are smaller."""

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class PromptOptions:
    """What to segment in a scan or a picture, and with which model."""

    inside: tuple[tuple[float, ...], ...] = ()
    """A point inside the object: x y z of a scan, x y (from the left, from the top) of a picture."""
    outside: tuple[tuple[float, ...], ...] = ()
    """A point outside the object, likewise."""
    scribble: tuple[tuple[float, ...], ...] = ()
    """A line drawn inside the object on one slice: x y z of each of its corners."""
    scribble_outside: tuple[tuple[float, ...], ...] = ()
    """A line drawn outside the object, likewise."""
    lasso: tuple[tuple[float, ...], ...] = ()
    """A polygon drawn roughly around the object on one slice: x y z of each of its corners."""
    lasso_outside: tuple[tuple[float, ...], ...] = ()
    """A polygon of which nothing belongs to the object, likewise."""
    box: tuple[tuple[float, ...], ...] = ()
    """A box around the object on one slice: x y z of a corner, then of the one across it. One a slice."""
    mask: File | None = None
    """A label file on the scan's grid (or a picture) in which the object, or part of it, is drawn. Its slices are taken
    as they are, but where points or a box are given too: those are repaired."""
    mask_label: int | None = None
    """Which label of that file; without it whatever is not 0."""
    coordinates: Literal["voxel", "mm"] = "voxel"
    """What positions are: voxels as the file stores them, the first being 0 0 0, or mm in the world (RAS+)."""
    axis: Literal["auto", "sagittal", "coronal", "axial"] = "auto"
    """Which slices are looked at; auto takes those with the smallest pixels, axial ones where all are alike."""
    through: bool = False
    """Follow the object through the slices beside those that are marked; without it only these are segmented."""
    similar: bool = False
    """Segment all objects of the picture that resemble the object; each has a label of its own."""
    window: tuple[float, float] | None = None
    """Values that become black and white; by default the percentiles 0.5 and 99.5 of the whole scan."""
    label: Annotated[int, Info(low=1, high=2**31 - 1)] = 1
    """The object's value in the file that is written."""
    model: str = "default"
    """Name or file of a promptable model."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    threads: PositiveInt | None = None
    """CPU threads; by default as many as torch chooses."""
    encodings: Folder | None = None
    """Keep what the network makes of each slice in this folder, 2 MiB each, so that another run needs no encoding."""
    index: NonNegativeInt | None = None
    """Which volume of a 4D file, counted from 0."""

    def __post_init__(self) -> None:
        if not (self.inside or self.scribble or self.lasso or self.box or self.mask):
            raise InputError("Nothing is pointed at: give --inside, --scribble, --lasso, --box or --mask.")
        if self.mask_label is not None and self.mask is None:
            raise InputError("A label of a mask is given, but no mask: give --mask too.")
        if self.window is not None and not self.window[0] < self.window[1]:
            raise InputError(
                f"The window must go from black up to white, not {self.window[0]:g} to {self.window[1]:g}."
            )
        check(self)
