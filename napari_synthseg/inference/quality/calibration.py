"""From evidence to expected Dice: a logit-linear model of each structure, fitted on synthetic scans
(`benchmarks/quality_fit.py`).

It belongs to one file of weights, by checksum, and stands beside it: `<name>.quality.json`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from napari_synthseg.atomic_io import write_text
from napari_synthseg.errors import InputError
from napari_synthseg.inference.quality.features import QcFeatures
from napari_synthseg.inference.quality.rating import FAILED
from napari_synthseg.weights.catalogue import read_json

ENDING = ".quality.json"
logger = logging.getLogger("napari_synthseg")


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
    """1 / (1 + exp(-score)), for any score."""
    return 0.5 * (1 + np.tanh(0.5 * np.asarray(score, float)))


def read(path: Path) -> Calibration:
    """Read a calibration.

    Raises:
        InputError: the file is none.
    """
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
