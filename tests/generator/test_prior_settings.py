"""Settings, `name=value`: read, and written so that they read back the same."""

from __future__ import annotations

from dataclasses import replace

import pytest

from napari_synthseg.errors import InputError
from napari_synthseg.generator.degradation_priors import DegradationPriors
from napari_synthseg.generator.prior_settings import changed, differences
from napari_synthseg.generator.priors import PRESETS, Priors
from napari_synthseg.generator.shapes.priors import SHAPE_PRESETS, ShapePriors

GIVEN = replace(Priors(), class_means=((50.5, 1 / 3), None, (20.0, 0.0)), class_stds=((2.0, 1.0), None, (3.0, 0.0)))


@pytest.mark.parametrize(
    ("setting", "name", "value"),
    [
        ("mean=0,255", "mean", (0.0, 255.0)),
        ("rotation_deg=-3,3", "rotation_deg", (-3.0, 3.0)),
        ("velocity_grid=12", "velocity_grid", 12),
        ("slice_direction=2", "slice_direction", 2),
        ("slice_thickness_mm=1,2", "slice_thickness_mm", (1.0, 2.0)),
        ("flip=1", "flip", 1.0),
    ],
)
def test_a_setting_changes_one_prior(setting: str, name: str, value: object) -> None:
    assert changed(Priors(), [setting]) == replace(Priors(), **{name: value})


def test_none_takes_an_optional_prior_away() -> None:
    plus = PRESETS["synthseg-plus"]
    assert changed(plus, ["gamma_exponent=none", "slice_blur_mm=None"]) == replace(
        plus, gamma_exponent=None, slice_blur_mm=None
    )


@pytest.mark.parametrize(
    "setting",
    ["nonsense=1", "mean", "mean=", "mean=1", "mean=a,b", "mean=none", "flip=0,1", "velocity_grid=2.5",
     "class_means=1,2", "class_means=1:2", "flip=2", "noise_std=9,1", "gamma_exponent=0,1"],
)  # fmt: skip
def test_what_is_no_setting_is_refused_by_name(setting: str) -> None:
    with pytest.raises(InputError, match=setting.partition("=")[0]):
        changed(Priors(), [setting])


@pytest.mark.parametrize("priors", [*PRESETS.values(), GIVEN])
@pytest.mark.parametrize("base", [Priors(), PRESETS["synthseg-plus"]])
def test_differences_lead_from_one_to_the_other(priors: Priors, base: Priors) -> None:
    assert changed(base, differences(priors, base)) == priors


def test_only_what_differs_is_a_difference() -> None:
    assert differences(replace(Priors(), flip=0.25, bias_grid=5), Priors()) == ["bias_grid=5", "flip=0.25"]


def test_the_degradation_model_takes_settings_too() -> None:
    milder = changed(DegradationPriors(), ["noise_std=0,5", "slice_direction=0"])
    assert milder == replace(DegradationPriors(), noise_std=(0.0, 5.0), slice_direction=0)
    assert differences(milder, DegradationPriors()) == ["slice_direction=0", "noise_std=0,5"]
    with pytest.raises(InputError, match="flip"):
        changed(DegradationPriors(), ["flip=1"])


@pytest.mark.parametrize("priors", [*SHAPE_PRESETS.values(), ShapePriors(objects=(3.0, 1 / 3 + 4), ct=0.0)])
@pytest.mark.parametrize("base", [ShapePriors(), SHAPE_PRESETS["ultrasound"]])
def test_shapes_take_settings_too(priors: ShapePriors, base: ShapePriors) -> None:
    assert changed(base, differences(priors, base)) == priors


@pytest.mark.parametrize("setting", ["mean=0,255", "objects=3", "objects=0,4", "ct=1", "regions=2,99"])
def test_shapes_refuse_what_is_none_of_theirs(setting: str) -> None:
    with pytest.raises(InputError, match=setting.partition("=")[0]):
        changed(ShapePriors(), [setting])
