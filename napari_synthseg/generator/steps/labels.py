"""Labels to image and labels to learn: skull stripping (Table S2) and the lesions of the map (section 4.2).

And errors of tissue maps, for training S2 of SynthSeg+ (section 2.2): the paper says that true maps are randomly
dilated, eroded and deformed, and gives no ranges; those here are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from napari_synthseg.anatomy import TISSUES, WHITE_MATTER
from napari_synthseg.fields import Info, Probability, Range
from napari_synthseg.generator.step import Columns, Drawing, Params, Rng, Step, cell

if TYPE_CHECKING:
    from napari_synthseg.generator.head import HeadState

LESIONS_OF_THE_MAP = {25: 2, 57: 41}
"""Lesions that SynthSeg's label maps hold, and the white matter around each."""
EXTRA_CSF = 24


@dataclass(frozen=True)
class ShownLabels(Step, name="labels", title="Labels", place=30):
    """Choose whose intensity each label shows, and what it is in the target (section 3.1.5)."""

    columns: ClassVar[Columns] = {
        "skull strip": (
            "Whether everything outside the brain was removed.",
            lambda params: {"none": "no", "all": "yes", "keep-csf": "yes, CSF stays"}[params["skull_strip"]],
        ),
        "lesions": (
            "Whether white matter lesions, if the map has them, look different from white matter.",
            cell("lesions"),
        ),
    }

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
        """Fill the tables of the head.

        Removed labels show background; dropped lesions show white matter; where lesions are painted, those of the map
        look like them.
        """
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
