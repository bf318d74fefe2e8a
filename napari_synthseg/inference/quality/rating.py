"""Quality ratings: the traffic light of an expected Dice, for structures and scans. No torch here."""

from __future__ import annotations

import math
from dataclasses import dataclass

from napari_synthseg import anatomy

FAILED, GOOD = 0.6, 0.75
"""Expected Dice below which a segmentation has probably failed, and from which on it is probably good."""


@dataclass(frozen=True)
class TrafficLight:
    """A word, a sign that differs from the others' without its color, and colors for it on dark and light ground."""

    word: str
    sign: str
    on_dark: str
    on_light: str


GREEN = TrafficLight("good", "●", "#2bc48a", "#00704a")
AMBER = TrafficLight("doubtful", "▲", "#e69f00", "#8a5a00")
RED = TrafficLight("likely failed", "■", "#ff6b6b", "#b3261e")
UNRATED = TrafficLight("not calibrated", "", "", "")


@dataclass(frozen=True)
class QcRating:
    """Quality to expect of a scan's segmentation."""

    mean: float
    """Expected Dice, mean over the scored structures (`anatomy.Structure.evaluated`); NaN without any."""
    calibrated: bool
    """Whether it is calibrated; if not, it is the mean of the soft Dice, and no light is given."""
    failed_below: float = FAILED
    """Mean below which the whole scan has probably failed."""
    warned: bool = False
    """Whether there are warnings; such a scan is at best doubtful."""

    @property
    def light(self) -> TrafficLight:
        """The traffic light."""
        found = light_of(self.mean, self.failed_below) if self.calibrated else UNRATED
        return AMBER if found is GREEN and self.warned else found

    @property
    def failed(self) -> bool:
        """Whether the scan has probably failed, as far as is known."""
        return self.light is RED

    @property
    def summary(self) -> str:
        """The light and the expected Dice in a few words."""
        return in_words(self.light.word, self.mean, self.calibrated)

    @property
    def warning(self) -> str:
        """A sentence on a scan that has probably failed, else an empty one."""
        if not self.failed:
            return ""
        return f"The segmentation has probably failed (expected mean Dice {self.mean:.2f}): look at it before using it."


def in_words(word: str, mean: float, calibrated: bool) -> str:
    """Describe a light and an expected mean Dice; empty for NaN."""
    if math.isnan(mean):
        return ""
    return f"{word}, expected mean Dice {mean:.2f}" if calibrated else f"quality {mean:.2f}, {word}"


def light_of(expected: float, failed_below: float = FAILED) -> TrafficLight:
    """Return the light of an expected Dice; none if it is not known (NaN)."""
    if math.isnan(expected):
        return UNRATED
    if expected < failed_below:
        return RED
    return AMBER if expected < max(GOOD, failed_below) else GREEN


def rate_scan(quality: dict[int, float], calibrated: bool, failed_below: float = FAILED) -> QcRating:
    """Rate a scan by the expected Dice of its structures."""
    scored = set(anatomy.evaluated_values())
    kept = [one for value, one in quality.items() if value in scored]
    return QcRating(sum(kept) / len(kept) if kept else math.nan, calibrated, failed_below)
