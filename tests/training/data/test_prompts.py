"""Prompts drawn from targets: points on their side of the border, boxes around, masks alike, corrections."""

from __future__ import annotations

import pytest
import torch

from napari_synthseg.training.data.prompts import (
    CELL,
    EDGE,
    Plan,
    Window,
    correction,
    draw_box,
    draw_plan,
    draw_points,
    draw_prompts,
    similar_mask,
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def square(side: int = 128, low: int = 40, high: int = 80) -> torch.Tensor:
    target = torch.zeros(side, side, dtype=torch.bool)
    target[low:high, low:high] = True
    return target


@pytest.mark.parametrize("far", [False, True])
def test_points_lie_on_their_side_of_the_border(far: bool) -> None:
    window, target = Window(64, 32, 128), square()
    given = draw_prompts([target] * 20, [window] * 20, [(256, 256)] * 20, Plan(3, 2, far=far), generator())
    assert given.points is not None and given.labels is not None
    columns, rows = (given.points - torch.tensor([32.0, 64.0])).long().unbind(-1)
    assert torch.equal(target[rows, columns].float(), given.labels)
    assert given.labels.sum(1).tolist() == [3.0] * 20


def test_points_outside_stay_on_the_image() -> None:
    given = draw_prompts([square()] * 50, [Window(0, 0, 128)] * 50, [(128, 90)] * 50, Plan(0, 1, far=True), generator())
    assert given.points is not None
    assert given.points[..., 0].max() < 90


def test_a_target_that_fills_its_window_is_pointed_at_inside_only() -> None:
    full = torch.ones(64, 64, dtype=torch.bool)
    given = draw_prompts([full], [Window(0, 0, 64)], [(64, 64)], Plan(1, 2), generator())
    assert given.labels is not None
    assert given.labels.tolist() == [[1.0, 1.0, 1.0]]


def test_a_tight_box_touches_the_target_and_a_loose_one_is_off_by_a_tenth_at_most() -> None:
    target = square(low=40, high=81)
    assert draw_box(target, True, generator()).tolist() == [40.0, 40.0, 80.0, 80.0]
    loose = torch.stack([draw_box(target, False, generator(i)) for i in range(30)])
    off = (loose - torch.tensor([40.0, 40.0, 80.0, 80.0])).abs()
    assert 0 < off.max() <= 4.0


def test_boxes_and_points_are_in_pixels_of_the_frame() -> None:
    given = draw_prompts([square()], [Window(16, 32, 128)], [(256, 256)], Plan(0, 0, box=True), generator())
    assert given.points is None and given.boxes is not None
    assert given.boxes.tolist() == [[72.0, 56.0, 111.0, 95.0]]


def test_a_mask_prompt_is_like_the_target_and_hardly_ever_it() -> None:
    target = square(256, 80, 160)
    truth = target[::CELL, ::CELL]
    masks = torch.stack([similar_mask(target, generator(i)) for i in range(40)])
    assert masks.shape == (40, 64, 64)
    assert masks.abs().max() <= 10.0
    found = masks > 0
    dice = 2 * (found & truth).sum((1, 2)) / (found.sum((1, 2)) + truth.sum())
    assert dice.median() > 0.7
    assert dice.median() < 0.98


def test_a_correction_lies_amid_the_larger_error_and_says_its_side() -> None:
    truth = torch.zeros(32, 32)
    truth[8:20, 8:20] = 1.0
    nothing, everything = torch.full((32, 32), -1.0), torch.full((32, 32), 1.0)
    at, sign = correction(nothing, truth, generator())
    assert sign == 1.0
    assert truth[tuple((at / CELL).long())] == 1.0
    at, sign = correction(everything, truth, generator())
    assert sign == 0.0
    assert truth[tuple((at / CELL).long())] == 0.0
    assert correction(truth * 2 - 1, truth, generator())[1] == 1.0  # a right answer is confirmed inside


def test_plans_are_mostly_points_and_leave_out_what_is_switched_off() -> None:
    g = generator()
    plans = [draw_plan(g) for _ in range(500)]
    assert 0.6 < sum(not (p.box or p.mask) for p in plans) / 500 < 0.75
    assert all(p.inside for p in plans if not (p.box or p.mask))
    assert not any(p.box or p.mask for p in (draw_plan(g, boxes=False, masks=False) for _ in range(200)))


def test_a_window_cuts_embeddings_and_pixels_alike() -> None:
    window, pixels = Window(32, 16, 64), torch.arange(128 * 128).view(128, 128)
    assert window.of(pixels)[0, 0] == 32 * 128 + 16
    assert window.of(pixels[::16, ::16], 16).shape == (4, 4)
    assert window.of(pixels[::16, ::16], 16)[0, 0] == 32 * 128 + 16


def test_clicks_may_lie_near_the_edge_and_half_of_the_prompts_be_boxes():
    g, target = generator(), square(128, 20, 110)
    points, _ = draw_points(target, Window(0, 0, 128), (128, 128), Plan(inside=20, edge=True), g)
    depth = torch.minimum(points - 20, 109 - points).amin(1)
    assert (depth < EDGE).all() and target[points[:, 0], points[:, 1]].all()
    plans = [draw_plan(g, box_share=0.5, edge_share=0.3) for _ in range(400)]
    assert 0.42 < sum(plan.box for plan in plans) / 400 < 0.6
    clicks = [plan for plan in plans if not plan.box and not plan.mask]
    assert 0.2 < sum(plan.edge for plan in clicks) / len(clicks) < 0.4
    assert not any(draw_plan(g).edge for _ in range(50))
