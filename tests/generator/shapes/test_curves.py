"""Closed Bezier curves, their filling, diffeomorphisms, and label maps with gaps."""

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
