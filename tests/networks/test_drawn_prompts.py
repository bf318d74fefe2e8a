"""Points and boxes drawn on a mask prompt: where, in which order, and in windows of a frame."""

from __future__ import annotations

import torch

from napari_synthseg.networks.prompt_layers import OUTSIDE, SURE, drawn_prompts


def test_a_point_is_a_disc_of_its_sign() -> None:
    points, labels = torch.tensor([[[40.0, 80.0], [100.0, 20.0]]]), torch.tensor([[1, 0]])
    drawn = drawn_prompts(128, points, labels)
    assert drawn.shape == (1, 1, 32, 32)
    assert drawn[0, 0, 20, 10] == SURE
    assert drawn[0, 0, 5, 25] == -SURE
    assert 15 <= (drawn == SURE).sum() <= 25


def test_points_of_one_sign_leave_the_rest_unknown() -> None:
    drawn = drawn_prompts(128, torch.tensor([[[40.0, 80.0], [100.0, 20.0]]]), torch.tensor([[1, 1]]))
    assert set(drawn.unique().tolist()) == {0.0, SURE}


def test_between_points_of_both_signs_the_nearer_one_counts() -> None:
    points = torch.tensor([[[40.0, 64.0], [16.0, 16.0], [100.0, 64.0]]])
    drawn = drawn_prompts(128, points, torch.tensor([[1, 1, 0]]))[0, 0]
    row = drawn[16, 10:25]
    assert (row.diff() <= 0).all()
    assert row[0] == SURE
    assert row[-1] == -SURE
    assert abs(drawn[15:17, 17].mean()) < 0.5  # half-way
    assert drawn.isfinite().all()


def test_a_mask_says_more_than_distances_from_points() -> None:
    masks = torch.full((1, 1, 32, 32), -3.0)
    drawn = drawn_prompts(128, torch.tensor([[[40.0, 64.0], [100.0, 64.0]]]), torch.tensor([[1, 0]]), masks=masks)
    assert set(drawn.unique().tolist()) == {-SURE, -3.0, SURE}


def test_beyond_a_box_is_outside() -> None:
    drawn = drawn_prompts(128, boxes=torch.tensor([[40.0, 80.0, 79.0, 119.0]]))[0, 0]
    inside = torch.zeros(32, 32, dtype=torch.bool)
    inside[20:30, 10:20] = True
    assert (drawn[inside] == 0).all()
    assert (drawn[~inside] == OUTSIDE).all()


def test_points_lie_on_boxes_and_boxes_on_masks() -> None:
    masks = torch.full((1, 1, 32, 32), 5.0)
    box, point = torch.tensor([[0.0, 0.0, 63.0, 127.0]]), torch.tensor([[[100.0, 64.0]]])
    drawn = drawn_prompts(128, point, torch.tensor([[1]]), box, masks)[0, 0]
    assert drawn[4, 4] == 5.0
    assert drawn[4, 25] == OUTSIDE
    assert drawn[16, 25] == SURE


def test_a_place_holder_draws_nothing() -> None:
    drawn = drawn_prompts(64, torch.tensor([[[30.0, 30.0]]]), torch.tensor([[-1]]))
    assert not drawn.any()
