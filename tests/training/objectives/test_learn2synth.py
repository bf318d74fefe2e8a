"""The hypergradient against finite differences through real steps of `torch.optim`, in float64."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from napari_synthseg.networks.augmenter import Augmenter, SmallUNet, build_augmenter
from napari_synthseg.networks.layers import InstanceNorm
from napari_synthseg.networks.subvoxel import SubvoxelUNet
from napari_synthseg.networks.unet import UNet3d
from napari_synthseg.training.engine.losses import soft_dice_loss
from napari_synthseg.training.objectives.learn2synth import (
    Batch,
    learning,
    moved_parameters,
    two_passes,
    with_gradients,
)

SIZES = {2: (8, 8), 3: (4, 4, 4)}


class Posteriors(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.net(image).softmax(1)


def loss(posteriors: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    flat = posteriors if posteriors.dim() == 5 else posteriors[..., None]
    return soft_dice_loss(flat, target if target.dim() == 4 else target[..., None])


def batch(dimensions: int, seed: int) -> Batch:
    g = torch.Generator().manual_seed(seed)
    target = torch.randint(3, (2, *SIZES[dimensions]), generator=g)
    noise = torch.randn(target.shape, generator=g, dtype=torch.float64)
    return (0.3 * target + 0.1 * noise)[:, None], target


def segmenter_of(kind: str) -> nn.Module:
    torch.manual_seed(0)
    if kind == "unet3d":  # batch norm, ELU in place
        return UNet3d(3, 2, 2).double().train()
    return Posteriors(SmallUNet(int(kind[0]), 1, 3, (3, 3), norm=True)).double().train()


def optimizer_of(kind: str, net: nn.Module) -> torch.optim.Optimizer:
    parameters = list(learning(net).values())
    if kind == "sgd":
        return torch.optim.SGD(parameters, lr=0.5, momentum=0.9, weight_decay=0.01)
    return torch.optim.Adam(parameters, lr=0.02, eps=1e-7, weight_decay=0.01)


def noise() -> torch.Generator:
    return torch.Generator().manual_seed(5)


def step(net, augmenter, optimizer, synthetic) -> None:
    """An ordinary training step."""
    optimizer.zero_grad()
    loss(net(augmenter(synthetic[0], noise())), synthetic[1]).backward()
    optimizer.step()


def after_a_step(net: nn.Module, augmenter: Augmenter, optimizer, synthetic: Batch, real: Batch) -> float:
    """The real loss after torch's own optimizer made the inner step, on copies."""
    twin, other = copy.deepcopy((net, optimizer))
    step(twin, augmenter, other, synthetic)
    with torch.no_grad():
        return float(loss(twin(real[0]), real[1]))


@pytest.mark.parametrize("inner", ["sgd", "adam"])
@pytest.mark.parametrize(
    ("kind", "augmenter"), [("2d", "noise"), ("2d", "bias"), ("2d", "unet"), ("3d", "unet"), ("unet3d", "bias")]
)
def test_it_is_the_slope_of_the_real_loss_after_the_step(kind, augmenter, inner) -> None:
    net = segmenter_of(kind)
    dimensions = 2 if kind == "2d" else 3
    augment = build_augmenter(augmenter, dimensions, 0.1, varying=True).double()
    if augmenter == "unet":  # its last layer starts at zero, and stops all gradients but its own
        nn.init.normal_(augment.residual.last.weight, std=0.3)
    optimizer = optimizer_of(inner, net)
    synthetic, real = batch(dimensions, 1), batch(dimensions, 2)
    for seed in range(3):  # so that the optimizer remembers something
        step(net, augment, optimizer, batch(dimensions, 10 + seed))
    augment.zero_grad()
    taught = list(augment.parameters())
    found = two_passes(net, lambda x: augment(x, noise()), taught, optimizer, synthetic, real, loss)
    assert float(found.real) == pytest.approx(after_a_step(net, augment, optimizer, synthetic, real), abs=1e-12)
    g = torch.Generator().manual_seed(3)
    for p, slope in zip(taught, found.outer, strict=True):
        for i in torch.randperm(p.numel(), generator=g)[:2].tolist():
            h, values, flat = 1e-7, [], p.data.view(-1)
            for sign in (1, -1):
                flat[i] += sign * h
                values.append(after_a_step(net, augment, optimizer, synthetic, real))
                flat[i] -= sign * h
            expected = (values[0] - values[1]) / (2 * h)
            assert float(slope.view(-1)[i]) == pytest.approx(expected, rel=1e-4, abs=1e-8)
    assert max(float(slope.abs().max()) for slope in found.outer) > 1e-6


