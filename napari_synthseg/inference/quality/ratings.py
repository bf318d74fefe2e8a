"""What an expected Dice means: word, sign and colour of a traffic light, for structures and scans. No torch here."""

from __future__ import annotations

import math
from dataclasses import dataclass

from napari_synthseg import anatomy

FAILED, GOOD = 0.6, 0.75
"""Expected Dice below which a segmentation has probably failed, and from which on it is probably good."""


@dataclass(frozen=True)
class Rating:
    """One of the lights: a word, a sign that is told from the others without its colour, and colours for the sign on
    dark and on light ground."""

    word: str
    sign: str
    on_dark: str
    on_light: str


GREEN = Rating("good", "●", "#2bc48a", "#00704a")
AMBER = Rating("doubtful", "▲", "#e69f00", "#8a5a00")
RED = Rating("likely failed", "■", "#ff6b6b", "#b3261e")
UNRATED = Rating("not calibrated", "", "", "")


@dataclass(frozen=True)
class Verdict:
    """What is expected of a scan's segmentation.

    Attributes:
        mean: expected Dice, mean over the structures that are scored (`anatomy.Structure.evaluated`); NaN without any.
        calibrated: whether it is calibrated; if not, it is the mean of the soft Dice, and no light is given.
        failed_below: mean below which the whole scan has probably failed.
    """

    mean: float
    calibrated: bool
    failed_below: float = FAILED

    @property
    def rating(self) -> Rating:
        """The light."""
        return rate(self.mean, self.failed_below) if self.calibrated else UNRATED

    @property
    def failed(self) -> bool:
        """Whether the scan has probably failed, as far as is known."""
        return self.rating is RED

    @property
    def told(self) -> str:
        """A few words on it: the light and the expected Dice."""
        if math.isnan(self.mean):
            return ""
        word = self.rating.word
        return f"{word}, expected mean Dice {self.mean:.2f}" if self.calibrated else f"quality {self.mean:.2f}, {word}"

    @property
    def warning(self) -> str:
        """A sentence on a scan that has probably failed, else an empty one."""
        if not self.failed:
            return ""
        return f"The segmentation has probably failed (expected mean Dice {self.mean:.2f}): look at it before using it."


def rate(expected: float, failed_below: float = FAILED) -> Rating:
    """The light of an expected Dice; none where it is not known (NaN)."""
    if math.isnan(expected):
        return UNRATED
    if expected < failed_below:
        return RED
    return AMBER if expected < max(GOOD, failed_below) else GREEN


def verdict_on(quality: dict[int, float], calibrated: bool, failed_below: float = FAILED) -> Verdict:
    """The verdict on a scan, from the expected Dice of its structures."""
    scored = set(anatomy.evaluated_values())
    kept = [one for value, one in quality.items() if value in scored]
    return Verdict(sum(kept) / len(kept) if kept else math.nan, calibrated, failed_below)
