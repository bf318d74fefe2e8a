"""Priors that cannot be meant are refused, with their name."""

from __future__ import annotations

import math
from typing import Any

import pytest

from napari_synthseg.errors import InputError
from napari_synthseg.generator.degradation_priors import DegradationPriors
from napari_synthseg.generator.prior_checks import check_prior
from napari_synthseg.generator.priors import Priors


@pytest.mark.parametrize("table", [Priors, DegradationPriors])
@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("rotation_deg", (5.0, -5.0), "above its upper bound"),
        ("rotation_deg", (-math.inf, 5.0), "finite"),
        ("scaling", (0.0, 1.0), "above 0"),
        ("noise_std", (-1.0, 1.0), "cannot be negative"),
        ("bias_grid", 0, "at least 1"),
        ("slice_direction", 3, "axial"),
    ],
)
def test_the_tables_refuse_what_cannot_be_meant(table: Any, name: str, value: Any, reason: str) -> None:
    with pytest.raises(InputError, match=f"{name}.*{reason}"):
        table(**{name: value})


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("flip", 1.5, "probability"),
        ("flip", -0.5, "probability"),
        ("ceiling", -1.0, "cannot be negative"),
        ("ceiling", math.nan, "finite"),
        ("slice_thickness_mm", (0.0, 1.0), "above 0"),
    ],
)
def test_single_numbers_and_optional_ranges_are_checked_too(name: str, value: Any, reason: str) -> None:
    with pytest.raises(InputError, match=f"{name}.*{reason}"):
        Priors(**{name: value})


def test_what_can_be_meant_passes() -> None:
    assert Priors(slice_thickness_mm=None, flip=1, shearing=(-0.1, -0.05), slice_direction=0).flip == 1
    check_prior("a range read from a file", [0.0, 1.0], probability=True)
