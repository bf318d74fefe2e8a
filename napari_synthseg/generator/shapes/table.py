"""The priors of the synthetic shapes as a form shows them: the same rows as `prior_table`. No torch here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_synthseg.generator.prior_table import Kind, PriorInfo

if TYPE_CHECKING:
    from napari_synthseg.generator.shapes.record import ShapeRecord

MODULES, SHAPES, REGIONS, INTENSITIES = "Modules", "Shapes", "Label map", "Intensities"
TEXTURE, ACQUISITION, LOOKS = "Noise and texture", "Acquisition", "Modalities"

SHAPE_GROUPS = (MODULES, SHAPES, REGIONS, INTENSITIES, TEXTURE, ACQUISITION, LOOKS)
"""In the order of the steps."""

_SIDE = "of the longer side"


def shape_rows() -> tuple[PriorInfo, ...]:
    """Every field of `ShapePriors`, by group."""
    return _ROWS


SUMMARY_TIPS: dict[str, str] = {
    "module": "Which of SynthFM's modules: separate shapes, or a label map of touching regions (boundary).",
    "setting": "A body with nothing around it, a ground that fills the image, or a crowd of cells.",
    "looks like": "The modality, or plain.",
    "shapes": "How many shapes or labels there are; objects are their connected parts.",
    "gap (px)": "Widest gap between neighbours, pixels as acquired; 0: none.",
    "acquired": "Rows and columns as acquired, pixels.",
    "noise": "The noises of the library and their strengths at intensity 1.",
    "blur (px)": "Standard deviation of the point spread, pixels as acquired.",
    "warp": "Standard deviation of the velocity field, of the longer side.",
    "gamma": "Exponent of the final intensities: below 1 brightens, above 1 darkens.",
    "inverted": "Whether dark and bright were exchanged.",
}
"""What each column of `shape_summary` means."""


def shape_summary(record: ShapeRecord) -> dict[str, str | float]:
    """A record as one row of a table, numbers rounded to what is worth reading."""
    noises = zip(record.noises, record.noise_strengths, strict=True)
    return {
        "module": record.module,
        "setting": record.setting,
        "looks like": record.look,
        "shapes": record.regions or len({part.object for part in record.parts}),
        "gap (px)": round(max(record.gaps, default=0.0) * max(record.rows, record.columns), 1),
        "acquired": f"{record.rows} x {record.columns}",
        "noise": ", ".join(f"{name} {strength:.3f}" for name, strength in noises),
        "blur (px)": round(record.blur_px, 2),
        "warp": round(record.warp, 3),
        "gamma": round(record.gamma, 2),
        "inverted": "yes" if record.inverted else "no",
    }


def _row(
    name: str, group: str, label: str, unit: str, kind: Kind, limits: tuple[float, float, float], sentence: str
) -> PriorInfo:
    low, high, step = limits
    return PriorInfo(name, group, label, "", unit, kind, low, high, step, f"{sentence}\n{unit}" if unit else sentence)


def _chance(name: str, group: str, label: str, sentence: str) -> PriorInfo:
    return _row(name, group, label, "probability", "probability", (0.0, 1.0, 0.05), sentence)


# fmt: off
_ROWS = (
    _chance("boundary_aware", MODULES, "Boundary-aware",
            "How often the scene is a label map of touching regions; the others are separate shapes."),
    _chance("body", MODULES, "Body", "How often everything lies in a body with an empty background around it."),
    _row("warp", MODULES, "Warp", _SIDE, "range", (0, 0.2, 0.005),
         "Standard deviation of the velocity field of the random diffeomorphism."),
    _row("objects", SHAPES, "Shapes", "", "range", (1, 16, 1), "How many shapes a scene has."),
    _row("object_size", SHAPES, "Radius", _SIDE, "range", (0.005, 0.4, 0.005), "Mean radius of a shape."),
    _row("elongation", SHAPES, "Elongation", "", "range", (1, 8, 0.1), "Length of a shape over its width."),
    _row("bend", SHAPES, "Bend", "radians", "range", (0, 3, 0.1),
         "Angle between the ends and the middle of an elongated shape."),
    _row("roughness", SHAPES, "Roughness", "", "range", (0, 1, 0.05),
         "How far the control points of the Bezier curve leave an ellipse: lobes and dents."),
    _chance("nested", SHAPES, "Nested", "How often a shape holds another object, which leaves a hole in it."),
    _chance("inclusions", SHAPES, "Spots", "How often a shape holds spots or vessels that belong to it."),
    _chance("walls", SHAPES, "Walls", "How often a shape has a wall of another intensity, which belongs to it."),
    _chance("cells", SHAPES, "Crowds", "How often a scene of shapes is a crowd of small, alike ones."),
    _row("regions", REGIONS, "Labels", "", "range", (2, 26, 1), "How many labels the label map has."),
    _row("region_grid", REGIONS, "Grid", "points", "range", (2, 32, 0.5),
         "Control points of each label's random field: more of them, smaller regions."),
    _row("gap", REGIONS, "Gap", _SIDE, "range", (0, 0.04, 0.001),
         "Width eroded from a region where it touches another one; the gap is background."),
    _row("ground_share", REGIONS, "Ground", "", "range", (0, 1, 0.05),
         "Share of the labels that are ground and no objects, where there are gaps."),
    _chance("gap_chance", REGIONS, "Gaps", "How often regions of different intensity have gaps between them."),
    _chance("similar", REGIONS, "Similar", "How often regions are near-identical on both sides of their gaps."),
    _row("contrast", INTENSITIES, "Contrast", "intensity, 0-1", "range", (0.005, 1, 0.005),
         "Difference from the surroundings, brighter or darker, from almost invisible to obvious."),
    _row("gap_contrast", INTENSITIES, "Gap contrast", "intensity, 0-1", "range", (0.005, 1, 0.005),
         "Difference between a gap and the regions beside it."),
    _row("gradient", INTENSITIES, "Gradient", "intensity, 0-1", "range", (0, 1, 0.01),
         "Change of intensity across the image, for every region its own."),
    _row("gamma_log_std", INTENSITIES, "Gamma", "log exponent", "number", (0, 1.5, 0.05),
         "Standard deviation of the logarithm of the exponent applied at the end."),
    _chance("inverted", INTENSITIES, "Inverted", "How often dark and bright are exchanged at the end."),
    _row("texture", TEXTURE, "Texture", "intensity, 0-1", "range", (0, 0.5, 0.005),
         "Standard deviation of the Perlin texture of each region."),
    _row("texture_grid", TEXTURE, "Texture cells", "", "range", (2, 256, 1),
         "Cells of the texture along the longer side: more of them, finer texture."),
    _row("region_noise", TEXTURE, "Noise by region", "intensity, 0-1", "range", (0, 0.5, 0.005),
         "Standard deviation of white noise of each region."),
    _row("noise", TEXTURE, "Noise", "intensity, 0-1", "range", (0.001, 0.5, 0.005),
         "Strength of the Gaussian, Poisson, Perlin, speckle or Rician noise of the whole image."),
    _row("shading", ACQUISITION, "Shading", "log intensity", "range", (0, 2, 0.05),
         "Standard deviation of the logarithm of a smooth multiplicative field."),
    _row("blur_px", ACQUISITION, "Blur", "pixels as acquired", "range", (0, 8, 0.1),
         "Standard deviation of the point spread."),
    _row("acquired_px", ACQUISITION, "Acquired size", "pixels", "range", (64, 1024, 16),
         "Longer side of the image before it is enlarged."),
    _row("aspect", ACQUISITION, "Aspect", "", "range", (0.25, 1, 0.05), "Shorter side over the longer one."),
    _chance("ct", LOOKS, "CT", "How often it looks like CT: a window, black air, bright bone."),
    _chance("mr", LOOKS, "MR", "How often it looks like MR: Rician noise, a bias field."),
    _chance("ultrasound", LOOKS, "Ultrasound", "How often it looks like ultrasound: speckle, shadows, a fan."),
    _chance("xray", LOOKS, "X-ray", "How often it looks like X-ray: structures seen through each other."),
    _chance("microscopy", LOOKS, "Microscopy", "How often it looks like light microscopy: halos, or cells that glow."),
)
# fmt: on
