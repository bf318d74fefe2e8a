"""Losses; optimizers: what they move, at which rate, and that a saved state goes on as if nothing had happened."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from napari_synthseg.errors import InputError
from napari_synthseg.training.engine import optim
from napari_synthseg.training.engine.losses import dice_and_cross_entropy, soft_dice_loss
from napari_synthseg.training.engine.optim import MUON_LR_SCALE, build_optimizer, restore
from tests.shared_data import SHARED


def small_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 2), nn.Flatten(), nn.Linear(36, 8), nn.ReLU(), nn.Linear(8, 1))


def stepped(network: nn.Module, optimizer, steps: int, first: int = 0) -> list[torch.Tensor]:
    for step in range(first, first + steps):
        g = torch.Generator().manual_seed(step)
        optimizer.zero_grad()
        network(torch.randn(16, 1, 4, 4, generator=g)).square().mean().backward()
        optimizer.step()
    return [p.detach().clone() for p in network.parameters()]


def test_muon_moves_matrices_and_adamw_the_rest() -> None:
    network = small_network()
    optimizer = build_optimizer("muon", network, [{"params": list(network.parameters())}], 1e-2, 0.0)
    kinds = {id(p): type(part).__name__ for part in optimizer.parts for g in part.param_groups for p in g["params"]}
    assert [kinds[id(p)] for p in network.parameters()] == ["AdamW", "AdamW", "Muon", "AdamW", "Muon", "AdamW"]
    before = [p.detach().clone() for p in network.parameters()]
    after = stepped(network, optimizer, 1)
    assert all(not torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_shares_of_the_rate_are_kept() -> None:
    network = small_network()
    groups = [{"params": list(network[:3].parameters()), "lr_scale": 0.1}, {"params": list(network[3:].parameters())}]
    optimizer = build_optimizer("muon", network, groups, 1e-2, 0.0)
    scales = sorted(group.get("lr_scale", 1.0) for group in optimizer.param_groups)
    assert scales == [0.1, 0.1 * MUON_LR_SCALE, 1, MUON_LR_SCALE]


@pytest.mark.parametrize("name", ["adam", "adamw", "muon"])
def test_a_saved_state_goes_on_to_the_same_numbers(name: str) -> None:
    def made():
        network = small_network()
        return network, build_optimizer(name, network, [{"params": list(network.parameters())}], 1e-2, 1e-4)

    whole = stepped(*made(), 6)
    network, optimizer = made()
    stepped(network, optimizer, 3)
    other, resumed = made()
    other.load_state_dict(network.state_dict())
    restore(resumed, optimizer.state_dict())
    for a, b in zip(whole, stepped(other, resumed, 3, first=3), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_the_state_of_another_optimizer_is_refused() -> None:
    network = small_network()
    groups = [{"params": list(network.parameters())}]
    muon, adamw = (build_optimizer(name, network, groups, 1e-2, 0.0) for name in ("muon", "adamw"))
    for one, other in ((muon, adamw), (adamw, muon)):
        with pytest.raises(InputError, match="another optimizer"):
            restore(one, other.state_dict())


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch is older than 2.9")
@pytest.mark.parametrize("shape", [(8, 24), (24, 8)])
def test_muon_is_that_of_torch_in_float32_where_bfloat16_is_slow(shape, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    ours = nn.Parameter(torch.randn(shape))
    theirs = nn.Parameter(ours.detach().clone())
    settings = {"lr": 1e-2, "weight_decay": 0.1}
    optimizers = (
        optim.Muon([{"params": [ours]}], **settings),
        torch.optim.Muon([theirs], adjust_lr_fn="match_rms_adamw", **settings),
    )
    for step in range(4):
        kind = (torch.float32, torch.bfloat16)[step // 2]
        monkeypatch.setattr(optim, "quick_kind", lambda _, kind=kind: kind)
        ours.grad = torch.randn(shape)
        theirs.grad = ours.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
        if step == 0:
            optimizers[0].load_state_dict(deepcopy(optimizers[1].state_dict()))  # runs of earlier versions go on
    torch.testing.assert_close(ours, theirs, rtol=0, atol=5e-4)  # one step moves by 1e-2


def test_the_optimizers_of_earlier_versions_are_taken_up() -> None:
    weight = torch.nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.AdamW([{"params": [weight], "lr_scale": 0.1}], lr=1e-3)
    state = optimizer.state_dict()
    state["param_groups"][0]["share"] = state["param_groups"][0].pop("lr_scale")
    restore(optimizer, state)
    assert optimizer.param_groups[0]["lr_scale"] == 0.1 and "share" not in optimizer.param_groups[0]


# Losses


def random_case(k: int = 4):
    g = torch.Generator().manual_seed(0)
    return torch.randn(2, k, 3, 4, 5, generator=g), torch.randint(k, (2, 3, 4, 5), generator=g)


def test_soft_dice_of_the_truth_is_zero_and_of_its_opposite_one() -> None:
    _, target = random_case(2)
    onehot = F.one_hot(target, 2).movedim(-1, 1).float()
    assert soft_dice_loss(onehot, target).item() == pytest.approx(0.0, abs=1e-6)
    assert soft_dice_loss(1 - onehot, target).item() == pytest.approx(1.0, abs=1e-6)


@pytest.mark.skipif(SHARED is None, reason="needs the reference data")
def test_soft_dice_is_the_reference_s() -> None:
    z = np.load(SHARED / "reference" / "golden" / "generator_ops.npz")
    posteriors = torch.from_numpy(z["loss_pred"]).movedim(-1, 0)[None]
    found = soft_dice_loss(posteriors, torch.from_numpy(z["loss_gt"])[None])
    assert found.item() == pytest.approx(float(z["dice_loss"]), abs=1e-4)


def test_cross_entropy_is_torch_s_and_dice_counts_present_labels() -> None:
    logits, target = random_case()
    weights = torch.tensor([1.0, 2.0, 3.0, 4.0])
    entropy, dice = dice_and_cross_entropy(logits, target, weights)
    assert entropy.item() == pytest.approx(F.cross_entropy(logits, target, weights).item(), rel=1e-5)
    assert 0 < dice.item() < 1
    sure = 50.0 * F.one_hot(target, 4).movedim(-1, 1).float()
    assert dice_and_cross_entropy(sure, target)[1].item() == pytest.approx(0.0, abs=1e-3)
    only_background = torch.zeros_like(target)
    assert dice_and_cross_entropy(logits, only_background)[1].item() == 0.0
