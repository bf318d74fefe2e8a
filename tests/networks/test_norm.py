"""The fast instance normalisation: torch's values, gradients and gradients of gradients."""

from __future__ import annotations

import torch

from napari_synthseg.networks.layers import InstanceNorm


def image() -> torch.Tensor:
    g = torch.Generator().manual_seed(0)
    return torch.randn(2, 3, 4, 3, 2, generator=g, dtype=torch.float64).requires_grad_()


def norm() -> InstanceNorm:
    layer = InstanceNorm(3).double()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([0.5, 1.0, -2.0]))
    return layer


def test_it_is_torch_s() -> None:
    x, layer = image(), norm()
    expected = torch.nn.functional.instance_norm(x, weight=layer.weight, bias=layer.bias, eps=layer.eps)
    torch.testing.assert_close(layer(x), expected)
    g = torch.randn(x.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
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
