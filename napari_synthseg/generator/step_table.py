"""The steps of Figure 3 of the SynthSeg paper, as buttons show them. No torch here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class StepInfo:
    """One panel of the figure."""

    letter: str
    """a to f."""
    title: str
    """What it is called."""
    tip: str
    """A sentence, and where it stands in the paper."""


STEPS: tuple[StepInfo, ...] = (
    StepInfo("a", "Label map", "The label map as it is, before anything random.\nsection 3.1.1"),
    StepInfo(
        "b",
        "Deformed labels",
        "The labels after the random spatial transform; what skull stripping removes is gone.\nsection 3.1.1, eq. 1-10",
    ),
    StepInfo(
        "c", "Gaussian mixture", "Each voxel drawn from the Gaussian of its label: contrast.\nsection 3.1.2, eq. 11-13"
    ),
    StepInfo(
        "d",
        "Bias field and gamma",
        "With a smooth bias field, rescaled to 0-1 and raised to a random power.\nsection 3.1.3, eq. 14-19",
    ),
    StepInfo(
        "e",
        "Slices as acquired",
        "Blurred by the slice thickness and sampled at the slice spacing: fewer, thicker slices.\n"
        "section 3.1.4, eq. 20-25",
    ),
    StepInfo(
        "f",
        "Training image",
        "Resampled to the full resolution, with the labels to be learned.\nsections 3.1.4-3.1.5, eq. 26",
    ),
)
