"""SynthSeg+'s hierarchy S1 -> D -> S2, as published and on the fast plan."""

from __future__ import annotations

import torch
from torch import nn

from napari_synthseg.networks.hierarchy import Hierarchy, RobustLocateRefine, as_channels, one_hot
from napari_synthseg.networks.locate_refine import located
from napari_synthseg.networks.unet import Denoiser, Level, UNet3d
from tests.inference.fakes import mean_of_four_views


def test_the_papers_denoiser_and_the_codes() -> None:
    paper, code = Denoiser(5), Denoiser(5, growth=2, convolutions=2)
    assert paper.widths == (16,) * 5 and code.widths == (16, 32, 64, 128, 256)
    assert paper.down[0].conv0.kernel_size == (5, 5, 5) and not hasattr(paper.down[0], "conv1")
    assert [level.conv0.in_channels for level in code.up] == [256 + 128, 128 + 64, 64, 32]


def test_nothing_passes_around_the_top_levels() -> None:
    """With the bottleneck's way up cut, the output no longer depends on the input: no skip connection is left."""
    model = Denoiser(3, 2, levels=3, unconnected=2).eval()
    nn.init.zeros_(model.up[-1].conv0.weight)
    first, second = torch.rand(2, 1, 3, 8, 8, 8)
    torch.testing.assert_close(model(first), model(second))


class Bright(nn.Module):
    """Any module will do: two classes, told by the first channel."""

    labels = (0, 7)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([1 - x[:, 0], x[:, 0]], 1)


class Swap(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert set(x.unique().tolist()) <= {0.0, 1.0}
        return x.flip(1) * 0.8 + 0.1


class Sees(nn.Module):
    labels = (0, 5, 9)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.softmax(1)


def test_any_three_modules_make_a_hierarchy() -> None:
    model = Hierarchy(Bright(), Swap(), Sees())
    image = torch.tensor([0.1, 0.9]).view(1, 1, 2, 1, 1)
    s1, denoised, s2 = model.stages(image)
    assert s1.argmax(1).flatten().tolist() == [0, 1]
    assert denoised.argmax(1).flatten().tolist() == [1, 0]
    expected = torch.tensor([[0.1, 0.0, 1.0], [0.9, 1.0, 0.0]]).softmax(1)
    torch.testing.assert_close(s2.flatten(1).view(3, 2).T, expected)
    torch.testing.assert_close(model(image), s2)
    assert model.labels == (0, 5, 9) and model.multiple == 1


def test_its_sizes_must_suit_all_three() -> None:
    assert Hierarchy(UNet3d(2, 2, 3), Denoiser(2, 2, 4), UNet3d(4, 2, 2, 3)).multiple == 8


def test_one_hot_keeps_the_first_of_equals() -> None:
    posteriors = torch.tensor([0.4, 0.4, 0.2]).view(1, 3, 1, 1, 1)
    assert one_hot(posteriors).flatten().tolist() == [1, 0, 0]
    assert as_channels(torch.tensor([[[[2]]]]), 3).flatten().tolist() == [0, 0, 1]


LABELS = (0, 2, 24, 41)


class Small(RobustLocateRefine):
    """Of a small field of view."""

    head_shape = (32, 48, 32)


def small(kind: type[RobustLocateRefine] = Small) -> RobustLocateRefine:
    torch.manual_seed(0)
    return kind(LABELS, (4, 4, 4, 4), (4, 4, 4), (2, 2, 2, 2), 2).eval()


def test_s2_sees_the_image_and_what_d_makes_of_s1() -> None:
    model, seen = small(), []
    model.locator.s2.stem.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    image = torch.rand(1, 1, *model.head_shape)
    with torch.no_grad():
        model.locate(image)
        s1, denoised = model.locator.tissues(image)
    torch.testing.assert_close(seen[0], torch.cat([image, denoised], 1))
    torch.testing.assert_close(s1.sum(1), torch.ones(1, *model.head_shape))
    torch.testing.assert_close(denoised, model.locator.denoiser.logits(s1).softmax(1))


def test_flip_averaging_mirrors_the_whole_hierarchy() -> None:
    model = small()
    image = torch.rand(1, 1, *model.head_shape)
    order = [0, 3, 2, 1]
    with torch.no_grad():
        found = located(model, image, order)[:, 1:, 1:, 1:].float()
        mean = mean_of_four_views(lambda x: model.locate(x)[0], image, order)
    torch.testing.assert_close(found, mean, atol=2e-3, rtol=0)


def test_no_gradient_reaches_s1_and_d() -> None:
    model = small()
    model.locator(torch.rand(1, 1, *model.head_shape)).sum().backward()
    assert model.locator.s2.stem.weight.grad is not None
    parts = [*model.locator.s1.parameters(), *model.locator.denoiser.parameters()]
    assert all(p.grad is None for p in parts)


def test_the_denoiser_keeps_its_statistics_while_others_train() -> None:
    model = small().train()
    norms = [m for m in model.locator.denoiser.modules() if isinstance(m, nn.BatchNorm3d)]
    before = [m.running_mean.clone() for m in norms]
    model.locate(torch.rand(1, 1, *model.head_shape))
    assert all(torch.equal(a, m.running_mean) for a, m in zip(before, norms, strict=True))


# The U-Net


def test_the_published_sizes() -> None:
    assert sum(p.numel() for p in UNet3d(32).parameters()) + _buffers(UNet3d(32)) == 13_242_824
    assert sum(p.numel() for p in UNet3d(33).parameters()) + _buffers(UNet3d(33)) == 13_242_849


def _buffers(model: torch.nn.Module) -> int:
    return sum(b.numel() for name, b in model.named_buffers() if "running" in name)


def test_entering_and_leaving_make_the_whole() -> None:
    torch.manual_seed(0)
    model = UNet3d(5, 4, 3).eval()
    image = torch.rand(1, 1, 8, 12, 8)
    skip, half = model.enter(image)
    assert skip.shape == (1, 4, 8, 12, 8) and half.shape == (1, 4, 4, 6, 4)
    torch.testing.assert_close(model.leave(skip, model.deep(half)).softmax(1), model(image))


def test_levels_know_how_far_they_reach() -> None:
    assert Level(1, 2).reach == 2
    assert Level(1, 2, kernel=5, convolutions=1).reach == 2
