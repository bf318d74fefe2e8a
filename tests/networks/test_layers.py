"""Layers that torch lacks: they give what torch gives."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from napari_synthseg.networks.layers import InstanceNorm, convolve_upsampled, folded
from napari_synthseg.networks.unet import Denoiser, UNet3d


def image() -> torch.Tensor:
    g = torch.Generator().manual_seed(0)
    return torch.randn(2, 3, 4, 3, 2, generator=g, dtype=torch.float64).requires_grad_()


def norm() -> InstanceNorm:
    layer = InstanceNorm(3).double()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([0.5, 1.0, -2.0]))
    return layer


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_it_is_torch_s(dtype) -> None:
    x, layer = image().to(dtype), norm().to(dtype)
    expected = torch.nn.functional.instance_norm(x, weight=layer.weight, bias=layer.bias, eps=layer.eps)
    torch.testing.assert_close(layer(x), expected)
    g = torch.randn(x.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)
    inputs = (x, layer.weight, layer.bias)
    # The fast pass adds in float32.
    torch.testing.assert_close(
        torch.autograd.grad(layer(x), inputs, g), torch.autograd.grad(expected, inputs, g), atol=1e-5, rtol=1e-5
    )


def test_its_gradient_can_be_differentiated() -> None:
    x, layer = image(), norm()
    weight, bias = layer.weight.detach().requires_grad_(), layer.bias.detach().requires_grad_()

    def normed(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(layer, {"weight": weight, "bias": bias}, (x,))

    assert torch.autograd.gradgradcheck(normed, (x, weight, bias))


def upsampled(x: torch.Tensor) -> torch.Tensor:
    return F.interpolate(x, scale_factor=2, mode="nearest")


@pytest.mark.parametrize("edge", [3, 5])
@pytest.mark.parametrize("shape", [(5, 4, 7), (1, 2, 1)])
def test_the_result_is_that_of_upsampling(edge, shape):
    g = torch.Generator().manual_seed(edge)
    x, weight = torch.randn(1, 6, *shape, generator=g), torch.randn(3, 6, edge, edge, edge, generator=g)
    theirs = F.conv3d(upsampled(x), weight, padding=edge // 2)
    torch.testing.assert_close(convolve_upsampled(x, folded(weight)), theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("edge", [3, 5])
def test_neighbors_may_come_along(edge):
    g = torch.Generator().manual_seed(edge)
    x, weight = torch.randn(1, 2, 6, 3, 3, generator=g), torch.randn(3, 2, edge, edge, edge, generator=g)
    theirs = F.conv3d(upsampled(x), weight, padding=edge // 2)
    theirs = theirs[:, :, 1:-1] if edge == 3 else theirs[:, :, 2:-2]
    torch.testing.assert_close(convolve_upsampled(x, folded(weight), padded=True), theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("model", [UNet3d(5, 3, 3), Denoiser(4, 2, 4, growth=2, convolutions=2)])
def test_predicting_is_what_was_trained(model):
    model.eval()
    image = torch.rand(1, model.in_channels, 8, 16, 8)
    trained = model(image).detach()
    with torch.no_grad():
        torch.testing.assert_close(model(image), trained, rtol=0, atol=1e-5)
