"""Closed Bezier curves, their filling, diffeomorphisms, and label maps with gaps."""

from __future__ import annotations

import math
from dataclasses import replace

import cc3d
import numpy as np
import pytest
import torch
from matplotlib.path import Path as Polygon

from napari_synthseg.generator.shapes.curves import (
    curve,
    diffeomorphism,
    enlarge,
    fill,
    gaps,
    moved,
    spline_matrix,
    touching_regions,
    widest,
)
from napari_synthseg.generator.shapes.layout import Outline

DISC = Outline(0.5, 0.5, 0.3, elongation=1.0, angle=0.0, bend=0.0, roughness=0.0, anchors=16, seed=1)


def filled(points: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
    whole = torch.zeros(shape, dtype=torch.bool)
    found = fill(points, shape)
    if found is not None:
        whole[found[0]] = found[1]
    return whole


def still(rows: int = 40, columns: int = 40) -> torch.Tensor:
    return torch.zeros(2, rows, columns)


def test_a_smooth_outline_is_a_disc() -> None:
    away = (curve(DISC) - 0.5).norm(dim=1)
    assert away.min() > 0.27
    assert away.max() < 0.33


def test_a_curve_is_closed_and_smooth() -> None:
    points = curve(replace(DISC, roughness=0.4, anchors=9), steps=50)
    side = (points.roll(-1, 0) - points).norm(dim=1)
    assert side.max() < 6 * side.mean()  # no jump from the last point to the first
    turn = torch.atan2(*(points.roll(-1, 0) - points).unbind(1))
    change = (turn.roll(-1) - turn + math.pi) % (2 * math.pi) - math.pi
    assert change.abs().max() < 0.6  # no corner where segments meet


def test_elongation_and_angle_are_those_of_the_outline() -> None:
    long = curve(replace(DISC, radius=0.2, elongation=4.0, angle=math.pi / 2))
    rows, columns = (long.amax(0) - long.amin(0)).tolist()
    assert rows / columns == pytest.approx(4.0, rel=0.15)


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


def test_what_lies_outside_the_image_is_nothing() -> None:
    assert fill(curve(DISC) * 50 + 100, (60, 60)) is None


def test_what_is_cut_by_the_border_is_filled_up_to_it() -> None:
    mask = filled(curve(replace(DISC, row=0.0)) * 100, (100, 100))
    assert mask[0].sum() > 50
    assert not mask[40:].any()


def test_spline_weights_sum_to_one_and_keep_straight_lines() -> None:
    at = torch.linspace(1, 6, 41)
    matrix = spline_matrix(at, 8)
    torch.testing.assert_close(matrix.sum(1), torch.ones(41))
    torch.testing.assert_close(matrix @ torch.arange(8.0), at)


def test_enlarging_keeps_a_constant() -> None:
    torch.testing.assert_close(enlarge(torch.full((2, 5, 7), 3.0), (33, 44)), torch.full((2, 33, 44), 3.0))


def test_a_diffeomorphism_does_not_fold() -> None:
    u = diffeomorphism(0.05, 6, 3, (80, 64), side=80.0)
    assert u.abs().max() > 2
    down, right = u[:, 1:, :-1] - u[:, :-1, :-1], u[:, :-1, 1:] - u[:, :-1, :-1]
    # Grid spacings: 80 / 79 rows and 64 / 63 columns in these units.
    determinant = (80 / 79 + down[0]) * (64 / 63 + right[1]) - down[1] * right[0]
    assert determinant.min() > 0


def test_points_move_as_the_field_says() -> None:
    field = torch.stack([torch.full((10, 10), 0.1), torch.full((10, 10), -0.2)])
    at = torch.tensor([[0.3, 0.4]], dtype=torch.float64)
    torch.testing.assert_close(moved(at, field, (1.0, 1.0)), at + torch.tensor([[0.1, -0.2]], dtype=torch.float64))


def test_a_label_map_has_all_labels_and_fills_the_image() -> None:
    labels = touching_regions(6, 5.0, 2, still(), (128, 128), "cpu")
    assert labels.dtype == torch.uint8
    assert set(labels.unique().tolist()) == set(range(6))


def test_regions_of_a_finer_grid_are_smaller() -> None:
    coarse, fine = (
        cc3d.connected_components(touching_regions(6, n, 2, still(), (128, 128), "cpu").numpy() + 1).max()
        for n in (3.0, 12.0)
    )
    assert fine > 2 * coarse


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
