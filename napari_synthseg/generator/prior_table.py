"""The priors as a form shows them: one row each with its group, symbol, unit and sensible limits. No torch here.

Groups and symbols are those of section 3.1 and Table S1 of the SynthSeg paper, and of Table S1 of the SynthSeg+ paper.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import MISSING, dataclass, replace
from typing import Any, Literal

from napari_synthseg.fields import Field, Info

Kind = Literal["range", "optional range", "number", "probability", "count", "direction"]

SPATIAL, MIXTURE, BIAS = "Spatial deformation", "Gaussian mixture", "Bias field"
INTENSITY, ACQUISITION, LABELS = "Intensity augmentation", "Acquisition", "Labels"
LESIONS = "White matter lesions"

GROUPS = (SPATIAL, MIXTURE, BIAS, INTENSITY, ACQUISITION, LABELS, LESIONS)
"""In the order of section 3.1; lesions are not in the paper."""

DIRECTIONS = ("sagittal", "coronal", "axial")
"""What the slice directions 0, 1 and 2 are called."""


@dataclass(frozen=True)
class PriorInfo:
    """One prior, as a form shows it."""

    name: str
    """The field of `Priors` or `DegradationPriors`."""
    group: str
    """One of `GROUPS`."""
    label: str
    """What stands beside the control."""
    symbol: str
    """Table S1's symbol; empty where the papers have none."""
    unit: str
    """Empty for what has no unit."""
    kind: Kind
    """`range`: a pair; `optional range`: a pair or None; `number`; `probability`: 0 to 1; `count`: a whole number;
    `direction`: 0, 1, 2 or None for a random one."""
    low: float
    """Smallest value the control offers; a prior itself may lie outside."""
    high: float
    """Largest value the control offers."""
    step: float
    """One click of the control."""
    tip: str
    """A sentence or two, then symbol, unit and equation."""
    start: tuple[float, float] | None = None
    """What an optional range begins with when it is switched on."""


def rows() -> tuple[PriorInfo, ...]:
    """Every prior of the generative model that a form can show, in the paper's order.

    The two that hold a pair for every class, `class_means` and `class_stds`, have no row.
    """
    return _ROWS


def degradation_rows() -> tuple[PriorInfo, ...]:
    """Every prior of SynthSeg+'s degradation model, in the same order and form."""
    return _DEGRADATION_ROWS


def _row(
    name: str,
    group: str,
    label: str,
    symbol: str,
    unit: str,
    kind: Kind,
    limits: tuple[float, float, float],
    sentence: str,
    source: str,
    start: tuple[float, float] | None = None,
) -> PriorInfo:
    """A row whose tip ends with symbol, unit and source; `limits` are lowest, highest and step."""
    low, high, step = limits
    tip = _tip(sentence, symbol, unit, source)
    return PriorInfo(name, group, label, symbol, unit, kind, low, high, step, tip, start)


def _tip(sentence: str, *facts: str) -> str:
    return f"{sentence}\n{', '.join(fact for fact in facts if fact)}"


def as_fields(rows: Sequence[PriorInfo]) -> list[Field]:
    """Return rows as fields of the preview's form."""
    return [_as_field(row) for row in rows]


def _as_field(row: PriorInfo) -> Field:
    kind: Any = {"range": "range", "optional range": "range", "count": "integer", "direction": "choice"}
    sentence, _, facts = row.tip.partition("\n")
    known = ", ".join(fact for fact in (row.symbol, row.unit) if fact)
    equation = facts.removeprefix(known).removeprefix(", ")
    directions = row.kind == "direction"
    info = Info(
        row.unit, row.symbol, equation, slider=(row.low, row.high), step=row.step, label=row.label, group=row.group,
        start=row.start, texts=dict(enumerate(DIRECTIONS)) if directions else None,
    )  # fmt: skip
    optional = directions or row.kind == "optional range"
    return Field(
        row.name, kind.get(row.kind, "number"), MISSING, optional, sentence, (0, 1, 2) if directions else (), info=info
    )


_CHANCE = (0.0, 1.0, 0.05)

