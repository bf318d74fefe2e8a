"""Learn2Synth's augmenters: residual, seeded, as strong as they say, in two and three dimensions."""

from __future__ import annotations

import pytest
import torch

from napari_synthseg.networks.augmenter import Noise, NoiseAndBias, SmallUNet, UNetAndNoise, build_augmenter

SHAPES = {2: (3, 1, 16, 12), 3: (3, 1, 8, 12, 8)}


def g(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("name", ["none", "noise", "bias", "unet"])
@pytest.mark.parametrize("varying", [False, True])
def test_images_keep_their_shape_and_a_seed_its_noise(name, dimensions, varying) -> None:
    augmenter = build_augmenter(name, dimensions, 0.1, varying)
    images = torch.rand(SHAPES[dimensions], generator=g())
    once = augmenter(images, g(1))
    assert once.shape == images.shape
    assert torch.equal(once, augmenter(images, g(1)))
    assert torch.equal(once, augmenter(images, g(2))) == (name == "none")
    learned = list(augmenter.parameters())
    assert bool(learned) == (name != "none")
    once.square().sum().backward() if learned else None
    assert all(p.grad is not None for p in learned)


def test_noise_is_as_strong_as_it_says() -> None:
    noise = Noise(0.07)
    added = noise(torch.zeros(2, 1, 100, 100), g())
    assert float(added.detach().std()) == pytest.approx(0.07, rel=0.05)
    assert noise.figures() == {"sigma": pytest.approx(0.07)}
    with torch.no_grad():
        noise.sigma.ends.neg_()
    assert noise.figures() == {"sigma": pytest.approx(0.07)}, "the sign means nothing"


def test_varying_noise_differs_between_images_within_its_ends() -> None:
    noise = Noise(0.1, varying=True)
    stds = noise(torch.zeros(50, 1, 60, 60), g()).detach().std((1, 2, 3))
    figures = noise.figures()
    assert figures == {"sigma_low": pytest.approx(0.05), "sigma_high": pytest.approx(0.15)}
    assert 0.045 < stds.min() < 0.06 and 0.14 < stds.max() < 0.16


@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_bias_field_is_smooth_and_multiplies(dimensions) -> None:
    augmenter = NoiseAndBias(0.0, 0.3)
    images = torch.ones(SHAPES[dimensions])
    field = augmenter(images, g()).detach().log()
    assert 0.05 < field.std() < 0.6
    assert field.diff(dim=2).abs().max() < 0.5 * (field.max() - field.min())
    assert not augmenter(torch.zeros_like(images), g()).any()
    assert set(augmenter.figures()) == {"sigma", "bias"}


def test_the_small_unet_changes_nothing_at_first_and_learns() -> None:
    torch.manual_seed(0)
    augmenter, images = UNetAndNoise(2, 0.0), torch.rand(SHAPES[2], generator=g())
    assert torch.equal(augmenter(images, g()), images)
    optimizer = torch.optim.Adam(augmenter.parameters(), lr=2e-2)
    for _ in range(100):  # to make images darker
        optimizer.zero_grad()
        loss = (augmenter(images, g()) - 0.5 * images).square().mean()
        loss.backward()
        optimizer.step()
    assert loss < 0.3 * (0.5 * images).square().mean()


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("norm", [False, True])
def test_small_unet_of_any_size(dimensions, norm) -> None:
    net = SmallUNet(dimensions, 2, 5, (4, 6, 8), norm)
    assert net.multiple == 4
    assert net(torch.rand(1, 2, *[8] * dimensions)).shape == (1, 5, *[8] * dimensions)
