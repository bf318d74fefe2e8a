"""SynthSeg's U-Net against the reference implementation's golden posteriors."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_synthseg.errors import InputError
from napari_synthseg.keras_weights import load_unet
from napari_synthseg.networks.unet import UNet3d
from tests.shared_data import SHARED

needs_shared = pytest.mark.skipif(SHARED is None, reason="needs the reference data")


def golden(name: str):
    return np.load(SHARED / "reference" / "golden" / name)


@needs_shared
@pytest.mark.parametrize(("weights", "net"), [("v1_small_weights.h5", "v1_small_net.npz"),
                                              ("v1_small_model.h5", "v1_small_net.npz"),
                                              ("v2_small_weights.h5", "v2_small_net.npz")])  # fmt: skip
def test_posteriors_match_the_reference(weights: str, net: str) -> None:
    model, card = load_unet(SHARED / "reference" / "golden" / weights)
    z = golden(net)
    with torch.no_grad():
        posteriors = model.eval()(torch.from_numpy(z["image"])[None, None])[0].reshape(len(model.labels), -1)
    found = posteriors[:, torch.from_numpy(z["voxel_idx"])].T.numpy()
    assert np.abs(found - z["post_raw"]).max() < 1e-4
    assert card["labels"] == z["labels"].tolist()
    agree = posteriors.argmax(0).reshape(z["image"].shape).numpy() == z["argmax_raw"]
    assert agree.mean() > 0.9999


def test_the_published_sizes() -> None:
    assert sum(p.numel() for p in UNet3d(32).parameters()) + _buffers(UNet3d(32)) == 13_242_824
    assert sum(p.numel() for p in UNet3d(33).parameters()) + _buffers(UNet3d(33)) == 13_242_849


def _buffers(model: torch.nn.Module) -> int:
    return sum(b.numel() for name, b in model.named_buffers() if "running" in name)


def test_a_file_that_is_no_hdf5_is_one_sentence(tmp_path) -> None:
    path = tmp_path / "weights.h5"
    path.write_bytes(b"not a file of weights")
    with pytest.raises(InputError, match="weights.h5"):
        load_unet(path)


def test_three_networks_in_a_row_are_not_taken_for_one(tmp_path) -> None:
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "robust.h5"
    with h5py.File(path, "w") as f:
        f.create_dataset("unet2_likelihood/unet2_likelihood/bias:0", data=np.zeros(33))
    with pytest.raises(InputError, match="robust"):
        load_unet(path)


def test_missing_layers_are_named(tmp_path) -> None:
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "other.h5"
    with h5py.File(path, "w") as f:
        f.create_dataset("dense/dense/kernel:0", data=np.zeros(3))
    with pytest.raises(InputError, match="unet_conv_downarm_0_0"):
        load_unet(path)