# fmt: off
_ROWS = (
    _row("rotation_deg", SPATIAL, "Rotation", "a_rot, b_rot", "degrees", "range", (-90, 90, 1),
         "Rotation about each of the three axes.", "eq. 1"),
    _row("scaling", SPATIAL, "Scaling", "a_sc, b_sc", "", "range", (0.3, 2, 0.05),
         "Scaling along each axis; 1 keeps the size, above 1 shrinks the head.", "eq. 2"),
    _row("shearing", SPATIAL, "Shearing", "a_sh, b_sh", "", "range", (-0.2, 0.2, 0.002),
         "Shearing of each pair of axes.", "eq. 3"),
    _row("translation_mm", SPATIAL, "Translation", "a_tr, b_tr", "mm", "range", (-80, 80, 1),
         "Shift along each axis.", "eq. 4"),
    _row("velocity_std", SPATIAL, "Non-linear", "0, b_nonlin", "mm", "range", (0, 12, 0.1),
         "Standard deviation of the random velocity field that is integrated to a smooth deformation.", "eq. 6-9"),
    _row("velocity_grid", SPATIAL, "Velocity grid", "", "points", "count", (2, 32, 1),
         "Control points of the velocity field along each axis; more of them bend smaller parts.", "10 in eq. 7"),
    _row("flip", SPATIAL, "Flip", "", "probability", "probability", _CHANCE,
         "How often left and right are exchanged, in the image and in the labels.", "section 4.2"),
    _row("mean", MIXTURE, "Means", "a_μ, b_μ", "intensity, 0-255", "range", (0, 255, 1),
         "Mean intensity of each structure.", "eq. 11"),
    _row("std", MIXTURE, "Standard deviations", "a_σ, b_σ", "intensity, 0-255", "range", (0, 80, 1),
         "Spread of the intensities within each structure: tissue texture and scanner noise.", "eq. 12"),
    _row("background_zero", MIXTURE, "Background zero", "", "probability", "probability", _CHANCE,
         "How often the background is exactly 0.", "reference implementation; the paper is silent"),
    _row("background_low", MIXTURE, "Background dark", "", "probability", "probability", _CHANCE,
         "How often the background is dark (mean 0-15) but not 0.", "reference implementation; the paper is silent"),
    _row("tissue_contrast", MIXTURE, "Tissue contrast", "", "probability", "probability", _CHANCE,
         "How often structures look like the tissue they are made of instead of each having its own intensity.",
         "ours; 0 in the paper"),
    _row("t1_order", MIXTURE, "T1-like order", "", "probability", "probability", _CHANCE,
         "Of the samples with tissue contrast, how many have the darkest fluid and the brightest white matter.",
         "ours; 0 in the paper"),
    _row("bias_std", BIAS, "Strength", "0, b_B", "log intensity", "range", (0, 2, 0.05),
         "Standard deviation of the logarithm of the bias field at its control points.", "eq. 14"),
    _row("bias_grid", BIAS, "Grid", "", "points", "count", (2, 16, 1),
         "Control points of the bias field along each axis; more of them make it change faster.", "4 in eq. 15"),
    _row("ceiling", INTENSITY, "Clip above", "", "intensity, 0-255", "number", (50, 500, 5),
         "Intensities are clipped to this after the bias field.", "reference implementation; the paper is silent"),
    _row("gamma_variance", INTENSITY, "Gamma variance", "σ²_γ", "log exponent", "number", (0, 2, 0.05),
         "Variance of the logarithm of the exponent applied to the intensities; 0 leaves them as they are.", "eq. 18"),
    _row("gamma_exponent", INTENSITY, "Gamma exponent", "γ of SynthSeg+", "", "optional range", (0.1, 5, 0.05),
         "Range of the exponent itself, in place of the variance above.", "SynthSeg+, Table S1", (0.9, 1.1)),
    _row("slice_direction", ACQUISITION, "Slice direction", "", "", "direction", (0, 2, 1),
         "Direction of the slices: sagittal, coronal, axial, or a random one each time.", "section 3.1.4"),
    _row("slice_spacing_mm", ACQUISITION, "Slice spacing", "r_HR, b_res", "mm", "range", (0.5, 15, 0.1),
         "Distance between the slices.", "eq. 20"),
    _row("slice_thickness_mm", ACQUISITION, "Slice thickness", "r_thick", "mm", "optional range", (0.5, 15, 0.1),
         "Thickness of the slices; without it, between 1 mm and the slice spacing.", "eq. 21", (1.0, 5.0)),
    _row("one_millimetre", ACQUISITION, "1 mm isotropic", "", "probability", "probability", _CHANCE,
         "How often the scan is acquired at 1 mm in all directions.", "ours; 0 in the paper"),
    _row("thickness_factor", ACQUISITION, "Thickness factor", "a_α, b_α", "", "range", (0.5, 2, 0.01),
         "Factor on the blur: real slices are not exactly as thick as they are said to be.", "eq. 22"),
    _row("slice_blur_mm", ACQUISITION, "Slice blur", "σ_th of SynthSeg+", "mm", "optional range", (0.1, 12, 0.1),
         "Standard deviation of the slice profile itself, in place of the thickness.", "SynthSeg+, Table S1",
         (0.5, 5.0)),
    _row("in_plane_blur", ACQUISITION, "In-plane blur", "", "voxels of 1 mm", "number", (0, 3, 0.05),
         "Standard deviation of the blur across the other two axes.", "reference implementation; the paper is silent"),
    _row("noise_std", ACQUISITION, "Noise", "σ_E of SynthSeg+", "intensity, 0-255", "range", (0, 100, 1),
         "Standard deviation of white noise added to the slices.", "SynthSeg+, eq. 2; none in SynthSeg"),
    _row("skull_strip", LABELS, "Skull stripping", "", "probability", "probability", _CHANCE,
         "How often everything outside the brain is removed.", "Table S2"),
    _row("skull_strip_keeps_csf", LABELS, "CSF stays", "", "probability", "probability", _CHANCE,
         "Of the skull-stripped samples, how many keep the fluid around the brain.", "Table S2"),
    _row("lesions", LABELS, "Lesions", "", "probability", "probability", _CHANCE,
         "How often the white matter lesions of a map that has them look different from white matter.",
         "section 4.2"),
    _row("lesion_load_ml", LESIONS, "Load", "", "ml", "range", (0, 100, 1),
         "Volume of the lesions painted into the map; small loads are more common than large ones.",
         "ours; none in the paper"),
    _row("lesion_periventricular", LESIONS, "Periventricular", "", "share", "range", (0, 1, 0.05),
         "Share of that volume in caps and bands around the lateral ventricles.", "ours"),
    _row("lesion_size_mm3", LESIONS, "Size", "", "mm³", "range", (1, 20000, 5),
         "Volume of single lesions farther away: as many from 10 to 100 as from 100 to 1000.", "ours, log-uniform"),
    _row("lesion_symmetry", LESIONS, "Symmetry", "", "share", "range", (0, 1, 0.05),
         "How alike the lesions of both sides are.", "ours"),
)


