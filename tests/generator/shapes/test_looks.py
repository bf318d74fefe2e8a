"""The noise library: each noise has the mean and the variance it is known for."""

from __future__ import annotations

import pytest
import torch

from napari_synthseg.generator.shapes.looks import (
    LIBRARY,
    blur,
    grainy,
    perlin,
    rician,
    windowed,
)

FLAT = torch.full((256, 256), 0.5)


@pytest.mark.parametrize("name", LIBRARY)
def test_a_noise_comes_back_for_its_seed(name: str) -> None:
    first, again, other = (LIBRARY[name](FLAT, 0.1, seed) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.shape == FLAT.shape


@pytest.mark.parametrize(
    ("name", "intensity", "expected"),
    [("gaussian", 0.25, 0.1), ("gaussian", 1.0, 0.1), ("poisson", 0.25, 0.05), ("poisson", 1.0, 0.1),
     ("speckle", 0.25, 0.025), ("speckle", 1.0, 0.1)],
)  # fmt: skip
def test_how_noise_grows_with_the_intensity(name: str, intensity: float, expected: float) -> None:
    noisy = LIBRARY[name](torch.full((256, 256), intensity), 0.1, 3)
    assert noisy.mean().item() == pytest.approx(intensity, abs=0.002)
    assert noisy.std().item() == pytest.approx(expected, rel=0.03)


def test_rician_noise_lifts_what_is_dark() -> None:
    dark = rician(torch.zeros(256, 256), 0.1, 3)
    assert dark.mean().item() == pytest.approx(0.1 * (torch.pi / 2) ** 0.5, rel=0.02)
    assert dark.min() >= 0


@pytest.mark.parametrize("grain", [0.0, 0.7, 2.0])
def test_grain_keeps_the_strength(grain: float) -> None:
    noise = grainy((256, 256), grain, 4)
    assert noise.std().item() == pytest.approx(1.0, rel=0.06)
    neighbors = (noise[1:] * noise[:-1]).mean()
    assert (neighbors > 0.3) == (grain > 0.5)


def test_perlin_noise_is_zero_on_its_lattice_and_smooth() -> None:
    noise = perlin((1024, 1024), 32, 5)
    assert noise.std().item() == pytest.approx(1.0, rel=0.1)
    assert (noise[1:] - noise[:-1]).abs().max() < 0.35
    assert noise[::32, ::32].abs().max() < 0.12  # half a pixel away from the lattice points


@pytest.mark.parametrize("sigma", [1.0, 3.0, 8.0])
def test_blur_spreads_as_far_as_asked(sigma: float) -> None:
    x = torch.zeros(121, 122)
    x[60, 60] = 1
    out = blur(x, sigma)
    assert out.sum().item() == pytest.approx(1.0, abs=0.01)
    at = torch.arange(121.0) - (out.sum(1) * torch.arange(121.0)).sum()
    assert ((out.sum(1) * at**2).sum() ** 0.5).item() == pytest.approx(sigma, rel=0.12)


def test_a_window_ends_at_0_and_1() -> None:
    out = windowed(torch.linspace(-3, 8, 256 * 256).reshape(256, 256))
    assert (out.min().item(), out.max().item()) == (0, 1)
    assert torch.equal(windowed(torch.full((64, 64), 7.0)), torch.zeros(64, 64))
