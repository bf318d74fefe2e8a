"""Contrast: a Gaussian for each class of labels (SynthSeg, eq. 11-13), independent, by tissue (ours) or given.

SynthSeg draws every structure's mean independently. Real scans are less wild: gray matter, white matter and fluid have
one intensity each, and deep nuclei lie between gray and white. Drawing some samples that way teaches realistic images
sooner; the three intensities and their order stay random.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, ClassVar, Self

from napari_synthseg.errors import InputError
from napari_synthseg.fields import Info, Probability, Range
from napari_synthseg.generator.step import Columns, Drawing, Params, Rng, Step, cell

if TYPE_CHECKING:
    from napari_synthseg.generator.head import HeadState
    from napari_synthseg.generator.labelmap import LabelMap

Pairs = tuple[tuple[float, float] | None, ...]
INTENSITY = Info(unit="intensity, 0-255", low=0)
CODE = Info(equation="reference implementation; the paper is silent")
OURS = Info(equation="ours; 0 in the paper")

# How much white matter is mixed into each structure's gray: range drawn from, per FreeSurfer value (left or midline).
WHITE_FRACTION: dict[int, tuple[float, float]] = {
    2: (1.0, 1.0), 7: (0.85, 1.05), 3: (0.0, 0.0), 8: (-0.05, 0.15), 10: (0.3, 0.8), 11: (-0.05, 0.3),
    12: (0.0, 0.45), 13: (0.4, 1.05), 16: (0.6, 1.05), 17: (-0.05, 0.2), 18: (-0.05, 0.2), 26: (-0.05, 0.3),
    28: (0.6, 1.05), 85: (0.7, 1.1),
}  # fmt: skip
FLUID = (4, 5, 14, 15, 24, 72)


@dataclass(frozen=True)
class Contrast(Step, name="contrast", title="Gaussian mixture", place=40):
    """Draw the Gaussian mixture."""

    columns: ClassVar[Columns] = {
        "contrast": ("How the intensities were drawn: each structure its own, by tissue, or from given priors.",
                     cell("contrast"))
    }  # fmt: skip

    mean: Annotated[Range, INTENSITY, Info(label="Means", symbol="a_μ, b_μ", equation="eq. 11",
                                           slider=(0, 255), step=1)] = (10, 240)  # fmt: skip
    """Mean intensity of each structure."""
    std: Annotated[Range, INTENSITY, Info(label="Standard deviations", symbol="a_σ, b_σ", equation="eq. 12",
                                          slider=(0, 80), step=1)] = (1, 25)  # fmt: skip
    """Spread of the intensities within each structure: tissue texture and scanner noise."""
    class_means: Annotated[Pairs | None, Info(hidden=True)] = None
    """Normal priors (mean, standard deviation) of each class's mean, in place of `mean` (SynthSeg-RC); None for a class
    that keeps its uniform prior."""
    class_stds: Annotated[Pairs | None, Info(hidden=True)] = None
    """Normal priors (mean, standard deviation) of each class's standard deviation, in place of `std` (SynthSeg-RC)."""
    background_zero: Annotated[Probability, CODE] = 0.05
    """How often the background is exactly 0."""
    background_low: Annotated[Probability, CODE, Info(label="Background dark")] = 0.25
    """How often the background is dark (mean 0-15) but not 0."""
    tissue_contrast: Annotated[Probability, OURS] = 0.0
    """How often structures look like the tissue they are made of instead of each having its own intensity."""
    t1_like: Annotated[Probability, OURS, Info(label="T1-like")] = 0.0
    """Of the samples with tissue contrast, how many have the darkest fluid and the brightest white matter."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.class_means or ()) != len(self.class_stds or ()):
            raise InputError("The priors class_means and class_stds belong together: give both, of the same classes.")

    def sample(self, rng: Rng, drawing: Drawing) -> Params:
        by_tissue, background, noise_seed = rng.chance(self.tissue_contrast), rng(), rng.seed()
        ordered, tissue = rng.chance(self.t1_like), Rng(rng.seed(), "tissue")
        label_map = drawing.label_map
        classes = range(max(label_map.classes) + 1)
        first = [(rng(), rng()) for _ in classes]
        normal = [(rng.normal(), rng.normal()) for _ in classes]
        gaussians = [(_between(self.mean, u), _between(self.std, v)) for u, v in first]
        contrast = "independent"
        if by_tissue:
            gaussians, contrast = tissue_gaussians(label_map, gaussians, self.mean, tissue, ordered), "tissue"
        if self.class_means is not None and self.class_stds is not None:
            for c, mean, std in zip(classes, self.class_means, self.class_stds, strict=False):
                if mean is not None and std is not None:
                    x, y = normal[c]
                    gaussians[c] = max(mean[0] + mean[1] * x, 0.0), max(std[0] + std[1] * y, 0.0)
            contrast = "given"
        elif background < self.background_zero:
            gaussians[0] = 0.0, 0.0
        elif background < self.background_zero + self.background_low:
            gaussians[0] = 15.0 * first[0][0], 5.0 * first[0][1]
        means, stds = zip(*(gaussians[c] for c in label_map.classes), strict=True)  # tied within a class
        return {"contrast": contrast, "means": means, "stds": stds, "noise_seed": noise_seed}

    def milder(self, strength: float) -> Self:
        return replace(self, tissue_contrast=1.0 - strength * (1.0 - self.tissue_contrast))

    @staticmethod
    def apply(
        head: HeadState, *, contrast: str, means: Sequence[float], stds: Sequence[float], noise_seed: int
    ) -> None:
        """Draw each voxel from the Gaussian of the label it shows (eq. 13)."""
        from napari_synthseg.generator.head import gaussian_mixture

        table = [*zip(means, stds, strict=True), *head.painted]
        m, s = zip(*(table[i] for i in head.shown), strict=True)
        head.image = gaussian_mixture(head.labels, m, s, noise_seed, head.noise_scale)


def tissue_gaussians(
    label_map: LabelMap, gaussians: Sequence[tuple[float, float]], bounds: Range, rng: Rng, ordered: bool
) -> list[tuple[float, float]]:
    """Replace the Gaussians (C,) of brain classes by those of their tissue; means are clamped to `bounds`.

    If `ordered`, fluid is darkest and white matter brightest.
    """
    tissues = [rng(*bounds) for _ in range(3)]
    fluid, gray, white = sorted(tissues) if ordered else tissues
    brain_std = 1.0 + 14.0 * rng()
    draws = [(rng(), rng.normal(), 0.6 + 0.8 * rng()) for _ in gaussians]
    new = list(gaussians)
    seen: dict[int, int] = {}
    for value, partner, c in zip(label_map.values, label_map.partners, label_map.classes, strict=True):
        key = min(value, label_map.values[partner])  # both sides look alike
        mix, jitter, scale = draws[seen.setdefault(key, c)]
        if key in FLUID:
            new[c] = fluid + 6.0 * jitter, brain_std * scale
        elif key in WHITE_FRACTION:
            mean = gray + (white - gray) * _between(WHITE_FRACTION[key], mix) + 4.0 * jitter
            new[c] = mean, brain_std * scale
    return [(min(max(mean, bounds[0]), bounds[1]), std) for mean, std in new]


def _between(bounds: tuple[float, float], u: float) -> float:
    return bounds[0] + (bounds[1] - bounds[0]) * u
