"""Labels: lesions painted into a map, what is shown and learned of them, and errors of tissue maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from napari_synthseg.anatomy import CORTEX, LESIONS_OF_THE_MAP, TISSUES, WHITE_MATTER
from napari_synthseg.fields import Info, Probability, Range
from napari_synthseg.generator.step import Columns, Drawing, Params, Rng, Step, cell

if TYPE_CHECKING:
    from napari_synthseg.generator.head import HeadState
    from napari_synthseg.generator.labelmap import LabelMap


EXTRA_CSF = 24


@dataclass(frozen=True)
class ShownLabels(Step, name="labels", title="Labels", place=30):
    """Choose whose intensity each label shows, and what it is in the target (section 3.1.5)."""

    columns: ClassVar[Columns] = {
        "skull strip": ("Whether everything outside the brain was removed.", lambda params: {
            "none": "no", "all": "yes", "keep-csf": "yes, CSF stays"}[params["skull_strip"]]),
        "lesions": ("Whether white matter lesions, if the map has them, look different from white matter.",
                    cell("lesions")),
    }  # fmt: skip

    skull_strip: Annotated[Probability, Info(label="Skull stripping", equation="Table S2")] = 0.5
    """How often everything outside the brain is removed."""
    skull_strip_keeps_csf: Annotated[Probability, Info(label="CSF stays", equation="Table S2")] = 0.5
    """Of the skull-stripped samples, how many keep the fluid around the brain."""
    lesions: Annotated[Probability, Info(equation="section 4.2")] = 0.5
    """How often the white matter lesions of a map that has them look different from white matter."""

    def sample(self, rng: Rng, drawing: Drawing) -> Params:
        lesions, strip, keep_csf = (rng.chance(p) for p in (self.lesions, self.skull_strip, self.skull_strip_keeps_csf))
        return {"skull_strip": "none" if not strip else "keep-csf" if keep_csf else "all", "lesions": lesions}

    @staticmethod
    def apply(head: HeadState, *, skull_strip: str, lesions: bool) -> None:
        """Fill the tables: removed labels show background, dropped lesions white matter, others as painted ones."""
        own, whole = head.source_map, head.label_map
        k = len(own.values)
        shown = list(range(len(whole.values)))
        slot = {v: i for i, v in enumerate(own.values)}
        if skull_strip != "none":
            for i, gone in enumerate(own.removed):
                if gone and not (skull_strip == "keep-csf" and own.values[i] == EXTRA_CSF):
                    shown[i] = 0
        for lesion, tissue in LESIONS_OF_THE_MAP.items():
            if lesion in slot and not lesions and tissue in slot:
                shown[slot[lesion]] = slot[tissue]
            elif lesion in slot and lesions and head.painted:
                shown[slot[lesion]] = k
        targets = [whole.targets[0 if s == 0 else i] for i, s in enumerate(shown)]
        targets[k:] = WHITE_MATTER[: len(targets) - k]
        visible = [slot[v] for v in LESIONS_OF_THE_MAP if v in slot and lesions]
        head.shown, head.targets, head.lesions = shown, targets, (*visible, *range(k, len(shown)))


@dataclass(frozen=True)
class LabelErrors(Step, name="label_errors", title="Label errors", place=80, models=("tissues",)):
    """Bend, grow, shrink and blur tissue classes."""

    displacement_std: Annotated[Range, Info(unit="mm", low=0, slider=(0, 10), step=0.1)] = (0, 3)
    """Standard deviation of the displacements at the control points."""
    change: Probability = 0.5
    """How often a class is grown or shrunk."""
    reach: Annotated[float, Info(unit="mm", low=0, slider=(0, 10), step=0.1)] = 4.0
    """Farthest that the border of a class moves."""
    blur: Annotated[Range, Info(unit="mm", low=0, slider=(0, 10), step=0.1)] = (0.3, 2.5)
    """Standard deviation of the blur that makes maps soft."""

    def sample(self, rng: Rng, drawing: Drawing) -> Params:
        order = [(rng(), c) for c in range(1, len(TISSUES))]  # the background changes only as others do
        moves = {c: (rng.chance(self.change), rng(-self.reach, self.reach)) for _, c in order}
        return {
            "displacement_std": rng(*self.displacement_std),
            "seed": rng.seed(),
            "growth": tuple((c, moves[c][1]) for _, c in sorted(order) if moves[c][0]),
            "blur": rng(*self.blur),
        }

    @staticmethod
    def apply(
        head: HeadState, *, displacement_std: float, seed: int, growth: Sequence[tuple[int, float]], blur: float
    ) -> None:
        """Turn the head's tissue classes into soft maps."""
        from napari_synthseg.generator.degradation import with_errors

        head.soft = with_errors(head.labels, displacement_std, seed, growth, blur, len(TISSUES), head.spacing[0])


SKEW = 3
"""The load is low + (high - low) x uniform ** SKEW: small loads are common, large ones rare."""
LEAST_CONTRAST = 12.0
"""Between the means of lesions and white matter, intensities in [0, 255]: invisible lesions teach nothing."""
FractionRange = Annotated[Range, Info(low=0, high=1, step=0.05)]


@dataclass(frozen=True)
class Lesions(Step, name="lesions", title="White matter lesions", place=10):
    """Paint white matter lesions into a map that has none (ours); with a load of 0, the default, none.

    They stand for white matter hyperintensities of small vessel disease and multiple sclerosis, and become white matter
    in the target of a network that does not know 77.
    """

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
        return {"load_ml": low + (high - low) * load**SKEW, "periventricular": periventricular,
                "size_mm3": self.lesion_size_mm3, "symmetry": symmetry, "mean": mean, "std": std,
                "seed": seed}  # fmt: skip

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
