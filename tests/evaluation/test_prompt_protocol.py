"""Prompts drawn from a true mask: where they lie, for tiny and huge structures too, and that they are repeatable."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

from napari_synthseg.evaluation.prompt_protocol import generator_for, prompts_for, tight_box

SHAPE = (120, 160)


def disc(radius: float, centre: tuple[int, int] = (60, 80)) -> np.ndarray:
    rows, columns = np.ogrid[: SHAPE[0], : SHAPE[1]]
    return (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= radius**2


def ring() -> np.ndarray:
    return disc(30) & ~disc(20)


def drawn(mask, n_pos, n_neg, sampling="band", seed=0):
    points, positive = prompts_for(mask, n_pos, n_neg, generator_for(seed), sampling)
    return points[positive], points[~positive]


def pixel() -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[0, 159] = True
    return mask


STRUCTURES = {"disc": disc(30), "ring": ring(), "at the edge": disc(30, (0, 0)), "small": disc(3), "pixel": pixel()}


@pytest.mark.parametrize("sampling", ["band", "far"])
@pytest.mark.parametrize("name", STRUCTURES)
def test_positives_are_inside_and_negatives_never(name, sampling):
    mask = STRUCTURES[name]
    for seed in range(20):
        inside, outside = drawn(mask, 3, 2, sampling, seed)
        assert mask[tuple(inside.T)].all()
        assert not mask[tuple(outside.T)].any()
        assert len(inside) == min(3, mask.sum()) and len(outside) == 2


def test_positives_are_spread_over_the_whole_structure():
    mask = disc(40)
    rows, _ = np.concatenate([drawn(mask, 3, 0, seed=seed)[0] for seed in range(1000)]).T
    inner = np.mean([disc(20)[tuple(p)] for seed in range(1000) for p in drawn(mask, 1, 0, seed=seed)[0]])
    assert abs(rows.mean() - 60) < 2
    assert abs(inner - 0.25) < 0.05  # a quarter of the area


def test_a_band_lies_around_the_structure_and_far_points_beyond_it():
    mask = disc(30)
    distance = distance_transform_edt(~mask)
    near = np.concatenate([drawn(mask, 1, 2, "band", seed)[1] for seed in range(200)])
    far = np.concatenate([drawn(mask, 1, 2, "far", seed)[1] for seed in range(200)])
    of_near, of_far = distance[tuple(near.T)], distance[tuple(far.T)]
    assert of_near.min() > 2.9 and of_near.max() < 15.1  # a tenth and a half of the radius
    assert of_far.min() > 14.9
    assert of_near.max() > 13 and of_far.max() > 50


def test_around_a_small_structure_the_band_leaves_a_gap_and_has_a_width():
    distance = distance_transform_edt(~disc(1))
    near = np.concatenate([drawn(disc(1), 1, 2, "band", seed)[1] for seed in range(200)])
    of_near = distance[tuple(near.T)]
    assert of_near.min() >= 2 and 5 < of_near.max() <= 6


@pytest.mark.parametrize("sampling", ["band", "far"])
def test_a_structure_that_fills_the_image_leaves_what_there_is_outside(sampling):
    full = np.ones((8, 8), bool)
    inside, outside = drawn(full, 3, 2, sampling)
    assert len(inside) == 3 and len(outside) == 0
    full[0, 0] = False
    assert drawn(full, 1, 2, sampling)[1].tolist() == [[0, 0]]


def test_no_point_is_drawn_twice():
    mask = np.zeros((5, 5), bool)
    mask[2, 1:4] = True
    inside, _ = drawn(mask, 3, 0)
    assert {tuple(p) for p in inside} == {(2, 1), (2, 2), (2, 3)}


def test_the_same_seed_and_names_give_the_same_points_and_others_do_not():
    def points(*names):
        return prompts_for(disc(40), 3, 2, generator_for(*names))[0].tolist()

    first = points(0, "a.png", "(3,2)")
    assert points(0, "a.png", "(3,2)") == first
    others = [points(1, "a.png", "(3,2)"), points(0, "b.png", "(3,2)"), points(0, "a.png", "(1,2)")]
    assert all(other != first for other in others)
    assert generator_for(0, "ab", "c").random() != generator_for(0, "a", "bc").random()


def test_the_box_goes_through_the_outermost_pixels_and_has_an_extent():
    mask = np.zeros(SHAPE, bool)
    mask[10:21, 30:51] = True
    assert tight_box(mask) == (10, 30, 20, 50)
    assert tight_box(pixel()) == (-0.5, 158.5, 0.5, 159.5)


def test_an_empty_mask_has_no_prompts():
    empty = np.zeros((4, 4), bool)
    with pytest.raises(ValueError, match="empty"):
        prompts_for(empty, 1, 0, generator_for(0))
    with pytest.raises(ValueError, match="empty"):
        tight_box(empty)
