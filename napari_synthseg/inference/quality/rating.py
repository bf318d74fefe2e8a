"""Quality ratings: from evidence to expected Dice, and its traffic light, for structures and scans. No torch here.

A calibration, a logit-linear model of each structure fitted on synthetic scans (`benchmarks/quality_fit.py`), belongs
to one file of weights, by checksum, and stands beside it: `<name>.quality.json`.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_synthseg import anatomy
from napari_synthseg.atomic_io import write_text
from napari_synthseg.errors import InputError
from napari_synthseg.weights.catalogue import read_json

if TYPE_CHECKING:
    from napari_synthseg.inference.quality.features import QcFeatures

ENDING = ".quality.json"
logger = logging.getLogger("napari_synthseg")
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


# Calibration


@dataclass(frozen=True)
class Calibration:
    """Expected Dice = sigmoid(w0 + sum_j w_j (x_j - center_j) / scale_j) of a structure's evidence x."""

    sha256: str
    """Checksum of the weights it belongs to."""
    columns: tuple[str, ...]
    """(m,) names of the evidence it takes."""
    center: np.ndarray
    scale: np.ndarray
    """(m,) of each column."""
    shared: np.ndarray
    """(m + 1,) w of a structure that has none of its own."""
    own: dict[int, np.ndarray]
    """(m + 1,) w by FreeSurfer value."""
    failed_below: float = FAILED
    """Expected mean Dice below which a scan has probably failed."""
    facts: dict[str, Any] = field(default_factory=dict)
    """On what it was fitted, and how well it does on scans from label maps that were held out."""

    def expected(self, evidence: QcFeatures) -> dict[int, float] | None:
        """Return the expected Dice by FreeSurfer value; None if features that it takes are missing."""
        if not set(self.columns) <= evidence.columns.keys():
            return None
        x = np.stack([evidence.columns[name] for name in self.columns], 1) if self.columns else np.zeros((0, 0))
        x = (x.reshape(len(evidence.values), -1) - self.center) / self.scale
        weights = np.stack([self.own.get(v, self.shared) for v in evidence.values]) if evidence.values else x
        scores = weights[:, 0] + (weights[:, 1:] * x).sum(1) if evidence.values else np.zeros(0)
        return {v: float(one) for v, one in zip(evidence.values, sigmoid(scores), strict=True)}

    def save(self, path: Path) -> None:
        """Write as JSON, atomically."""
        content = {
            "sha256": self.sha256,
            "facts": self.facts,
            "failed_below": self.failed_below,
            "columns": list(self.columns),
            "centre": _rounded(self.center),  # as files have it
            "scale": _rounded(self.scale),
            "shared": _rounded(self.shared),
            "own": {str(value): _rounded(one) for value, one in self.own.items()},
        }
        lines = ",\n".join(f" {json.dumps(key)}: {_text(one)}" for key, one in content.items())
        write_text(path, f"{{\n{lines}\n}}\n")


def sigmoid(score: np.ndarray) -> np.ndarray:
    """Return 1 / (1 + exp(-score)), for any score."""
    return 0.5 * (1 + np.tanh(0.5 * np.asarray(score, float)))


def read(path: Path) -> Calibration:
    """Read a calibration; InputError if the file is none."""
    try:
        content = read_json(path)
        columns = tuple(str(name) for name in content["columns"])
        center, scale, shared = (np.array(content[name], float) for name in ("centre", "scale", "shared"))
        own = {int(value): np.array(one, float) for value, one in content["own"].items()}
        sizes = {len(center), len(scale), *(len(w) - 1 for w in (shared, *own.values()))}
        if sizes != {len(columns)}:
            raise ValueError("sizes differ")
        return Calibration(
            str(content["sha256"]), columns, center, scale, shared, own, float(content["failed_below"]),
            dict(content.get("facts", {})),
        )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path.name} is no calibration of quality: make it again, or take it away.") from error


def path_beside(weights: Path) -> Path:
    """Return the path of the calibration of a weights file."""
    return weights.with_name(weights.stem + ENDING)


def calibration_of(card: Mapping[str, Any] | None) -> Calibration | None:
    """Return the calibration beside the weights of a card; None if there is none, or it belongs to other weights."""
    if not card or not card.get("path"):
        return None
    path = path_beside(Path(card["path"]))
    if not path.is_file():
        return None
    try:
        found = read(path)
    except InputError as error:
        logger.warning("%s", error)
        return None
    if found.sha256 != card.get("sha256"):
        logger.warning("%s belongs to other weights than %s: quality is not calibrated.", path.name, card.get("name"))
        return None
    return found


def _rounded(numbers: np.ndarray) -> list[float]:
    return [float(f"{one:.5g}") for one in np.asarray(numbers).tolist()]


def _text(content: Any) -> str:
    """Format JSON with a line for each entry of a dictionary."""
    if isinstance(content, dict):
        inner = ",\n".join(f"  {json.dumps(key)}: {json.dumps(one)}" for key, one in content.items())
        return f"{{\n{inner}\n }}" if content else "{}"
    return json.dumps(content)
