"""Generative models: steps with declared parameters, records from streams of their own, presets, settings and files."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from napari_synthseg.errors import InputError
from napari_synthseg.generator import presets
from napari_synthseg.generator.model import GenerativeModel, Record
from napari_synthseg.generator.presets import (
    PRESETS,
    SHAPE_PRESETS,
    changed,
    degradation,
    differences,
    load_priors,
    preset,
    shape_preset,
    write_priors,
)
from tests.generator.builders import PAPER, record, small_map

MODELS = {"paper": PAPER, "degradation": degradation(), "shapes": shape_preset("both"),
          "tissues": GenerativeModel.standard("tissues")}  # fmt: skip
GIVEN = PAPER.with_values(class_means=((50.5, 1 / 3), None, (20.0, 0.0)), class_stds=((2.0, 1.0), None, (3.0, 0.0)))
FIELDS = [(name, f) for name, model in MODELS.items() for group in model.groups() for f in group.fields]


def draws(model: GenerativeModel, n: int = 400) -> list[Record]:
    m = small_map()
    return [model.sample(m, seed) for seed in range(n)]


# Records


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_a_seed_draws_the_same_record_again_and_it_survives_json(model: GenerativeModel) -> None:
    first, again, other = (model.sample(small_map(), seed) for seed in (5, 5, 6))
    assert first == again != other
    assert Record.from_dict(json.loads(json.dumps(first.to_dict()))) == first


def test_records_of_later_versions_and_of_unknown_steps_are_refused() -> None:
    plain = record().to_dict()
    with pytest.raises(InputError, match="version 3"):
        Record.from_dict({**plain, "version": 3})
    with pytest.raises(InputError, match="'waves'"):
        Record.from_dict({**plain, "steps": {**plain["steps"], "waves": {}}})


@pytest.mark.parametrize(
    ("model", "name", "value", "step", "param"),
    [("paper", "rotation_deg", (30.0, 40.0), "spatial", "rotation_deg"),
     ("paper", "bias_std", (0.9, 1.0), "bias", "bias_std"),
     ("paper", "velocity_std", (5.0, 6.0), "spatial", "velocity_std"),
     ("paper", "noise_std", (1.0, 2.0), "acquisition", "noise_std"),
     ("degradation", "bias_std", (2.0, 2.5), "bias", "bias_std")],
)  # fmt: skip
def test_changing_one_prior_changes_only_that(model: str, name: str, value: Any, step: str, param: str) -> None:
    a, b = (m.sample(small_map(), 9).steps for m in (MODELS[model], MODELS[model].with_values(**{name: value})))
    assert {(s, p) for s in a for p in a[s] if a[s][p] != b[s][p]} == {(step, param)}


# What is drawn agrees with the priors


def test_ranges_of_table_s1() -> None:
    some = draws(PAPER)
    for name, (low, high) in {"rotation_deg": (-15, 15), "scaling": (0.85, 1.15), "shearing": (-0.012, 0.012),
                              "translation_mm": (-20, 20)}.items():  # fmt: skip
        x = np.array([r["spatial"][name] for r in some])
        assert low <= x.min() < low + 0.05 * (high - low)
        assert high - 0.05 * (high - low) < x.max() <= high
        assert x.mean() == pytest.approx((low + high) / 2, abs=0.03 * (high - low))
    slices = [r["acquisition"] for r in some]
    spacing, thickness = (np.array([s[name] for s in slices]) for name in ("spacing_mm", "thickness_mm"))
    assert spacing.min() >= 1 and spacing.max() <= 9 and spacing.mean() == pytest.approx(5, abs=0.3)
    assert (thickness <= spacing).all() and (thickness >= 1).all()
    assert np.std([np.log(r["gamma"]["gamma"]) for r in some]) == pytest.approx(0.4**0.5, rel=0.1)
    assert {s["direction"] for s in slices} == {0, 1, 2}


def test_gaussians_fill_their_ranges() -> None:
    some = draws(PAPER.with_values(background_zero=0.0, background_low=0.0))
    for name, (low, high) in {"means": (10, 240), "stds": (1, 25)}.items():
        x = np.array([r["contrast"][name] for r in some])
        assert low <= x.min() < low + 2 and high - 2 < x.max() <= high
        assert x.mean() == pytest.approx((low + high) / 2, rel=0.02)
        assert x.std() == pytest.approx((high - low) / 12**0.5, rel=0.02)


def test_probabilities_are_frequencies() -> None:
    some = draws(preset("fast").with_values(lesion_load_ml=(0.0, 5.0)), 2000)
    kinds = [r["labels"]["skull_strip"] for r in some]
    assert kinds.count("none") / 2000 == pytest.approx(0.5, abs=0.04)
    assert kinds.count("keep-csf") / 2000 == pytest.approx(0.25, abs=0.04)
    assert np.mean([r["spatial"]["flip"] for r in some]) == pytest.approx(0.5, abs=0.04)
    assert np.mean([r["labels"]["lesions"] for r in some]) == pytest.approx(0.5, abs=0.04)
    assert np.mean([r["contrast"]["contrast"] == "tissue" for r in some]) == pytest.approx(0.7, abs=0.04)
    assert np.mean([r["contrast"]["means"][0] == 0 for r in some]) == pytest.approx(0.35, abs=0.04)
    assert np.mean([0 < r["contrast"]["means"][0] < 15 for r in some]) == pytest.approx(0.35, abs=0.06)
    assert np.mean([r["acquisition"]["spacing_mm"] == 1 for r in some]) == pytest.approx(0.5, abs=0.04)


def test_labels_of_one_class_share_their_gaussian() -> None:
    m = small_map(values=(4, 5, 17, 18, 2))
    means = PAPER.sample(m, 1)["contrast"]["means"]
    at = {v: i for i, v in enumerate(m.values)}
    assert means[at[4]] == means[at[5]] != means[at[2]]
    assert means[at[17]] == means[at[18]]


def test_tissue_contrast_makes_both_sides_alike_and_nuclei_lie_between() -> None:
    m = small_map(values=(2, 41, 3, 42, 10))
    at = {v: i for i, v in enumerate(m.values)}
    for seed in range(20):
        drawn = PAPER.with_values(tissue_contrast=1.0).sample(m, seed)["contrast"]
        means = drawn["means"]
        assert drawn["contrast"] == "tissue" and means[at[3]] == pytest.approx(means[at[42]])
        low, high = sorted((means[at[2]], means[at[3]]))
        assert low - 20 < means[at[10]] < high + 20


def test_t1_like_samples_have_dark_fluid_and_bright_white_matter() -> None:
    m = small_map(values=(2, 41, 3, 42, 4))
    at = {v: i for i, v in enumerate(m.values)}
    for seed in range(20):
        means = PAPER.with_values(tissue_contrast=1.0, t1_like=1.0).sample(m, seed)["contrast"]["means"]
        assert means[at[4]] - 25 < means[at[3]] < means[at[2]] + 25


def test_given_contrast() -> None:
    m = small_map()
    n = max(m.classes) + 1
    given = PAPER.with_values(class_means=((50.0, 0.0),) * n, class_stds=((2.0, 0.0),) * n)
    drawn = given.sample(m, 0)["contrast"]
    assert set(drawn["means"]) == {50.0} and set(drawn["stds"]) == {2.0} and drawn["contrast"] == "given"
    with pytest.raises(InputError, match="belong together"):
        PAPER.with_values(class_means=((50.0, 0.0),))


# Presets


def test_presets_are_the_paper_s_and_ours() -> None:
    assert {"synthseg", "synthseg-larger-gmm", "synthseg-tighter-gmm", "synthseg-r", "synthseg-rc", "no-bias",
            "no-deformation", "synthseg-plus"} <= set(PRESETS) == set(presets.PRESET_TIPS)  # fmt: skip
    assert set(SHAPE_PRESETS) == set(presets.SHAPE_PRESET_TIPS)
    assert preset("synthseg-tighter-gmm")["contrast"].mean == (50, 200)
    assert all(r["acquisition"]["spacing_mm"] == 1 for r in draws(preset("synthseg-r"), 20))
    assert all(r["bias"]["bias_std"] == 0 for r in draws(preset("no-bias"), 20))
    still = [r["spatial"] for r in draws(preset("no-deformation"), 20)]
    assert all(s["velocity_std"] == 0 and s["scaling"] == (1, 1, 1) for s in still)


def test_a_curriculum_runs_from_still_to_full() -> None:
    fast = preset("fast")
    assert fast.milder(1.0) == fast
    for r in draws(fast.milder(0.0), 20):
        assert r["spatial"]["scaling"] == (1, 1, 1) and r["spatial"]["velocity_std"] == 0
        assert r["acquisition"]["spacing_mm"] == 1 and r["contrast"]["contrast"] == "tissue"
    half = fast.milder(0.5)["spatial"]
    assert half.rotation_deg == (-7.5, 7.5) and half.scaling == (0.925, 1.075)


@pytest.mark.parametrize("choose", [preset, shape_preset, load_priors])
def test_an_unknown_preset_is_refused(choose: Any) -> None:
    with pytest.raises(InputError, match="choose one of"):
        choose("nonsense")


def test_one_contrast_needs_class_priors() -> None:
    with pytest.raises(InputError, match="napari-synthseg priors SCANS"):
        load_priors("synthseg-rc")
    assert load_priors("synthseg-rc", ["class_means=50:1", "class_stds=2:0"])["contrast"].class_means == ((50, 1),)


def test_any_resolution_is_asked_for_by_settings() -> None:
    model = load_priors("synthseg-r", ["slice_spacing_mm=5,5", "slice_thickness_mm=4,4", "slice_direction=axial"])
    drawn = [r["acquisition"] for r in draws(model, 5)]
    assert {(d["spacing_mm"], d["thickness_mm"], d["direction"]) for d in drawn} == {(5, 4, 2)}


# Declared fields


@pytest.mark.parametrize(("model", "field"), FIELDS, ids=[f"{m}-{f.name}" for m, f in FIELDS])
def test_every_field_fits_a_control(model: str, field: Any) -> None:
    low, high = field.info.slider or (field.info.low, field.info.high)
    if field.kind != "choice":
        assert low < high and (field.kind == "integer" or 0 < field.info.step <= high - low)
        every = [MODELS[model], *([preset(name) for name in PRESETS] if model == "paper" else [])]
        for value in (*(m.values[field.name] for m in every), field.info.start):
            assert value is None or all(low <= n <= high for n in (value if isinstance(value, tuple) else (value,)))
        for end in (low, high) if field.name not in presets.LOOKS else (low,):
            end = int(end) if field.kind == "integer" else float(end)
            if field.info.above is None or end > field.info.above:
                MODELS[model].with_values(**{field.name: (end, end) if field.kind == "range" else end})
    assert field.doc.endswith(".") and (field.info.start is not None) == (field.kind == "range" and field.optional)


def test_groups_come_in_the_order_of_the_steps() -> None:
    assert [group.title for group in PAPER.groups()] == [
        "Atrophy", "White matter lesions", "Spatial deformation", "Labels", "Gaussian mixture", "Bias field",
        "Intensity augmentation", "Acquisition"]  # fmt: skip
    assert [group.title for group in MODELS["shapes"].groups()] == [
        "Modules", "Modalities", "Acquisition", "Label map", "Shapes", "Intensities", "Noise and texture",
        "Hard targets"]  # fmt: skip


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_columns_are_explained(model: GenerativeModel) -> None:
    shown = model.sample(small_map(), 1).summary()
    assert set(shown) <= set(model.columns()) and list(shown) == [c for c in model.columns() if c in shown]


def test_numbers_of_a_row_are_those_of_the_record() -> None:
    row = record(spacing_mm=4.126, thickness_mm=2.0, gamma=1.5, bias_std=0.25, velocity_std=2.5, direction=1,
                 skull_strip="keep-csf", rotation_deg=(3.0, -12.04, 5.0), scaling=(1.1, 1.0, 0.9),
                 translation_mm=(3.0, 0.0, -4.0)).summary()  # fmt: skip
    assert (row["spacing (mm)"], row["thickness (mm)"], row["slices"]) == (4.13, 2.0, "coronal")
    assert (row["gamma"], row["bias"], row["deformation (mm)"]) == (1.5, 0.25, 2.5)
    assert (row["rotation (°)"], row["scaling"], row["shift (mm)"]) == (-12.0, 0.99, 5.0)
    assert row["skull strip"] == "yes, CSF stays"


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [("rotation_deg", (5.0, -5.0), "upper bound"), ("rotation_deg", (float("-inf"), 5.0), "finite"),
     ("scaling", (0.0, 1.0), "above 0"), ("noise_std", (-1.0, 1.0), "at least 0"), ("bias_grid", 0, "at least 1"),
     ("slice_direction", 3, "choose"), ("flip", 1.5, "between 0 and 1"), ("clip_max", -1.0, "at least 0"),
     ("slice_thickness_mm", (0.0, 1.0), "above 0"), ("gamma_variance", -1.0, "at least 0")],
)  # fmt: skip
def test_impossible_priors_are_refused_by_name(name: str, value: Any, reason: str) -> None:
    with pytest.raises(InputError, match=f"{name}.*{reason}"):
        PAPER.with_values(**{name: value})


def test_no_torch_is_needed_to_declare_draw_and_list() -> None:
    code = (
        "import sys; from napari_synthseg.generator import figure, files, presets; "
        "presets.degradation().sample(seed=1); presets.shape_preset('both').sample(seed=1); "
        "presets.describe_presets(); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# Settings and files


@pytest.mark.parametrize(
    ("setting", "name", "value"),
    [("mean=0,255", "mean", (0.0, 255.0)), ("rotation_deg=-3,3", "rotation_deg", (-3.0, 3.0)),
     ("velocity_grid=12", "velocity_grid", 12), ("slice_direction=2", "slice_direction", 2),
     ("slice_direction=coronal", "slice_direction", 1), ("slice_thickness_mm=1,2", "slice_thickness_mm", (1.0, 2.0)),
     ("flip=1", "flip", 1.0), ("one_millimetre=0.5", "p_isotropic_1mm", 0.5), ("ceiling=100", "clip_max", 100.0)],
)  # fmt: skip
def test_a_setting_changes_one_prior(setting: str, name: str, value: object) -> None:
    assert changed(PAPER, [setting]) == PAPER.with_values(**{name: value})


def test_none_takes_an_optional_prior_away() -> None:
    plus = preset("synthseg-plus")
    without = plus.with_values(gamma_exponent=None, slice_blur_mm=None)
    assert changed(plus, ["gamma_exponent=none", "slice_blur_mm=None"]) == without


@pytest.mark.parametrize(
    ("model", "setting"),
    [*(("paper", s) for s in ("nonsense=1", "mean", "mean=", "mean=1", "mean=a,b", "mean=none", "flip=0,1", "flip=2",
                              "velocity_grid=2.5", "class_means=1,2", "class_means=1:2", "noise_std=9,1",
                              "gamma_exponent=0,1")),
     ("degradation", "mean=0,255"),
     *(("shapes", s) for s in ("mean=0,255", "objects=3", "objects=0,4", "ct=1", "regions=2,99", "warp=0.2,0.1"))],
)  # fmt: skip
def test_impossible_settings_are_refused_by_name(model: str, setting: str) -> None:
    with pytest.raises(InputError, match=setting.partition("=")[0]):
        changed(MODELS[model], [setting])


@pytest.mark.parametrize("priors", [*map(preset, PRESETS), GIVEN])
@pytest.mark.parametrize("base", [PAPER, preset("synthseg-plus")])
def test_differences_lead_from_one_to_the_other(priors: GenerativeModel, base: GenerativeModel) -> None:
    assert changed(base, differences(priors, base)) == priors


@pytest.mark.parametrize("priors", [preset("fast").with_values(flip=0.125), GIVEN])
def test_a_file_of_priors_comes_back(tmp_path, priors: GenerativeModel) -> None:
    write_priors(tmp_path / "my.json", "fast", priors)
    assert load_priors(tmp_path / "my.json") == priors
    assert load_priors(str(tmp_path / "my.json"), ["flip=0.5"]) == priors.with_values(flip=0.5)


@pytest.mark.parametrize(
    ("text", "message"),
    [(None, "cannot be read"), ("no json", "no JSON"), ("[1]", "no priors"), ('{"steps": {"bias": 3}}', "no priors"),
     ('{"steps": {"waves": {}}}', "'waves'"), ('{"steps": {"bias": {"mean": [0, 1]}}}', "'mean'"),
     ('{"steps": {"bias": {"bias_std": [2, 1]}}}', "bias_std"), ('{"preset": "synthseg-rc"}', "priors SCANS")],
)  # fmt: skip
def test_files_that_hold_no_priors_are_refused(tmp_path, text: str | None, message: str) -> None:
    path = tmp_path / "my.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=message):
        load_priors(path)
