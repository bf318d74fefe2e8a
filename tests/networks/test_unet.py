"""SynthSeg's U-Net: its size, and its top level taken apart. `tests/weights` has it against the reference."""

from __future__ import annotations

import torch

from napari_synthseg.networks.unet import Level, UNet3d


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
