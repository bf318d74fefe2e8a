"""Expected Dice: 1 where the network is sure, less where it is not."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_synthseg.inference.quality.features import soft_dice

VALUES = (0, 17, 53)


def halves(sure: float) -> tuple[torch.Tensor, np.ndarray]:
    """Two halves, each given to its structure with probability `sure`, the rest to the other one."""
    posteriors = torch.zeros(3, 4, 4, 4)
    posteriors[1, :2], posteriors[2, 2:] = sure, sure
    posteriors[2, :2], posteriors[1, 2:] = 1 - sure, 1 - sure
    labels = np.full((4, 4, 4), 53, np.int16)
    labels[:2] = 17
    return posteriors, labels


@pytest.mark.parametrize("sure", [1.0, 0.75, 0.5])
def test_it_is_as_high_as_the_network_is_sure(sure):
    assert soft_dice(*_in_order(sure)) == pytest.approx({17: sure, 53: sure})


def _in_order(sure: float):
    posteriors, labels = halves(sure)
    return posteriors, VALUES, labels


def test_the_formula_by_hand():
    posteriors = torch.tensor([[0.1, 0.4, 0.7], [0.9, 0.6, 0.3]]).reshape(2, 3, 1, 1)
    hard = np.array([17, 17, 0], np.int16).reshape(3, 1, 1)
    assert soft_dice(posteriors, (0, 17), hard)[17] == pytest.approx(2 * 1.5 / (2 + 1.8))


def test_a_structure_without_voxels():
    posteriors = torch.zeros(3, 2, 2, 2)
    posteriors[0], posteriors[1] = 0.9, 0.1
    assert soft_dice(posteriors, VALUES, np.zeros((2, 2, 2), np.int16)) == {17: 0.0}


def test_half_precision_of_a_large_structure_does_not_overflow():
    posteriors = torch.full((2, 50, 50, 50), 0.8, dtype=torch.float16)
    hard = np.full((50, 50, 50), 17, np.int16)
    assert soft_dice(posteriors, (0, 17), hard)[17] == pytest.approx(1.6 / 1.8, abs=1e-3)
