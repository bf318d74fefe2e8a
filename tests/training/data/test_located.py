"""Located heads in hand are a function of the step, and priors made wrong are still priors."""

from __future__ import annotations

import pytest
import torch

from napari_synthseg.generator.labelmap import prepare
from napari_synthseg.generator.presets import preset
from napari_synthseg.networks.locate_refine import LocateRefine
from napari_synthseg.training.data.synthetic import Heads, LocatedHeads, PriorErrors
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


def prior() -> torch.Tensor:
    """Two boxes of labels beside each other, sure of themselves."""
    classes = torch.zeros(16, 16, 16, dtype=torch.long)
    classes[4:8, 4:12, 4:12], classes[8:12, 4:12, 4:12] = 1, 2
    return 0.97 * torch.nn.functional.one_hot(classes, 4).movedim(-1, 0).float() + 0.0075


def wrong(**errors: float) -> torch.Tensor:
    made = PriorErrors(**errors).apply(prior(), torch.Generator().manual_seed(2))
    assert torch.allclose(made.sum(0), torch.ones(16, 16, 16), atol=1e-4) and (made >= 0).all()
    return made


def test_heads_in_hand_are_the_same_after_a_jump(model, heads) -> None:
    walked, jumped = (LocatedHeads(model, heads, seed=1, size=2, steps=2, device=CPU) for _ in range(2))
    counts = [len(walked.at(step)) for step in range(4)]
    assert counts == [2, 2, 2, 2]  # from the first step on
    for a, b in zip(walked.at(3), jumped.at(3), strict=True):
        assert torch.equal(a.posteriors, b.posteriors) and torch.equal(a.head.image, b.head.image)
    assert walked.at(3)[0] is walked.at(2)[0]


def test_crops_of_a_step_are_of_different_heads_and_repeat(model, heads) -> None:
    options = {"seed": 1, "batch": 4, "device": "cpu", "validation": lambda m: {}, "errors": PriorErrors(drop=1.0)}
    losses = [float(Refine(model, heads, held=2, **options).loss(3)[0].detach()) for _ in range(2)]
    assert losses[0] == losses[1]
    crops = Refine(model, heads, held=2, **options).crops(torch.Generator().manual_seed(0), 3)
    assert len({tuple(one.flatten().tolist()) for one in crops.appearance}) == 2


def test_nothing_happens_to_a_prior_that_is_left_alone() -> None:
    assert not PriorErrors()
    assert torch.allclose(PriorErrors(blur=1e-9).apply(prior(), torch.Generator().manual_seed(0)), prior(), atol=1e-5)


@pytest.mark.parametrize("kind", ["blur", "deform", "erode", "swap", "drop"])
def test_a_prior_is_made_wrong_as_declared(kind) -> None:
    before, after = prior(), wrong(**{kind: 1.0})
    size = [int((after.argmax(0) == k).sum()) for k in (1, 2)]
    if kind == "drop":
        assert 0 in size and max(size) == 256
    elif kind == "erode":
        assert sorted(size)[0] < 256 <= sorted(size)[1]
    elif kind == "swap":
        assert torch.equal(after.argmax(0) == 1, before.argmax(0) == 2)
    else:
        assert not torch.allclose(after, before, atol=0.05) and min(size) > 100


def test_low_quality_heads_come_with_their_probability(heads) -> None:
    bad = preset("fast").with_values(noise_std=(90.0, 99.0))
    mixed = Heads(heads.maps, preset("fast"), LABELS, device="cpu", low_quality=(0.25, bad))
    g = torch.Generator().manual_seed(0)
    noise = [mixed.draw(g)[0]["acquisition"]["noise_std"] for _ in range(200)]
    assert 0.15 < sum(one >= 90 for one in noise) / 200 < 0.35
