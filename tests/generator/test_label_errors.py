"""Tissue maps made wrong: what a record does to true classes."""

from __future__ import annotations

import json

import pytest
import torch

from napari_synthseg.generator.degradation import TISSUE_ERRORS, tissue_errors, with_errors
from napari_synthseg.generator.model import Record


def errors(displacement_std: float = 0.0, growth: tuple[tuple[int, float], ...] = ()) -> dict:
    return {"displacement_std": displacement_std, "seed": 7, "growth": growth, "blur": 0.0}


def ball(side: int = 24, radius: float = 7.0) -> torch.Tensor:
    """Class 1 inside a ball, class 2 in a shell of three voxels around it, background outside."""
    at = torch.arange(side) - side // 2
    r = (at[:, None, None] ** 2 + at[None, :, None] ** 2 + at[None, None] ** 2).float().sqrt()
    return ((r < radius).to(torch.uint8) + 2 * ((r >= radius) & (r < radius + 3)).to(torch.uint8)).contiguous()


def test_a_record_without_errors_gives_the_true_classes() -> None:
    true = ball()
    maps = with_errors(true, **errors(), count=3)
    assert torch.equal(maps.argmax(0), true.long())
    assert maps.unique().tolist() == [0.0, 1.0]


def test_maps_add_up_to_one() -> None:
    maps = tissue_errors(ball(), TISSUE_ERRORS.sample(seed=5), spacing=2.0)
    torch.testing.assert_close(maps.sum(0), torch.ones(24, 24, 24))


@pytest.mark.parametrize(("mm", "spacing"), [(2.0, 1.0), (2.0, 2.0), (4.0, 2.0)])
def test_a_class_grows_and_shrinks_by_so_many_millimetres(mm, spacing) -> None:
    def radius(classes: torch.Tensor) -> float:
        return float((3 * (classes == 1).sum() / (4 * torch.pi)) ** (1 / 3)) * spacing

    def changed(growth: float) -> torch.Tensor:
        return with_errors(ball(), **errors(growth=((1, growth),)), count=3, spacing=spacing).argmax(0)

    before = radius(ball())
    assert radius(changed(mm)) - before == pytest.approx(mm, abs=0.35 * mm + 0.2)
    assert before - radius(changed(-mm)) == pytest.approx(mm, abs=0.35 * mm + 0.2)


def test_what_a_class_loses_goes_to_its_neighbor() -> None:
    after = with_errors(ball(), **errors(growth=((1, -1.0),)), count=3).argmax(0)
    lost = (ball() == 1) & (after != 1)
    assert lost.any() and (after[lost] == 2).all()


def test_bending_moves_borders_and_keeps_classes() -> None:
    after = with_errors(ball(), **errors(3.0), count=3).argmax(0)
    assert (after != ball()).float().mean() > 0.01
    assert 0.7 < (after == 1).sum() / (ball() == 1).sum() < 1.4
    assert torch.equal(after, with_errors(ball(), **errors(3.0), count=3).argmax(0))


def test_records_are_drawn_from_their_seed_and_come_back_from_plain_numbers() -> None:
    all_classes = TISSUE_ERRORS.with_values(change=1.0)
    one, same, other = (all_classes.sample(seed=seed) for seed in (1, 1, 2))
    assert one == same != other
    growth = one["label_errors"]["growth"]
    assert sorted(c for c, _ in growth) == [1, 2, 3, 4]
    assert all(abs(mm) <= 4 for _, mm in growth)
    assert not TISSUE_ERRORS.with_values(change=0.0).sample(seed=1)["label_errors"]["growth"]
    again = Record.from_dict(json.loads(json.dumps(one.to_dict())))
    assert torch.equal(tissue_errors(ball(), again), tissue_errors(ball(), one))
