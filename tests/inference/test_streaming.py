"""The U-Net in slabs is the U-Net at once."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from napari_synthseg.inference import streaming
from napari_synthseg.jobs import Progress, Stopped, run
from napari_synthseg.networks.unet import Denoiser, UNet3d


def shaken(model: nn.Module) -> nn.Module:
    """A network whose batch norms do something."""
    g = torch.Generator().manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm3d):
            for tensor in (module.weight, module.running_var):
                tensor.data = 0.5 + torch.rand(tensor.shape, generator=g)
            for tensor in (module.bias, module.running_mean):
                tensor.data = torch.randn(tensor.shape, generator=g) * 0.3
    return model.eval()


def in_slabs(model, image: torch.Tensor) -> torch.Tensor:
    planes = image[0].permute(1, 2, 3, 0).contiguous()
    found: list[torch.Tensor] = []

    def sink(start: int, part: torch.Tensor) -> None:
        assert start == sum(len(one) for one in found)
        found.append(part)

    run(streaming.slab_steps(model, lambda a, b: planes[a:b], tuple(image.shape[2:]), sink))
    return torch.cat(found).permute(3, 0, 1, 2)[None]


MODELS = {
    "U-Net": lambda: UNet3d(5, 3, 4, in_channels=2),
    "the code's denoiser": lambda: Denoiser(4, 2, 4, growth=2, convolutions=2),
    "the paper's denoiser": lambda: Denoiser(4, 2, 4),
    "one level apart": lambda: UNet3d(3, 2, 2),
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("height", [4, 6, 100])
def test_slabs_are_exact(name, height, monkeypatch):
    monkeypatch.setattr(streaming, "slab_height", lambda shape, width: min(shape[0], height))
    torch.manual_seed(0)
    model = shaken(MODELS[name]())
    image = torch.randn(1, model.in_channels, 32, 8, 16)
    with torch.inference_mode():
        whole = model(image)
    torch.testing.assert_close(in_slabs(model, image), whole, rtol=0, atol=2e-6)


def test_slabs_are_even_and_fit():
    assert streaming.slab_height((160, 160, 160), 24, 48 << 20) == 20
    assert streaming.slab_height((8, 512, 512), 24, 1) == 4
    assert streaming.slab_height((16, 8, 8), 24) == 16


def test_stopping_takes_one_slab_at_most(monkeypatch):
    monkeypatch.setattr(streaming, "slab_height", lambda shape, width: 4)
    reports: list[Progress] = []
    asked: list[int] = []

    def source(start: int, stop: int) -> torch.Tensor:
        asked.append(start)
        return torch.zeros(stop - start, 8, 8, 1)

    model = shaken(UNet3d(3, 2, 3))
    job = streaming.slab_steps(
        model, lambda a, b: asked.append(a) or torch.zeros(b - a, 8, 8, 1), (32, 8, 8), lambda *_: None
    )
    with pytest.raises(Stopped):
        run(job, reports.append, lambda: len(reports) > 2)
    assert len(asked) == 2
    assert all(report.done <= report.total for report in reports)
