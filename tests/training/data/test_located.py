"""Located heads in hand are a function of the step alone."""

from __future__ import annotations

import pytest
import torch

from napari_synthseg.generator.labelmap import prepare
from napari_synthseg.generator.presets import preset
from napari_synthseg.networks.locate_refine import LocateRefine
from napari_synthseg.training.data.synthetic import Heads, located_heads
from napari_synthseg.training.objectives.locate_refine import Refine
from tests.generator.builders import boxes

LABELS = (0, 2, 24, 41)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model() -> LocateRefine:
    torch.manual_seed(0)
    return LocateRefine(LABELS, (2, 2, 2, 2), (2, 2, 2))


@pytest.fixture(scope="module")
def heads() -> Heads:
    return Heads([prepare(boxes(side=24), name="map")], preset("fast"), LABELS, device="cpu")


def test_heads_in_hand_are_the_same_after_a_jump(model, heads) -> None:
    walked, jumped = (located_heads(model, heads, 1, 2, 2, CPU) for _ in range(2))
    counts = [len(walked.at(step)) for step in range(4)]
    assert counts == [2, 2, 2, 2]  # from the first step on
    for a, b in zip(walked.at(3), jumped.at(3), strict=True):
        assert torch.equal(a.posteriors, b.posteriors) and torch.equal(a.head.image, b.head.image)
    assert walked.at(3)[0] is walked.at(2)[0]


def test_crops_of_a_step_are_of_different_heads_and_repeat(model, heads) -> None:
    options = {"seed": 1, "batch": 4, "device": "cpu", "validation": lambda m: {}}
    losses = [float(Refine(model, heads, held=2, **options).loss(3)[0].detach()) for _ in range(2)]
    assert losses[0] == losses[1]
    crops = Refine(model, heads, held=2, **options).crops(torch.Generator().manual_seed(0), 3)
    assert len({tuple(one.flatten().tolist()) for one in crops.appearance}) == 2


def test_low_quality_heads_come_with_their_probability(heads) -> None:
    bad = preset("fast").with_values(noise_std=(90.0, 99.0))
    mixed = Heads(heads.maps, preset("fast"), LABELS, device="cpu", low_quality=(0.25, bad))
    g = torch.Generator().manual_seed(0)
    noise = [mixed.draw(g)[0]["acquisition"]["noise_std"] for _ in range(200)]
    assert 0.15 < sum(one >= 90 for one in noise) / 200 < 0.35
