"""Losses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from napari_synthseg.training.engine.losses import dice_and_cross_entropy, soft_dice_loss
from tests.shared_data import SHARED


def random_case(k: int = 4):
    g = torch.Generator().manual_seed(0)
    return torch.randn(2, k, 3, 4, 5, generator=g), torch.randint(k, (2, 3, 4, 5), generator=g)


def test_soft_dice_of_the_truth_is_zero_and_of_its_opposite_one() -> None:
    _, target = random_case(2)
    onehot = F.one_hot(target, 2).movedim(-1, 1).float()
    assert soft_dice_loss(onehot, target).item() == pytest.approx(0.0, abs=1e-6)
    assert soft_dice_loss(1 - onehot, target).item() == pytest.approx(1.0, abs=1e-6)


@pytest.mark.skipif(SHARED is None, reason="needs the reference data")
def test_soft_dice_is_the_reference_s() -> None:
    z = np.load(SHARED / "reference" / "golden" / "generator_ops.npz")
    posteriors = torch.from_numpy(z["loss_pred"]).movedim(-1, 0)[None]
    found = soft_dice_loss(posteriors, torch.from_numpy(z["loss_gt"])[None])
    assert found.item() == pytest.approx(float(z["dice_loss"]), abs=1e-4)


def test_cross_entropy_is_torch_s_and_dice_counts_present_labels() -> None:
    logits, target = random_case()
    weights = torch.tensor([1.0, 2.0, 3.0, 4.0])
    entropy, dice = dice_and_cross_entropy(logits, target, weights)
    assert entropy.item() == pytest.approx(F.cross_entropy(logits, target, weights).item(), rel=1e-5)
    assert 0 < dice.item() < 1
    sure = 50.0 * F.one_hot(target, 4).movedim(-1, 1).float()
    assert dice_and_cross_entropy(sure, target)[1].item() == pytest.approx(0.0, abs=1e-3)
    only_background = torch.zeros_like(target)
    assert dice_and_cross_entropy(logits, only_background)[1].item() == 0.0