@pytest.mark.parametrize("inner", ["sgd", "adam"])
def test_the_step_written_out_is_the_optimizer_s(inner) -> None:
    net = segmenter_of("2d")
    augment = build_augmenter("noise", 2)
    optimizer = optimizer_of(inner, net)
    for seed in range(4):  # the first step has no state yet
        synthetic = batch(2, seed)
        passes = two_passes(net, lambda x: augment(x, noise()), [], optimizer, synthetic, None, loss)
        expected = moved_parameters(optimizer, learning(net), passes.inner)
        step(net, augment, optimizer, synthetic)
        for name, p in learning(net).items():
            torch.testing.assert_close(p.detach(), expected[name], rtol=1e-10, atol=1e-12)


def test_parameters_without_a_gradient_do_no_harm() -> None:
    net = segmenter_of("2d")
    net.net.unused = nn.Parameter(torch.zeros(2, dtype=torch.float64))
    augment = build_augmenter("noise", 2, 0.1).double()
    optimizer = optimizer_of("adam", net)
    passes = two_passes(
        net, lambda x: augment(x, noise()), list(augment.parameters()), optimizer, batch(2, 1), batch(2, 2), loss
    )
    assert all(torch.isfinite(g).all() for g in (*passes.inner, *passes.outer))


def test_running_averages_see_the_synthetic_pass_alone() -> None:
    plain, taught = segmenter_of("unet3d"), segmenter_of("unet3d")
    augment = build_augmenter("noise", 3, 0.1).double()
    for net, learns in ((plain, []), (taught, list(augment.parameters()))):
        optimizer = optimizer_of("sgd", net)
        two_passes(net, lambda x: augment(x, noise()), learns, optimizer, batch(3, 1), batch(3, 2), loss)
    for (name, a), b in zip(plain.named_buffers(), taught.buffers(), strict=True):
        assert torch.equal(a, b), name
    assert float(plain.down[0].norm.num_batches_tracked) == 1


class Logits(nn.Module):
    """One sub-voxel position of a network of the fast recipe, whose normalisation is this project's own."""

    def __init__(self) -> None:
        super().__init__()
        self.net = SubvoxelUNet(3, (4, 4))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.net.logits_at(self.net.trunk(image), 0)


def test_the_fast_recipe_s_networks_can_be_taught_too(monkeypatch) -> None:
    images, target = batch(3, 1)
    fine = F.interpolate(images, scale_factor=2.0)
    augment = build_augmenter("noise", 3, 0.2).double()
    taught = list(augment.parameters())

    def slope() -> float:
        torch.manual_seed(0)
        net = Logits().double()
        nn.init.normal_(net.net.head.weight, std=0.3)
        optimizer = torch.optim.SGD(learning(net).values(), lr=0.5)
        found = two_passes(net, lambda x: augment(x, noise()), taught, optimizer, (fine, target), (0.5 + fine, target),
                           F.cross_entropy)  # fmt: skip
        return float(found.outer[0])

    own = slope()
    monkeypatch.setattr(
        InstanceNorm, "forward", lambda self, x: F.instance_norm(x, weight=self.weight, bias=self.bias, eps=self.eps)
    )
    assert abs(own) > 1e-3
    assert own == pytest.approx(slope(), rel=1e-5)


def test_a_value_with_given_gradients() -> None:
    p = nn.Parameter(torch.tensor([1.0, 2.0]))
    value = with_gradients(torch.tensor(0.25), [p], [torch.tensor([3.0, -4.0])])
    value.backward()
    assert value.item() == 0.25
    assert p.grad.tolist() == [3.0, -4.0]


def test_other_steps_are_refused() -> None:
    net = segmenter_of("2d")
    augment = build_augmenter("noise", 2).double()
    taught = list(augment.parameters())
    with pytest.raises(ValueError, match="RMSprop"):
        optimizer = torch.optim.RMSprop(net.parameters())
        two_passes(net, lambda x: augment(x, noise()), taught, optimizer, batch(2, 1), batch(2, 2), loss)
    with pytest.raises(ValueError, match="real images"):
        two_passes(net, lambda x: augment(x, noise()), taught, optimizer_of("sgd", net), batch(2, 1), None, loss)
