"""Records: seeded, serialisable, and independent of each other's priors."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_synthseg.errors import InputError
from napari_synthseg.generator.priors import PRESETS, Priors, milder, preset
from napari_synthseg.generator.record import Record, draw
from tests.generator.builders import small_map


def draws(priors: Priors, n: int = 400) -> list[Record]:
    g, m = torch.Generator().manual_seed(3), small_map()
    return [draw(priors, m, g) for _ in range(n)]


def test_a_seed_draws_the_same_record_again() -> None:
    a, b = (draw(Priors(), small_map(), torch.Generator().manual_seed(5)) for _ in range(2))
    assert a == b
    assert a != draw(Priors(), small_map(), torch.Generator().manual_seed(6))


def test_a_record_survives_json() -> None:
    r = draw(Priors(), small_map(), torch.Generator().manual_seed(5))
    assert Record.from_dict(json.loads(json.dumps(r.to_dict()))) == r


@pytest.mark.parametrize(("name", "value", "field"), [("rotation_deg", (30.0, 40.0), "rotation_deg"),
                                                      ("bias_std", (0.9, 1.0), "bias_std"),
                                                      ("velocity_std", (5.0, 6.0), "velocity_std"),
                                                      ("noise_std", (1.0, 2.0), "noise_std")])  # fmt: skip
def test_changing_one_prior_changes_only_that(name: str, value: tuple, field: str) -> None:
    m = small_map()
    a = draw(Priors(), m, torch.Generator().manual_seed(9)).to_dict()
    b = draw(replace(Priors(), **{name: value}), m, torch.Generator().manual_seed(9)).to_dict()
    assert {k for k in a if a[k] != b[k]} == {field}


def test_ranges_of_table_s1() -> None:
    some = draws(Priors())
    for field, (low, high) in {"rotation_deg": (-15, 15), "scaling": (0.85, 1.15), "shearing": (-0.012, 0.012),
                               "translation_mm": (-20, 20)}.items():  # fmt: skip
        x = np.array([getattr(r, field) for r in some])
        assert low <= x.min() < low + 0.05 * (high - low)
        assert high - 0.05 * (high - low) < x.max() <= high
    spacing = np.array([r.slice_spacing_mm for r in some])
    thickness = np.array([r.slice_thickness_mm for r in some])
    assert spacing.min() >= 1 and spacing.max() <= 9
    assert (thickness <= spacing).all() and (thickness >= 1).all()
    assert np.std([np.log(r.gamma) for r in some]) == pytest.approx(0.4**0.5, rel=0.1)
    assert {r.direction for r in some} == {0, 1, 2}


def test_skull_stripping_in_half_and_keeping_csf_in_a_quarter() -> None:
    kinds = [r.skull_strip for r in draws(Priors(), 2000)]
    assert kinds.count("none") / 2000 == pytest.approx(0.5, abs=0.04)
    assert kinds.count("keep-csf") / 2000 == pytest.approx(0.25, abs=0.04)


def test_labels_of_one_class_share_their_gaussian() -> None:
    m = small_map(values=(4, 5, 17, 18, 2))
    r = draw(Priors(), m, torch.Generator().manual_seed(1))
    at = {v: i for i, v in enumerate(m.values)}
    assert r.means[at[4]] == r.means[at[5]]
    assert r.means[at[17]] == r.means[at[18]]
    assert r.means[at[4]] != r.means[at[2]]


def test_tissue_contrast_makes_both_sides_alike_and_nuclei_lie_between() -> None:
    m = small_map(values=(2, 41, 3, 42, 10))
    at = {v: i for i, v in enumerate(m.values)}
    for seed in range(20):
        r = draw(replace(Priors(), tissue_contrast=1.0), m, torch.Generator().manual_seed(seed))
        assert r.contrast == "tissue"
        assert r.means[at[3]] == pytest.approx(r.means[at[42]])
        low, high = sorted((r.means[at[2]], r.means[at[3]]))
        assert low - 20 < r.means[at[10]] < high + 20


def test_given_contrast() -> None:
    m = small_map()
    n = max(m.classes) + 1
    given = replace(preset("synthseg-rc"), class_means=((50.0, 0.0),) * n, class_stds=((2.0, 0.0),) * n)
    r = draw(given, m, torch.Generator().manual_seed(0))
    assert set(r.means) == {50.0} and set(r.stds) == {2.0} and r.contrast == "given"


def test_presets_are_the_issue_s() -> None:
    assert {"synthseg", "synthseg-larger-gmm", "synthseg-tighter-gmm", "synthseg-r", "synthseg-rc", "no-bias",
            "no-deformation", "synthseg-plus"} <= set(PRESETS)  # fmt: skip
    assert preset("synthseg-tighter-gmm").mean == (50, 200)
    assert all(r.slice_spacing_mm == 1 for r in draws(preset("synthseg-r"), 20))
    assert all(r.bias_std == 0 for r in draws(preset("no-bias"), 20))
    assert all(r.velocity_std == 0 and r.scaling == (1, 1, 1) for r in draws(preset("no-deformation"), 20))


def test_unknown_presets_and_impossible_priors_are_refused() -> None:
    with pytest.raises(InputError, match="synthseg-plus"):
        preset("nonsense")
    with pytest.raises(InputError, match="scaling"):
        Priors(scaling=(2.0, 1.0))
    with pytest.raises(InputError, match="probability"):
        Priors(flip=1.5)
    for name, value in (
        ("slice_direction", 3),
        ("bias_grid", 0),
        ("gamma_variance", -1.0),
        ("mean", (0.0, float("nan"))),
    ):
        with pytest.raises(InputError, match=name):
            Priors(**{name: value})


def test_a_curriculum_runs_from_still_to_full() -> None:
    assert milder(preset("fast"), 1.0) == preset("fast")
    calm = milder(preset("fast"), 0.0)
    for r in draws(calm, 20):
        assert r.scaling == (1, 1, 1) and r.velocity_std == 0 and r.slice_spacing_mm == 1 and r.contrast == "tissue"
    half = milder(preset("fast"), 0.5)
    assert half.rotation_deg == (-7.5, 7.5) and half.scaling == (0.925, 1.075)


def test_t1_order() -> None:
    m = small_map(values=(2, 41, 3, 42, 4))
    at = {v: i for i, v in enumerate(m.values)}
    for seed in range(20):
        r = draw(replace(Priors(), tissue_contrast=1.0, t1_order=1.0), m, torch.Generator().manual_seed(seed))
        assert r.means[at[4]] - 25 < r.means[at[3]] < r.means[at[2]] + 25
