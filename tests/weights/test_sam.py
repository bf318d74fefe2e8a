"""Weights of promptable models: found, told apart, refused in a sentence, and MobileSAM's answers met."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_synthseg.errors import InputError
from napari_synthseg.networks.promptable import Promptable
from napari_synthseg.weights import catalogue, sam, store
from napari_synthseg.weights.sam import CHECKPOINTS, load_model
from tests.prompting.small import SIZE, promptable_weights
from tests.shared_data import shared


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """An empty weights folder, the only one; the cache is empty too."""
    monkeypatch.setenv("NAPARI_SYNTHSEG_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("NAPARI_SYNTHSEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(catalogue.anatomy, "resources", lambda: tmp_path / "nothing")
    (tmp_path / "weights").mkdir()
    return tmp_path / "weights"


@pytest.fixture(scope="module")
def mobile() -> Promptable:
    torch.manual_seed(0)
    return Promptable("mobile", SIZE).eval()


def mobilesam_names(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """As MobileSAM's file has them: the inverse of `timm_names`, written down independently."""
    old = {}
    for name, tensor in state.items():
        new = name.replace(".conv.weight", ".c.weight")
        new = new.replace("patch_embed.conv1.", "patch_embed.seq.0.").replace(
            "patch_embed.conv2.", "patch_embed.seq.2."
        )
        for stage in (0, 1, 2, 3):
            new = new.replace(f"stages.{stage}.downsample.", f"layers.{stage - 1}.downsample.")
            new = new.replace(f"stages.{stage}.", f"layers.{stage}.")
        old[new] = tensor
    old["image_encoder.norm_head.weight"] = old["image_encoder.head.weight"] = torch.zeros(3)
    return old


def small_networks(monkeypatch) -> None:
    """Let checkpoints of small models be loaded."""
    monkeypatch.setattr("napari_synthseg.networks.promptable.Promptable.__init__.__defaults__", ("mobile", SIZE, False))


# Ours


@pytest.mark.parametrize("name", [sam.DEFAULT, "synthfm-mobile", "mobilesam-decoder"])
def test_what_is_shipped_goes_with_the_shipped_encoder(name):
    model = load_model(name)
    assert model.image_size == 1024 and model.card["licence"] == "Apache-2.0"


def test_our_weights_come_back_to_half_precision(folder, mobile):
    promptable_weights(folder / f"{sam.DEFAULT}.safetensors", mobile)
    model = load_model("default")
    assert model.card["encoder"] == "mobile" and not model.training
    for name, tensor in mobile.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], tensor, atol=1e-3, rtol=1e-3)


def test_models_that_answer_clicks_are_not_offered_for_whole_brains(folder, mobile):
    path = promptable_weights(folder / "mine.safetensors", mobile)
    assert catalogue.available() == []
    assert [card["name"] for card in sam.available()] == ["mine"]
    with pytest.raises(InputError, match="answer clicks"):
        store.load_model(path)


def test_weights_for_whole_brains_answer_no_clicks(folder):
    path = folder / "unet.safetensors"
    store.save(path, {"x": torch.zeros(1)}, {"name": "unet", "network": "unet", "labels": [0, 1]})
    with pytest.raises(InputError, match="answer no clicks"):
        load_model(path)


def test_an_unknown_encoder_asks_for_an_update(folder, mobile):
    path = promptable_weights(folder / "new.safetensors", mobile, encoder="vit_z")
    with pytest.raises(InputError, match="unknown encoder 'vit_z': update"):
        load_model(path)


# Official checkpoints


def test_mobilesams_names_are_timms(tmp_path, mobile, monkeypatch):
    small_networks(monkeypatch)
    torch.save(mobilesam_names(mobile.state_dict()), tmp_path / "mine.pt")
    model = load_model(tmp_path / "mine.pt")
    assert model.card["encoder"] == "mobile"
    for name, tensor in mobile.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor), name


def test_a_checkpoint_without_some_parameters_is_refused(tmp_path, mobile):
    state = mobilesam_names(mobile.state_dict())
    del state["mask_decoder.iou_token.weight"]
    torch.save(state, tmp_path / "mine.pt")
    with pytest.raises(InputError, match="not a whole SAM checkpoint"):
        load_model(tmp_path / "mine.pt")


