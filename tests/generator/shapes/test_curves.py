"""Closed Bezier curves, their filling, diffeomorphisms, label maps with gaps; the mean and variance of each noise."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib.path import Path as Polygon

from napari_synthseg.generator.shapes.curves import (
    curve,
    diffeomorphism,
    fill,
    gaps,
    touching_regions,
    widest,
)
from napari_synthseg.generator.shapes.layout import Outline
from napari_synthseg.generator.shapes.looks import (
    LIBRARY,
    blur,
    grainy,
    perlin,
    rician,
    windowed,
)

DISC = Outline(0.5, 0.5, 0.3, elongation=1.0, angle=0.0, bend=0.0, roughness=0.0, anchors=16, seed=1)


def filled(points: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
    whole = torch.zeros(shape, dtype=torch.bool)
    found = fill(points, shape)
    if found is not None:
        whole[found[0]] = found[1]
    return whole


def still(rows: int = 40, columns: int = 40) -> torch.Tensor:
    return torch.zeros(2, rows, columns)


def test_a_curve_is_closed_and_smooth() -> None:
    points = curve(replace(DISC, roughness=0.4, anchors=9), steps=50)
    side = (points.roll(-1, 0) - points).norm(dim=1)
    assert side.max() < 6 * side.mean()  # no jump from the last point to the first
    turn = torch.atan2(*(points.roll(-1, 0) - points).unbind(1))
    change = (turn.roll(-1) - turn + math.pi) % (2 * math.pi) - math.pi
    assert change.abs().max() < 0.6  # no corner where segments meet


def test_a_bent_shape_is_not_convex() -> None:
    straight = filled(curve(replace(DISC, elongation=5.0)) * 200, (200, 200))
    bent = filled(curve(replace(DISC, elongation=5.0, bend=1.2)) * 200, (200, 200))
    assert straight[100, 100]
    assert bent.any(1).sum() > 1.5 * straight.any(1).sum()
    assert bent.sum() == pytest.approx(int(straight.sum()), rel=0.2)


def test_filling_agrees_with_matplotlib() -> None:
    points = curve(replace(DISC, roughness=0.5, elongation=2.0, bend=1.0, seed=4)) * 90
    centers = np.stack(np.meshgrid(np.arange(90) + 0.5, np.arange(80) + 0.5, indexing="ij"), -1).reshape(-1, 2)
    expected = Polygon(points.numpy()).contains_points(centers).reshape(90, 80)
    assert np.array_equal(filled(points, (90, 80)).numpy(), expected)


def test_what_is_cut_by_the_border_is_filled_up_to_it() -> None:
    mask = filled(curve(replace(DISC, row=0.0)) * 100, (100, 100))
    assert mask[0].sum() > 50
    assert not mask[40:].any()


def test_a_diffeomorphism_does_not_fold() -> None:
    u = diffeomorphism(0.05, 6, 3, (80, 64), side=80.0)
    assert u.abs().max() > 2
    down, right = u[:, 1:, :-1] - u[:, :-1, :-1], u[:, :-1, 1:] - u[:, :-1, :-1]
    # Grid spacings: 80 / 79 rows and 64 / 63 columns in these units.
    determinant = (80 / 79 + down[0]) * (64 / 63 + right[1]) - down[1] * right[0]
    assert determinant.min() > 0


def test_a_label_map_has_all_labels_and_fills_the_image() -> None:
    labels = touching_regions(6, 5.0, 2, still(), (128, 128), "cpu")
    assert labels.dtype == torch.uint8
    assert set(labels.unique().tolist()) == set(range(6))


def test_gaps_lie_between_regions_and_are_as_wide_as_asked() -> None:
    labels = torch.zeros(40, 40, dtype=torch.uint8)
    labels[:, 20:] = 1
    gap = gaps(labels, torch.tensor([3, 0]))
    assert gap[:, 17:20].all()
    assert int(gap.sum()) == 3 * 40
    assert not gaps(labels, torch.tensor([0, 0])).any()


@pytest.mark.parametrize("radius", [1, 2, 5, 9])
def test_dilation_is_about_round(radius: int) -> None:
    x = torch.zeros(1, 1, 41, 41)
    x[0, 0, 20, 20] = 1
    at = (widest(x, radius)[0, 0] > 0).nonzero() - 20
    assert at.abs().amax() == radius
    assert at.float().norm(dim=1).max() <= 1.45 * radius


# Noise


FLAT = torch.full((256, 256), 0.5)


@pytest.mark.parametrize("name", LIBRARY)
def test_a_noise_comes_back_for_its_seed(name: str) -> None:
    first, again, other = (LIBRARY[name](FLAT, 0.1, seed) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.shape == FLAT.shape


@pytest.mark.parametrize(
    ("name", "intensity", "expected"),
    [("gaussian", 0.25, 0.1), ("gaussian", 1.0, 0.1), ("poisson", 0.25, 0.05), ("poisson", 1.0, 0.1),
     ("speckle", 0.25, 0.025), ("speckle", 1.0, 0.1)],
)  # fmt: skip
def test_how_noise_grows_with_the_intensity(name: str, intensity: float, expected: float) -> None:
    noisy = LIBRARY[name](torch.full((256, 256), intensity), 0.1, 3)
    assert noisy.mean().item() == pytest.approx(intensity, abs=0.002)
    assert noisy.std().item() == pytest.approx(expected, rel=0.03)


def test_rician_noise_lifts_what_is_dark() -> None:
    dark = rician(torch.zeros(256, 256), 0.1, 3)
    assert dark.mean().item() == pytest.approx(0.1 * (torch.pi / 2) ** 0.5, rel=0.02)
    assert dark.min() >= 0


@pytest.mark.parametrize("grain", [0.0, 0.7, 2.0])
def test_grain_keeps_the_strength(grain: float) -> None:
    noise = grainy((256, 256), grain, 4)
    assert noise.std().item() == pytest.approx(1.0, rel=0.06)
    neighbors = (noise[1:] * noise[:-1]).mean()
    assert (neighbors > 0.3) == (grain > 0.5)


def test_perlin_noise_is_zero_on_its_lattice_and_smooth() -> None:
    noise = perlin((1024, 1024), 32, 5)
    assert noise.std().item() == pytest.approx(1.0, rel=0.1)
    assert (noise[1:] - noise[:-1]).abs().max() < 0.35
    assert noise[::32, ::32].abs().max() < 0.12  # half a pixel away from the lattice points


@pytest.mark.parametrize("sigma", [1.0, 3.0, 8.0])
def test_blur_spreads_as_far_as_asked(sigma: float) -> None:
    x = torch.zeros(121, 122)
    x[60, 60] = 1
    out = blur(x, sigma)
    assert out.sum().item() == pytest.approx(1.0, abs=0.01)
    at = torch.arange(121.0) - (out.sum(1) * torch.arange(121.0)).sum()
    assert ((out.sum(1) * at**2).sum() ** 0.5).item() == pytest.approx(sigma, rel=0.12)


def test_a_window_ends_at_0_and_1() -> None:
    out = windowed(torch.linspace(-3, 8, 256 * 256).reshape(256, 256))
    assert (out.min().item(), out.max().item()) == (0, 1)
    assert torch.equal(windowed(torch.full((64, 64), 7.0)), torch.zeros(64, 64))
