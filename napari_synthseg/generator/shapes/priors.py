"""The priors of the synthetic images for promptable segmentation: SynthFM's two modules, and what images look like.

SynthFM (arXiv 2504.08177) gives its method in words and hardly any numbers: the ranges are ours. No real image enters a
scene. Two ranges, `object_size` and `region_grid`, were widened after answers on real images had shown that large
things came out too small; `benchmarks/sizes.py` chooses the same on synthetic scenes alone. The others were chosen
without looking at any. No torch here.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from napari_synthseg.errors import InputError
from napari_synthseg.generator.prior_checks import check_prior
from napari_synthseg.generator.priors import Range

LOOKS = ("ct", "mr", "ultrasound", "xray", "microscopy")
"""What a modality can look like; the rest of the images are plain, with noise from the whole library."""

_POSITIVE = ("object_size", "elongation", "contrast", "gap_contrast", "texture_grid", "noise", "aspect")

MOST_OBJECTS = 16
MOST_CELLS = 64
MOST_REGIONS = 26


@dataclass(frozen=True)
class ShapePriors:
    """Hyperparameters of the synthetic scenes; every pair is a range (low, high).

    Lengths are fractions of the image's longer side unless they say otherwise; intensities lie in [0, 1].
    """

    boundary_aware: float = 0.5
    """Probability that a scene comes from the boundary-aware module: a label map of touching regions. The others come
    from the shape-aware module: separate shapes from closed Bezier curves."""
    regions: Range = (4.0, 20.0)
    """How many labels the label map has (boundary-aware)."""
    region_grid: Range = (2.0, 9.0)
    """Control points of the smooth random field of each label along the longer side: more of them, smaller regions."""
    gap: Range = (0.002, 0.01)
    """Width that is eroded from a region, so that neighbours get an artificial gap; the gap is background."""
    ground_share: Range = (0.0, 0.6)
    """Share of the labels that are ground rather than objects, where there are gaps: outlined objects in one tissue."""
    gap_chance: float = 0.5
    """Probability of gaps where neighbours have intensities of their own; where they are similar there always are."""
    similar: float = 0.5
    """Probability that the regions of a label map have near-identical intensities on both sides of a gap."""
    warp: Range = (0.0, 0.05)
    """Standard deviation of the velocity field of the random diffeomorphism that bends everything."""
    objects: Range = (2.0, 12.0)
    """How many shapes a scene has (shape-aware)."""
    object_size: Range = (0.02, 0.35)
    """Mean radius of a shape, log-uniform."""
    elongation: Range = (1.0, 3.0)
    """Ratio of a shape's length to its width, log-uniform."""
    bend: Range = (0.0, 1.2)
    """How far an elongated shape is bent: the angle, in radians, between its ends and its middle."""
    roughness: Range = (0.0, 0.4)
    """Standard deviation of the control points' distance from the centre, relative: 0 is an ellipse, more has lobes."""
    nested: float = 0.35
    """Probability that a shape holds another one, which is an object of its own and leaves a hole in the outer one."""
    inclusions: float = 0.25
    """Probability that a shape holds spots or vessels of other intensity that belong to it."""
    walls: float = 0.25
    """Probability that a shape has a wall of another intensity; it belongs to the shape."""
    body: float = 0.6
    """Probability that everything lies in a body with an empty background around it."""
    cells: float = 0.12
    """Probability that a shape-aware scene is a crowd of small, alike shapes."""
    contrast: Range = (0.03, 0.6)
    """Difference between a region's intensity and its surroundings', log-uniform, of either sign."""
    gap_contrast: Range = (0.04, 0.4)
    """Difference between the intensities of a gap and of the regions beside it, log-uniform, of either sign."""
    gradient: Range = (0.0, 0.2)
    """Change of intensity from one end of the image to the other, for every region its own."""
    texture: Range = (0.0, 0.12)
    """Standard deviation of the Perlin texture, for every region its own."""
    texture_grid: Range = (4.0, 64.0)
    """Cells of the Perlin texture along the longer side, log-uniform."""
    noise: Range = (0.005, 0.15)
    """Strength of each noise (standard deviation at intensity 1), log-uniform."""
    region_noise: Range = (0.0, 0.06)
    """Standard deviation of white noise, for every region its own."""
    shading: Range = (0.0, 0.5)
    """Standard deviation of the logarithm of a smooth multiplicative field."""
    blur_px: Range = (0.3, 1.8)
    """Standard deviation of the point spread, in pixels of the acquired image."""
    acquired_px: Range = (160.0, 1024.0)
    """Longer side of the image as it was acquired, in pixels, log-uniform; it is enlarged to the size asked for."""
    aspect: Range = (0.65, 1.0)
    """Shorter side relative to the longer one."""
    gamma_log_std: float = 0.3
    """Standard deviation of the logarithm of the exponent applied to the final intensities."""
    inverted: float = 0.15
    """Probability that dark and bright are exchanged at the end."""
    ct: float = 0.16
    """Probability of what CT looks like: windowed, air black, bone bright, fine noise."""
    mr: float = 0.2
    """Probability of what MR looks like: Rician noise and a bias field."""
    ultrasound: float = 0.24
    """Probability of what ultrasound looks like: speckle, shadows, depth, often a fan."""
    xray: float = 0.08
    """Probability of what X-ray looks like: structures that are seen through each other, Poisson noise."""
    microscopy: float = 0.12
    """Probability of what light microscopy looks like: uneven light, halos, or glowing objects on black."""

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            chance = not isinstance(value, tuple) and f.name != "gamma_log_std"
            check_prior(f.name, value, positive=f.name in _POSITIVE, probability=chance)
        for name, low, high in (
            ("regions", 2, MOST_REGIONS),
            ("objects", 1, MOST_OBJECTS),
            ("region_grid", 2, 32),
            ("acquired_px", 64, 1024),
            ("aspect", 0.25, 1),
            ("ground_share", 0, 1),
        ):
            bounds = getattr(self, name)
            if bounds[0] < low or bounds[1] > high:
                raise InputError(f"The prior {name} must lie between {low:g} and {high:g}.")
        if sum(getattr(self, name) for name in LOOKS) > 1 + 1e-9:
            raise InputError(f"The probabilities of {', '.join(LOOKS)} must not exceed 1 together.")


