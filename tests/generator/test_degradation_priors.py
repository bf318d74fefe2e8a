"""The degradation model's priors: those of Table S1, wider than the generative model's, and checked."""

from __future__ import annotations

import pytest

from napari_synthseg.errors import InputError
from napari_synthseg.generator.degradation_priors import DegradationPriors
from napari_synthseg.generator.priors import preset


def test_they_are_those_of_table_s1() -> None:
    p = DegradationPriors()
    assert (p.rotation_deg, p.scaling, p.translation_mm) == ((-25, 25), (0.5, 1.5), (-50, 50))
    assert (p.velocity_std[1] ** 2, p.bias_std[1] ** 2) == pytest.approx((4, 3))
    assert (p.gamma_exponent, p.slice_blur_mm, p.slice_spacing_mm, p.noise_std) == (
        (0.3, 3), (0.5, 8), (1, 12), (0, 50))  # fmt: skip


def test_they_are_wider_than_the_generative_model_s() -> None:
    wide, narrow = DegradationPriors(), preset("synthseg-plus")
    for name in ("rotation_deg", "scaling", "shearing", "translation_mm", "velocity_std", "bias_std", "noise_std"):
        (a, b), (low, high) = getattr(narrow, name), getattr(wide, name)
        assert low <= a and high > b


@pytest.mark.parametrize(
    ("name", "value"),
    [("scaling", (0.0, 1.0)), ("noise_std", (-1.0, 1.0)), ("rotation_deg", (3.0, 1.0)), ("bias_grid", 0),
     ("slice_direction", 3), ("gamma_exponent", (0.5, float("nan")))],
)  # fmt: skip
def test_impossible_priors_are_refused(name: str, value: object) -> None:
    with pytest.raises(InputError, match=name):
        DegradationPriors(**{name: value})
