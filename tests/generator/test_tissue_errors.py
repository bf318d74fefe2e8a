"""Tissue maps made wrong: what a record does to true classes."""

from __future__ import annotations

import pytest
import torch

from napari_synthseg.generator.tissue_errors import TissueErrorPriors, TissueErrors, draw_errors, with_errors

RIGHT = TissueErrors(displacement_std=0.0, seed=0, growth=(), blur=0.0)


def ball(side: int = 24, radius: float = 7.0) -> torch.Tensor:
    """Class 1 inside a ball, class 2 in a shell of three voxels around it, background outside."""
    at = torch.arange(side) - side // 2
    r = (at[:, None, None] ** 2 + at[None, :, None] ** 2 + at[None, None] ** 2).float().sqrt()
    return ((r < radius).to(torch.uint8) + 2 * ((r >= radius) & (r < radius + 3)).to(torch.uint8)).contiguous()


def test_a_record_without_errors_gives_the_true_classes() -> None:
    true = ball()
    maps = with_errors(true, RIGHT, 3)
    assert torch.equal(maps.argmax(0), true.long())
    assert maps.unique().tolist() == [0.0, 1.0]


def test_maps_add_up_to_one() -> None:
    errors = draw_errors(TissueErrorPriors(), 3, torch.Generator().manual_seed(5))
    maps = with_errors(ball(), errors, 3, spacing=2.0)
    torch.testing.assert_close(maps.sum(0), torch.ones(24, 24, 24))


@pytest.mark.parametrize(("mm", "spacing"), [(2.0, 1.0), (2.0, 2.0), (4.0, 2.0)])
def test_a_class_grows_and_shrinks_by_so_many_millimetres(mm, spacing) -> None:
    def radius(classes: torch.Tensor) -> float:
        return float((3 * (classes == 1).sum() / (4 * torch.pi)) ** (1 / 3)) * spacing

    def changed(growth: float) -> torch.Tensor:
        return with_errors(ball(), TissueErrors(0.0, 0, ((1, growth),), 0.0), 3, spacing).argmax(0)

    before = radius(ball())
    assert radius(changed(mm)) - before == pytest.approx(mm, abs=0.35 * mm + 0.2)
    assert before - radius(changed(-mm)) == pytest.approx(mm, abs=0.35 * mm + 0.2)


def test_what_a_class_loses_goes_to_its_neighbour() -> None:
    after = with_errors(ball(), TissueErrors(0.0, 0, ((1, -1.0),), 0.0), 3).argmax(0)
    lost = (ball() == 1) & (after != 1)
    assert lost.any() and (after[lost] == 2).all()


def test_bending_moves_borders_and_keeps_classes() -> None:
    errors = TissueErrors(3.0, 7, (), 0.0)
    after = with_errors(ball(), errors, 3).argmax(0)
    assert (after != ball()).float().mean() > 0.01
    assert 0.7 < (after == 1).sum() / (ball() == 1).sum() < 1.4
    assert torch.equal(after, with_errors(ball(), errors, 3).argmax(0))


def test_records_are_drawn_from_their_seed_and_come_back_from_plain_numbers() -> None:
    priors = TissueErrorPriors(change=1.0)
    one, same, other = (draw_errors(priors, 5, torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert one == same != other
    assert sorted(c for c, _ in one.growth) == [1, 2, 3, 4]
    assert all(abs(mm) <= priors.reach for _, mm in one.growth)
    assert not draw_errors(TissueErrorPriors(change=0.0), 5, torch.Generator().manual_seed(1)).growth
    again = TissueErrors.from_dict(one.to_dict())
    assert torch.equal(with_errors(ball(), again, 5), with_errors(ball(), one, 5))