SHAPE_PRESETS: dict[str, ShapePriors] = {
    "both": ShapePriors(),
    "shape-only": ShapePriors(boundary_aware=0.0),
    "boundary-only": ShapePriors(boundary_aware=1.0),
    # The paper's method as it is told: the noise library on both modules, no look of a modality.
    "paper": ShapePriors(ct=0.0, mr=0.0, ultrasound=0.0, xray=0.0, microscopy=0.0, shading=(0.0, 0.0)),
}
# One modality each: for looking at it, and for ablations.
SHAPE_PRESETS |= {
    "ct": replace(ShapePriors(), ct=1.0, mr=0.0, ultrasound=0.0, xray=0.0, microscopy=0.0),
    "mr": replace(ShapePriors(), ct=0.0, mr=1.0, ultrasound=0.0, xray=0.0, microscopy=0.0),
    "ultrasound": replace(ShapePriors(), ct=0.0, mr=0.0, ultrasound=1.0, xray=0.0, microscopy=0.0),
    "xray": replace(ShapePriors(), ct=0.0, mr=0.0, ultrasound=0.0, xray=1.0, microscopy=0.0),
    "microscopy": replace(ShapePriors(), ct=0.0, mr=0.0, ultrasound=0.0, xray=0.0, microscopy=1.0),
}


def shape_preset(name: str) -> ShapePriors:
    """The priors of a preset.

    Raises:
        InputError: if there is no such preset.
    """
    if name not in SHAPE_PRESETS:
        raise InputError(f"There is no preset {name!r}: choose one of {', '.join(SHAPE_PRESETS)}.")
    return SHAPE_PRESETS[name]
