"""UNETR and Swin UNETR as networks of this house, and the masked autoencoder that their encoders learn in."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from napari_synthseg.errors import InputError
from napari_synthseg.networks.pretraining import (
    MaskedAutoencoder,
    masked_error,
    normalized,
    patches,
    random_mask,
    whole,
)
from napari_synthseg.networks.transformers import SwinUnetr, Unetr

pytest.importorskip("monai")

UNETR = {"edge": 32, "hidden": 24, "mlp": 32, "heads": 2, "layers": 4, "features": 4, "field": 48}
SWIN = {"edge": 64, "features": 12, "depths": (1, 1, 1, 1), "heads": (1, 1, 2, 2), "window": 4, "field": 64}


def test_posteriors_of_both() -> None:
    for kind, sizes in ((Unetr, UNETR), (SwinUnetr, SWIN)):
        model = kind((0, 17, 53), **sizes).eval()
        with torch.inference_mode():
            out = model(torch.rand(1, 1, *[model.edge] * 3))
        assert model.labels == (0, 17, 53) and out.shape == (1, 3, *[model.edge] * 3)
        torch.testing.assert_close(out.sum(1), torch.ones_like(out[:, 0]))


def test_unetr_is_monais_with_its_own_twelve_layers() -> None:
    model = Unetr(2, **{**UNETR, "layers": 12}).eval()
    image = torch.rand(1, 1, 32, 32, 32)
    with torch.inference_mode():
        assert model.depths == (3, 6, 9)
        torch.testing.assert_close(model.logits(image), model.net(image))


def test_every_depth_of_a_short_unetr_matters() -> None:
    model = Unetr(2, **UNETR)
    model.logits(torch.rand(1, 1, 32, 32, 32)).square().sum().backward()
    assert len(model.encoder.blocks) == 4 and model.depths == (1, 2, 3)
    idle = [name for name, one in model.named_parameters() if one.grad is None]
    assert all("norm_cross_attn" in name for name in idle)  # MONAI keeps it for attention to something else


def test_the_encoder_alone_changes() -> None:
    torch.manual_seed(0)
    first, second = Unetr(2, **UNETR), Unetr(3, **UNETR)
    before = {k: v.clone() for k, v in second.state_dict().items()}
    second.load_encoder(first.encoder_state())
    for key, value in second.state_dict().items():
        if key.startswith("net.vit."):
            torch.testing.assert_close(value, first.state_dict()[key], rtol=0, atol=0)
        else:
            torch.testing.assert_close(value, before[key], rtol=0, atol=0)


def test_encoders_that_do_not_fit_are_refused() -> None:
    model = Unetr(2, **UNETR)
    with pytest.raises(InputError, match="'mine' is of another network"):
        model.load_encoder(Unetr(2, **{**UNETR, "layers": 5}).encoder_state(), "mine")
    with pytest.raises(InputError, match="other sizes"):
        model.load_encoder(Unetr(2, **{**UNETR, "edge": 48}).encoder_state())
    for kind, sizes in (
        (Unetr, {**UNETR, "edge": 40}),
        (SwinUnetr, {**SWIN, "edge": 32}),
        (Unetr, {**UNETR, "field": 16}),
    ):
        with pytest.raises(InputError):
            kind(2, **sizes)


def test_monai_is_imported_only_for_such_a_network() -> None:
    code = "import sys, napari_synthseg.inference.pipeline, napari_synthseg.training.data.crops\n"
    code += "import napari_synthseg.networks.registry; print('monai' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


# The masked autoencoder


def small(skips: bool = True) -> MaskedAutoencoder:
    torch.manual_seed(0)
    return MaskedAutoencoder(Unetr(1, edge=48, hidden=16, mlp=16, heads=2, layers=4, features=4), 16, 4, skips)


def test_the_masking_ratio_is_exact() -> None:
    for ratio, masked in ((0.75, 750), (0.6, 600), (0.9996, 999), (0.0001, 1)):
        mask = random_mask(3, 1000, ratio, torch.Generator().manual_seed(0))
        assert mask.sum(1).tolist() == [masked] * 3
    assert not torch.equal(mask[0], mask[1])


def test_patches_are_in_the_transformers_order_and_come_back() -> None:
    image = torch.rand(2, 1, 48, 48, 48)
    parts = patches(image)
    assert parts.shape == (2, 27, 16**3)
    torch.testing.assert_close(whole(parts, 48), image)
    embedding = small().encoder.patch_embedding
    own = parts @ embedding.patch_embeddings.weight.flatten(1).T + embedding.patch_embeddings.bias
    torch.testing.assert_close(embedding(image), own + embedding.position_embeddings, atol=1e-4, rtol=1e-4)


def test_the_encoder_sees_visible_patches_alone() -> None:
    model = small().eval()
    mask = random_mask(1, model.count, 0.75, torch.Generator().manual_seed(1))
    image = torch.rand(1, 1, 48, 48, 48)
    hidden = whole(mask[..., None].expand(-1, -1, 16**3).float(), 48) > 0
    with torch.inference_mode():
        first, second = (model(one, mask) for one in (image, torch.where(hidden, torch.rand_like(image), image)))
        third = model(torch.where(hidden, image, image * 0.5), mask)
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    assert first.shape == (1, 27, 16**3) and not torch.allclose(first, third)
    seen, states = model.encode(image, (~mask).nonzero()[:, 1][None])
    assert seen.shape == (1, 7, 16) and len(states) == 3


def test_the_loss_counts_masked_patches_alone() -> None:
    mask = random_mask(2, 27, 0.75, torch.Generator().manual_seed(2))
    found, wanted = torch.rand(2, 27, 8, requires_grad=True), torch.rand(2, 27, 8)
    loss = masked_error(found, wanted, mask)
    torch.testing.assert_close(loss, (found - wanted)[mask].square().mean())
    (slope,) = torch.autograd.grad(loss, found)
    assert (slope[~mask] == 0).all() and (slope[mask] != 0).all()


def test_every_part_learns() -> None:
    for skips in (True, False):
        model = small(skips)
        mask = random_mask(1, model.count, 0.5, torch.Generator().manual_seed(0))
        image = torch.rand(1, 1, 48, 48, 48)
        masked_error(model(image, mask), patches(image), mask).backward()
        idle = [name for name, one in model.named_parameters() if one.grad is None]
        assert all("norm_cross_attn" in name for name in idle)
        assert len(model.skips) == (3 if skips else 0) and len(model.blocks) == 4


def test_normalized_patches_and_sizes_that_do_not_fit() -> None:
    parts = normalized(torch.rand(1, 3, 4096) * 7 + 2)
    torch.testing.assert_close(parts.mean(-1), torch.zeros(1, 3), atol=1e-4, rtol=0)
    torch.testing.assert_close(parts.std(-1), torch.ones(1, 3), atol=1e-4, rtol=0)
    with pytest.raises(InputError, match="multiple of 8"):
        MaskedAutoencoder(Unetr(1, edge=48, hidden=16, mlp=16, heads=2, layers=4, features=4), 12)
