"""A record as one row of a table: what a person would ask about a sample. No torch here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_synthseg.generator.prior_table import DIRECTIONS

if TYPE_CHECKING:
    from napari_synthseg.generator.degradation import DegradationRecord
    from napari_synthseg.generator.record import Record

SKULL_STRIP = {"none": "no", "all": "yes", "keep-csf": "yes, CSF stays"}

TIPS: dict[str, str] = {
    "contrast": "How the intensities were drawn: each structure its own, by tissue, or from given priors.",
    "flip": "Whether left and right were exchanged.",
    "skull strip": "Whether everything outside the brain was removed.",
    "lesions": "Whether white matter lesions, if the map has them, look different from white matter.",
    "painted lesions (ml)": "Volume of the white matter lesions painted into the map.",
    "slices": "Direction of the slices.",
    "spacing (mm)": "Distance between the slices.",
    "thickness (mm)": "Thickness of the slices.",
    "slice blur (mm)": "Standard deviation of the slice profile.",
    "gamma": "Exponent of the intensities: below 1 brightens, above 1 darkens.",
    "bias": "Standard deviation of the logarithm of the bias field.",
    "deformation (mm)": "Standard deviation of the velocity field.",
    "rotation (°)": "Largest rotation about an axis, with its sign.",
    "scaling": "Change of volume: product of the three scalings.",
    "shift (mm)": "Length of the translation.",
    "noise": "Standard deviation of the added noise, intensities 0-255.",
}
"""What each column means."""


def summary(record: Record) -> dict[str, str | float]:
    """The columns of a record's row, in order; numbers are rounded to what is worth reading.

    Units stand in the names; `TIPS` says what each is.
    """
    return {
        "contrast": record.contrast,
        "flip": "yes" if record.flip else "no",
        "skull strip": SKULL_STRIP[record.skull_strip],
        "lesions": "yes" if record.lesions else "no",
        "painted lesions (ml)": 0.0 if record.drawn_lesions is None else round(record.drawn_lesions.load_ml, 1),
        **_acquisition(record),
        **_intensity(record),
        **_deformation(record),
        "noise": round(record.noise_std, 1),
    }


def degradation_summary(record: DegradationRecord) -> dict[str, str | float]:
    """The same for a record of the degradation model, which has no contrast, flips and removes nothing."""
    return {
        **_acquisition(record),
        **_intensity(record),
        **_deformation(record),
        "noise": round(record.noise_std, 1),
    }


def _acquisition(record: Record | DegradationRecord) -> dict[str, str | float]:
    columns: dict[str, str | float] = {
        "slices": DIRECTIONS[record.direction],
        "spacing (mm)": round(record.slice_spacing_mm, 2),
    }
    thickness = getattr(record, "slice_thickness_mm", None)  # the degradation model draws the profile itself
    if thickness is not None:
        columns["thickness (mm)"] = round(thickness, 2)
    columns["slice blur (mm)"] = round(record.slice_blur_mm, 2)
    return columns


def _intensity(record: Record | DegradationRecord) -> dict[str, str | float]:
    return {"gamma": round(record.gamma, 2), "bias": round(record.bias_std, 2)}


def _deformation(record: Record | DegradationRecord) -> dict[str, str | float]:
    x, y, z = record.scaling
    most = max(record.rotation_deg, key=abs)
    return {
        "deformation (mm)": round(record.velocity_std, 2),
        "rotation (°)": round(most, 1),
        "scaling": round(x * y * z, 2),
        "shift (mm)": round(sum(t * t for t in record.translation_mm) ** 0.5, 1),
    }
