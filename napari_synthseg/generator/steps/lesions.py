"""White matter lesions painted into label maps that have none (ours).

They stand for white matter hyperintensities of small vessel disease and of multiple sclerosis; `lesion_painting` puts
them into a label map before its deformation. They become white matter in the target of a network that does not know 77.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from napari_synthseg.anatomy import CORTEX, WHITE_MATTER
from napari_synthseg.fields import Info, Range
from napari_synthseg.generator.step import Columns, Drawing, Params, Rng, Step, cell

if TYPE_CHECKING:
    from napari_synthseg.generator.head import HeadState
    from napari_synthseg.generator.labelmap import LabelMap

SKEW = 3
"""The load is low + (high - low) x uniform ** SKEW: small loads are common, large ones rare."""
LEAST_CONTRAST = 12.0
"""Between the means of lesions and white matter, intensities in [0, 255]: invisible lesions teach nothing."""
FractionRange = Annotated[Range, Info(low=0, high=1, step=0.05)]


@dataclass(frozen=True)
class Lesions(Step, name="lesions", title="White matter lesions", place=10):
    """Paint white matter lesions into the map; with a load of 0, the default, none."""

    columns: ClassVar[Columns] = {
        "painted lesions (ml)": ("Volume of the white matter lesions painted into the map.", cell("load_ml", 1))
    }

    lesion_load_ml: Annotated[Range, Info(label="Load", low=0, slider=(0, 100), step=1)] = (0, 0)
    """Volume of the lesions painted into the map; small loads are more common than large ones."""
    lesion_periventricular: Annotated[FractionRange, Info(label="Periventricular")] = (0.3, 0.9)
    """Fraction of that volume in caps and bands around the lateral ventricles."""
    lesion_size_mm3: Annotated[Range, Info(label="Size", above=0, slider=(1, 20000), step=5)] = (5, 8000)
    """Volume of single lesions farther away, log-uniform."""
    lesion_symmetry: Annotated[FractionRange, Info(label="Symmetry")] = (0.2, 0.8)
    """Similarity of the lesions of both sides: 0 none, 1 as far as the brain is symmetric."""

    def sample(self, rng: Rng, drawing: Drawing) -> Params | None:
        load, periventricular, symmetry = rng(), rng(*self.lesion_periventricular), rng(*self.lesion_symmetry)
        u, seed = [rng() for _ in range(4)], rng.seed()
        slots = [drawing.label_map.values.index(v) for v in WHITE_MATTER if v in drawing.label_map.values]
        contrast = drawing["contrast"]
        if self.lesion_load_ml[1] <= 0 or not slots or contrast is None:
            return None
        low, high = self.lesion_load_ml
        bounds = drawing.step("contrast").mean, drawing.step("contrast").std
        mean, std = _gaussian(drawing.label_map, contrast, slots, u, *bounds)
        return {
            "load_ml": low + (high - low) * load**SKEW,
            "periventricular": periventricular,
            "size_mm3": self.lesion_size_mm3,
            "symmetry": symmetry,
            "mean": mean,
            "std": std,
            "seed": seed,
        }

    @staticmethod
    def apply(head: HeadState, *, mean: float, std: float, **painting: Any) -> None:
        """Replace the label map by one with lesions, whose Gaussians are added to those of the labels."""
        from napari_synthseg.generator.lesion_painting import Painting, with_lesions

        head.label_map = with_lesions(head.label_map, Painting(**painting))
        head.painted = ((mean, std), (mean, std))


def _gaussian(
    label_map: LabelMap, contrast: Params, white_slots: Sequence[int], u: Sequence[float], means: Range, stds: Range
) -> tuple[float, float]:
    """Draw mean and standard deviation: independently as SynthSeg does, or, by tissue, as wet or gray white matter.

    Demyelinated white matter holds more water: its intensity lies between those of white matter and fluid (T1, T2, CT).
    Where fluid is suppressed (FLAIR, and often PD) it goes from white matter past gray matter.
    """
    white = sum(contrast["means"][i] for i in white_slots) / len(white_slots)
    low, high = means
    if contrast["contrast"] == "independent":
        mean, std = low + (high - low) * u[1], stds[0] + (stds[1] - stds[0]) * u[2]
    else:
        slot = {v: i for i, v in enumerate(label_map.values)}
        other, near, far = ((4, 43), 0.2, 0.8) if u[0] < 0.6 else (CORTEX, 0.8, 2.0)
        there = [contrast["means"][slot[v]] for v in other if v in slot] or [white]
        mean = white + (sum(there) / len(there) - white) * (near + (far - near) * u[1])
        std = contrast["stds"][white_slots[0]] * (0.8 + 0.7 * u[2])
    if abs(mean - white) < LEAST_CONTRAST:
        away = LEAST_CONTRAST if (mean > white, u[3] < 0.5)[mean == white] else -LEAST_CONTRAST
        mean = white + away if low <= white + away <= high else white - away
    return min(max(mean, low), high), std