@pytest.mark.parametrize("content", [b"", b"no checkpoint at all", b"PK\x03\x04" + bytes(100), {"x": Path("/")}])
def test_what_is_no_checkpoint_of_weights_is_refused(tmp_path, content):
    path = tmp_path / "x.pth"
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    with pytest.raises(InputError, match=r"x\.pth is no PyTorch checkpoint of plain weights"):
        load_model(path)


@pytest.mark.parametrize("state", [{"fc.weight": torch.zeros(2)}, [1, 2], {"epoch": 3}])
def test_a_foreign_checkpoint_is_refused(tmp_path, state):
    torch.save(state, tmp_path / "x.pth")
    with pytest.raises(InputError, match="holds no SAM image encoder"):
        load_model(tmp_path / "x.pth")


def test_an_official_name_with_other_content_is_refused(folder, monkeypatch):
    (folder / "mobile_sam.pt").write_bytes(bytes(1000))
    with pytest.raises(InputError, match="ends after 1,000 of 40,728,226 bytes"):
        load_model("mobilesam")
    monkeypatch.setitem(CHECKPOINTS, "mobilesam", replace(CHECKPOINTS["mobilesam"], bytes=10))
    with pytest.raises(InputError, match="not the official file"):
        load_model("mobilesam")


def test_what_is_missing_says_where_it_belongs(folder):
    with pytest.raises(InputError, match=r"sam_vit_b_01ec64\.pth from https://.* into .*cache"):
        load_model("vit_b")
    with pytest.raises(InputError, match="no promptable model named 'nothing'"):
        load_model("nothing")
    with pytest.raises(InputError, match="does not exist"):
        load_model(folder / "missing.pt")


# MobileSAM's own answers


@pytest.mark.parametrize("k", [0, 1])
@torch.no_grad()
def test_mobilesam_is_met(k, golden_model):
    from PIL import Image

    from napari_synthseg.prompting.encodings import Frame, to_rgb, to_tensor

    golden = np.load(shared("reference/golden_sam/mobile_sam.npz"))
    image = np.array(Image.open(shared("data/prompts_dev") / str(golden[f"{k}_image"])))
    frame = Frame(image.shape[:2])
    embedding = golden_model.encode(to_tensor(to_rgb(image), frame))
    assert embedding.shape == tuple(golden[f"{k}_embedding_shape"])
    expected = golden[f"{k}_embedding_values"]
    assert np.abs(embedding.flatten()[golden[f"{k}_embedding_idx"]].numpy() - expected).max() < 1e-3 * expected.std()

    points = torch.from_numpy(frame.to_model(golden[f"{k}_points_xy"][:, ::-1]))[None]
    logits, iou = golden_model.decode(embedding, points, torch.from_numpy(golden[f"{k}_labels"])[None])
    expected = golden[f"{k}_low_res_logits"]
    assert np.abs(logits[0, :, ::2, ::2].numpy() - expected).max() < 1e-3 * expected.std()
    np.testing.assert_allclose(iou[0].numpy(), golden[f"{k}_iou"], atol=1e-4)


@pytest.fixture(scope="module")
def golden_model() -> Promptable:
    return load_model(shared("weights/mobile_sam.pt"))


@pytest.mark.parametrize("name", ["vit_b", "vit_l", "vit_h"])
def test_sams_parameters_fit_in_names_and_shapes(name):
    """Nobody here has these checkpoints: segment-anything's own networks, without values, stand in for them."""
    from segment_anything import sam_model_registry

    with torch.device("meta"):
        official, ours = (
            sam_model_registry[name](),
            sam.build({"name": name, "network": "promptable", "encoder": name}),
        )
    shapes = {key: tuple(tensor.shape) for key, tensor in official.state_dict().items()}
    assert shapes == {key: tuple(tensor.shape) for key, tensor in ours.state_dict().items()}
    assert sam.encoder_of(official.state_dict()) == name


@pytest.mark.slow
def test_a_checkpoint_of_vit_b_with_random_values_loads_and_answers(tmp_path):
    from segment_anything import sam_model_registry

    torch.manual_seed(0)
    official = sam_model_registry["vit_b"]()
    torch.save(official.state_dict(), tmp_path / "random_vit_b.pth")
    model = load_model(tmp_path / "random_vit_b.pth")
    assert model.card["encoder"] == "vit_b"
    for key, tensor in official.state_dict().items():
        assert torch.equal(model.state_dict()[key], tensor), key
    logits, _ = model.decode(torch.zeros(1, 256, 64, 64), torch.zeros(1, 1, 2), torch.ones(1, 1))
    assert logits.shape == (1, 4, 256, 256)
