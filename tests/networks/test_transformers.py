"""UNETR and Swin UNETR as networks of this house."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from napari_synthseg.errors import InputError
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
