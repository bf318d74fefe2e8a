"""Views of crops, the heads that look at them, and the contrast between them."""

from __future__ import annotations

import pytest
import torch

from napari_synthseg.networks.pretraining import SwinPretexts, contrastive_loss
from napari_synthseg.networks.transformers import SwinUnetr
from napari_synthseg.training.objectives.pretext import SwinViews, cut_out, random_holes, turned

SIZES = {"edge": 64, "features": 12, "depths": (1, 1, 1, 1), "heads": (1, 1, 2, 2), "window": 4, "field": 64}


def ramps(g: torch.Generator) -> torch.Tensor:
    """Crops that grow brighter from left to right, at a random slope."""
    return (torch.linspace(0, 1, 64) * torch.rand((), generator=g))[:, None, None].expand(64, 64, 64)


def test_holes_have_the_share_asked_for() -> None:
    for share in (0.1, 0.3, 0.6):
        holes = random_holes((32, 32, 32), share, torch.Generator().manual_seed(3))
        assert share <= float(holes.float().mean()) < share + 0.25**3


def test_what_is_outside_the_holes_stays() -> None:
    images = torch.full((2, 1, 16, 16, 16), 2.0)
    seen, holes = cut_out(images, 0.3, torch.Generator().manual_seed(0))
    assert (seen[~holes] == 2).all() and (seen[holes] <= 1).all() and holes[0].sum() != holes[1].sum()


def test_turns_are_about_the_axis_from_feet_to_head() -> None:
    images = torch.rand(4, 1, 4, 4, 4)
    out = turned(images, torch.arange(4))
    torch.testing.assert_close(out[0], images[0])
    torch.testing.assert_close(out[1, 0, :, :, 2], torch.rot90(images[1, 0, :, :, 2]))
    torch.testing.assert_close(out[2], images[2].flip(1, 2))


def test_the_contrast_is_simclrs() -> None:
    first, second = torch.randn(3, 5), torch.randn(3, 5)
    z = torch.nn.functional.normalize(torch.cat([first, second]), dim=1)
    total = 0.0
    for i in range(6):
        others = [j for j in range(6) if j != i]
        likeness = torch.tensor([float(z[i] @ z[j]) / 0.2 for j in others])
        total -= float(likeness.log_softmax(0)[others.index((i + 3) % 6)])
    torch.testing.assert_close(contrastive_loss(first, second, 0.2), torch.tensor(total / 6))
    assert contrastive_loss(first, first) < contrastive_loss(first, first.roll(1, 0))


def test_three_losses_move_the_encoder() -> None:
    pytest.importorskip("monai")
    torch.manual_seed(0)
    model = SwinPretexts(SwinUnetr(1, **SIZES))
    recipe = SwinViews(model, ramps, ramps, seed=1, batch=2, device="cpu")
    loss, figures = recipe.loss(0)
    assert float(loss.detach()) == pytest.approx(sum(figures.values()), rel=1e-5)
    assert set(figures) == {"inpainting", "rotation", "contrast"}
    loss.backward()
    assert all(one.grad is not None for one in model.parameters())
    recipe.fixed = recipe.fixed[:1]
    with torch.no_grad():
        scores = recipe.validate(model.eval())
        row = recipe.picture(3)["image"]
    assert scores["score"] < 1 and scores["rotations_told"] in (0.0, 1.0) and row.shape == (192, 64, 64)