def _again(name: str, symbol: str, source: str, sentence: str = "", **other: Any) -> PriorInfo:
    """The row of the generative model's prior of that name, with what is different in SynthSeg+."""
    row = next(row for row in _ROWS if row.name == name)
    return replace(row, symbol=symbol, tip=_tip(sentence or row.tip.split("\n")[0], symbol, row.unit, source), **other)


_PLUS = "SynthSeg+, Table S1"
_PLUS_VARIANCE = "SynthSeg+, Table S1 (which gives its variance)"
_PLUS_EQUATION = "SynthSeg+, eq. 2 and Table S1"

_DEGRADATION_ROWS = (
    _again("rotation_deg", "", _PLUS),
    _again("scaling", "", _PLUS),
    _again("shearing", "", _PLUS),
    _again("translation_mm", "", _PLUS),
    _again("velocity_std", "σ_v", _PLUS_VARIANCE),
    _again("velocity_grid", "", "10 in eq. 7 of SynthSeg"),
    _again("bias_std", "σ_B", _PLUS_VARIANCE, high=3),
    _again("bias_grid", "", "4 in eq. 15 of SynthSeg"),
    _again("gamma_exponent", "γ", _PLUS, kind="range", start=None,
           sentence="Exponent of the intensities, rescaled to 0-1: below 1 brightens, above 1 darkens."),
    _again("slice_direction", "", "section 3.1.4 of SynthSeg"),
    _again("slice_spacing_mm", "r_sp", _PLUS_EQUATION),
    _again("slice_blur_mm", "σ_th", _PLUS_EQUATION, kind="range", low=0, start=None,
           sentence="Standard deviation of the slice profile: how thick the slices are."),
    _again("noise_std", "σ_E", _PLUS_EQUATION),
)
# fmt: on
