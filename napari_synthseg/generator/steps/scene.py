"""Scenes of shapes for promptable segmentation: the priors of SynthFM's two modules and of the looks of modalities.

SynthFM (arXiv 2504.08177) gives its method in words and hardly any numbers: the ranges are ours. No real image enters a
scene. Two ranges, `object_size` and `region_grid`, were widened after answers on real images had shown that large
things came out too small; `benchmarks/sizes.py` chooses the same on synthetic scenes alone. The others were chosen
without looking at any.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

from napari_synthseg.errors import InputError
from napari_synthseg.fields import Info, Probability, Range
from napari_synthseg.generator.shapes.layout import LOOKS, MOST_OBJECTS, MOST_REGIONS
from napari_synthseg.generator.step import Drawing, Params, Rng, Step

SIDE, INTENSITY = Info(unit="of the longer side"), Info(unit="intensity, 0-1")
MODULES, SHAPES, REGIONS, INTENSITIES = (Info(group=name) for name in ("Modules", "Shapes", "Label map", "Intensities"))
TEXTURE, ACQUISITION, MODALITIES = (Info(group=name) for name in ("Noise and texture", "Acquisition", "Modalities"))


@dataclass(frozen=True)
class ScenePriors(Step):
    """Draw a scene; every pair is a range (low, high).

    Lengths are fractions of the image's longer side unless they say otherwise; intensities lie in [0, 1].
    """

    name: ClassVar[str] = "scene"
    title: ClassVar[str] = "Scene"
    place: ClassVar[float] = 0
    models: ClassVar[tuple[str, ...]] = ("shapes",)
    columns: ClassVar[Mapping[str, str]] = {
        "module": "Which of SynthFM's modules: separate shapes, or a label map of touching regions (boundary).",
        "setting": "A body with nothing around it, a ground that fills the image, or a crowd of cells.",
        "looks like": "The modality, or plain.",
        "shapes": "Number of shapes or labels; objects are their connected parts.",
        "gap (px)": "Widest gap between neighbours, pixels as acquired; 0: none.",
        "acquired": "Rows and columns as acquired, pixels.",
        "noise": "The noises of the library and their strengths at intensity 1.",
        "blur (px)": "Standard deviation of the point spread, pixels as acquired.",
        "warp": "Standard deviation of the velocity field, of the longer side.",
        "gamma": "Exponent of the final intensities: below 1 brightens, above 1 darkens.",
        "inverted": "Whether dark and bright were exchanged.",
    }

    boundary_aware: Annotated[Probability, MODULES, Info(label="Boundary-aware")] = 0.5
    """How often the scene is a label map of touching regions (boundary-aware module); the others are separate shapes
    from closed Bezier curves (shape-aware module)."""
    body: Annotated[Probability, MODULES] = 0.6
    """How often everything lies in a body with an empty background around it."""
    warp: Annotated[Range, MODULES, SIDE, Info(low=0, slider=(0, 0.2), step=0.005)] = (0.0, 0.05)
    """Standard deviation of the velocity field of the random diffeomorphism that bends everything."""
    objects: Annotated[Range, SHAPES, Info(low=1, high=MOST_OBJECTS, step=1, label="Shapes")] = (2.0, 12.0)
    """Number of shapes in a scene."""
    object_size: Annotated[Range, SHAPES, SIDE, Info(above=0, slider=(0.005, 0.4), step=0.005, label="Radius")] = (
        0.02, 0.35)  # fmt: skip
    """Mean radius of a shape, log-uniform."""
    elongation: Annotated[Range, SHAPES, Info(above=0, slider=(1, 8), step=0.1)] = (1.0, 3.0)
    """Ratio of a shape's length to its width, log-uniform."""
    bend: Annotated[Range, SHAPES, Info(unit="radians", low=0, slider=(0, 3), step=0.1)] = (0.0, 1.2)
    """Angle between the ends and the middle of an elongated shape."""
    roughness: Annotated[Range, SHAPES, Info(low=0, slider=(0, 1), step=0.05)] = (0.0, 0.4)
    """Relative standard deviation of the control points' distance from the centre: 0 is an ellipse, more has lobes."""
    nested: Annotated[Probability, SHAPES] = 0.35
    """How often a shape holds another one, which is an object of its own and leaves a hole in the outer one."""
    inclusions: Annotated[Probability, SHAPES, Info(label="Spots")] = 0.25
    """How often a shape holds spots or vessels of other intensity that belong to it."""
    walls: Annotated[Probability, SHAPES] = 0.25
    """How often a shape has a wall of another intensity, which belongs to it."""
    cells: Annotated[Probability, SHAPES, Info(label="Crowds")] = 0.12
    """How often a shape-aware scene is a crowd of small, similar shapes."""
    regions: Annotated[Range, REGIONS, Info(low=2, high=MOST_REGIONS, step=1, label="Labels")] = (4.0, 20.0)
    """Number of labels of the label map."""
    region_grid: Annotated[Range, REGIONS, Info(unit="points", low=2, high=32, step=0.5, label="Grid")] = (2.0, 9.0)
    """Control points of each label's smooth random field along the longer side: more of them, smaller regions."""
    gap: Annotated[Range, REGIONS, SIDE, Info(low=0, slider=(0, 0.04), step=0.001)] = (0.002, 0.01)
    """Width eroded from a region where it touches another one; the gap is background."""
    ground_share: Annotated[Range, REGIONS, Info(low=0, high=1, step=0.05, label="Ground")] = (0.0, 0.6)
    """Fraction of the labels that are ground and no objects, if there are gaps: outlined objects in one tissue."""
    gap_chance: Annotated[Probability, REGIONS, Info(label="Gaps")] = 0.5
    """How often regions of different intensity have gaps between them; similar ones always have."""
    similar: Annotated[Probability, REGIONS] = 0.5
    """How often regions are near-identical on both sides of their gaps."""
    contrast: Annotated[Range, INTENSITIES, INTENSITY, Info(above=0, slider=(0.005, 1), step=0.005)] = (0.03, 0.6)
    """Difference from the surroundings, log-uniform, brighter or darker."""
    gap_contrast: Annotated[Range, INTENSITIES, INTENSITY, Info(above=0, slider=(0.005, 1), step=0.005)] = (0.04, 0.4)
    """Difference between a gap and the regions beside it, log-uniform, brighter or darker."""
    gradient: Annotated[Range, INTENSITIES, INTENSITY, Info(low=0, slider=(0, 1), step=0.01)] = (0.0, 0.2)
    """Change of intensity from one end of the image to the other, for every region its own."""
    gamma_log_std: Annotated[
        float, INTENSITIES, Info(unit="log exponent", low=0, slider=(0, 1.5), step=0.05, label="Gamma")
    ] = 0.3
    """Standard deviation of the logarithm of the exponent applied at the end."""
    inverted: Annotated[Probability, INTENSITIES] = 0.15
    """How often dark and bright are exchanged at the end."""
    texture: Annotated[Range, TEXTURE, INTENSITY, Info(low=0, slider=(0, 0.5), step=0.005)] = (0.0, 0.12)
    """Standard deviation of the Perlin texture, for every region its own."""
    texture_grid: Annotated[Range, TEXTURE, Info(above=0, slider=(2, 256), step=1, label="Texture cells")] = (4.0, 64.0)
    """Cells of the texture along the longer side, log-uniform: more of them, finer texture."""
    region_noise: Annotated[
        Range, TEXTURE, INTENSITY, Info(low=0, slider=(0, 0.5), step=0.005, label="Noise by region")
    ] = (0.0, 0.06)
    """Standard deviation of white noise, for every region its own."""
    noise: Annotated[Range, TEXTURE, INTENSITY, Info(above=0, slider=(0.001, 0.5), step=0.005)] = (0.005, 0.15)
    """Strength of the Gaussian, Poisson, Perlin, speckle or Rician noise of the whole image, log-uniform."""
    shading: Annotated[Range, ACQUISITION, Info(unit="log intensity", low=0, slider=(0, 2), step=0.05)] = (0.0, 0.5)
    """Standard deviation of the logarithm of a smooth multiplicative field."""
    blur_px: Annotated[
        Range, ACQUISITION, Info(unit="pixels as acquired", low=0, slider=(0, 8), step=0.1, label="Blur")
    ] = (0.3, 1.8)
    """Standard deviation of the point spread."""
    acquired_px: Annotated[
        Range, ACQUISITION, Info(unit="pixels", low=64, high=1024, step=16, label="Acquired size")
    ] = (160.0, 1024.0)  # fmt: skip
    """Longer side of the image as it was acquired, log-uniform; it is enlarged to the size asked for."""
    aspect: Annotated[Range, ACQUISITION, Info(low=0.25, high=1, step=0.05)] = (0.65, 1.0)
    """Shorter side over the longer one."""
    ct: Annotated[Probability, MODALITIES, Info(label="CT")] = 0.16
    """How often the scene looks like CT: windowed, air black, bone bright, fine noise."""
    mr: Annotated[Probability, MODALITIES, Info(label="MR")] = 0.2
    """How often it looks like MR: Rician noise and a bias field."""
    ultrasound: Annotated[Probability, MODALITIES] = 0.24
    """How often it looks like ultrasound: speckle, shadows, depth, often a fan."""
    xray: Annotated[Probability, MODALITIES, Info(label="X-ray")] = 0.08
    """How often it looks like X-ray: structures that are seen through each other, Poisson noise."""
    microscopy: Annotated[Probability, MODALITIES] = 0.12
    """How often it looks like light microscopy: uneven light, halos, or glowing objects on black."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if sum(getattr(self, name) for name in LOOKS) > 1 + 1e-9:
            raise InputError(f"The probabilities of {', '.join(LOOKS)} must not exceed 1 together.")

    def sample(self, rng: Rng, drawing: Drawing) -> Params:
        from napari_synthseg.generator.shapes.drawing import draw_scene

        return draw_scene(self, rng)

    @staticmethod
    def summary(params: Params) -> dict[str, str | float]:
        noises = zip(params["noises"], params["noise_strengths"], strict=True)
        rows, columns = params["rows"], params["columns"]
        return {
            "module": params["module"],
            "setting": params["setting"],
            "looks like": params["look"],
            "shapes": params["regions"] or len({part["object"] for part in params["parts"]}),
            "gap (px)": round(max(params["gaps"], default=0.0) * max(rows, columns), 1),
            "acquired": f"{rows} x {columns}",
            "noise": ", ".join(f"{name} {strength:.3f}" for name, strength in noises),
            "blur (px)": round(params["blur_px"], 2),
            "warp": round(params["warp"], 3),
            "gamma": round(params["gamma"], 2),
            "inverted": "yes" if params["inverted"] else "no",
        }
