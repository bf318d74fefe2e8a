"""Small label maps and records for the tests of the generative models."""

from __future__ import annotations

from typing import Any

import numpy as np

from napari_synthseg.generator.labelmap import LabelMap, prepare
from napari_synthseg.generator.model import GenerativeModel, Record
from napari_synthseg.generator.presets import STILL as UNMOVED
from napari_synthseg.generator.presets import preset

PAPER = preset("synthseg")
STILL = PAPER.with_values(**UNMOVED, bias_std=(0, 0), gamma_exponent=(1, 1), slice_spacing_mm=(1, 1), in_plane_blur=0.0,
                          skull_strip=0.0, flip=0.0, lesions=1.0, background_zero=0.0,
                          background_low=0.0)  # fmt: skip
"""Priors under which nothing moves, blurs or bends."""


def boxes(values: tuple[int, ...] = (2, 41, 24, 507, 25), side: int = 20) -> np.ndarray:
    """A row of boxes of `values` along the first axis, background around."""
    data = np.zeros((side * len(values) + 8, side, side), dtype=np.int32)
    for i, value in enumerate(values):
        data[4 + i * side : 4 + (i + 1) * side, 3:-3, 4:-4] = value
    return data


def small_map(**kwargs) -> LabelMap:
    return prepare(boxes(**kwargs), name="boxes")


def record(priors: GenerativeModel = STILL, seed: int = 0, label_map: LabelMap | None = None, **changes: Any) -> Record:
    """A record with some of its params changed, by their names."""
    return edited(priors.sample(label_map or small_map(), seed), **changes)


def edited(drawn: Record, **changes: Any) -> Record:
    for name, value in changes.items():
        step = next(step for step, params in drawn.steps.items() if name in params)
        drawn = drawn.changed(step, **{name: value})
    return drawn
