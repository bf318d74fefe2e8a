"""Keras files of every kind, made on the spot: what is recognised, where arrays go, what is said of other files."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from napari_synthseg import anatomy
from napari_synthseg.errors import InputError
from napari_synthseg.weights.store import load_keras_h5
from tests import keras_files as files


def written(tmp_path, shapes, name="weights.h5", root="", seed=0):
    arrays = files.random_arrays(shapes, seed)
    return files.write_keras(tmp_path / name, arrays, root), arrays


@pytest.mark.parametrize(("count", "version"), [(32, 1), (33, 2)])
def test_the_version_shows_in_the_number_of_labels(tmp_path, count, version):
    path, arrays = written(tmp_path, files.unet_shapes("unet", 1, count), "anything.h5")
    model = load_keras_h5(path)
    assert model.labels == anatomy.predicted_values(version)
    assert model.card["title"] == f"SynthSeg {version}.0" and model.card["preset"] == "reference"
    assert not model.training
    kernel = arrays["unet_conv_downarm_1_0/kernel"]
    np.testing.assert_array_equal(model.down[1].conv0.weight[3, 1].detach(), kernel[..., 1, 3])
    np.testing.assert_array_equal(model.up[0].norm.running_var, arrays["unet_bn_up_0/moving_variance"])
    posteriors = model(torch.rand(2, 1, 8, 12, 4))
    assert posteriors.shape == (2, count, 8, 12, 4)
    torch.testing.assert_close(posteriors.sum(1), torch.ones(2, 8, 12, 4))


def test_a_training_checkpoint_gives_the_same_network(tmp_path):
    shapes = files.unet_shapes("unet", 1, 33)
    plain, _ = written(tmp_path, shapes)
    checkpoint, _ = written(tmp_path, shapes, "dice_100.h5", root="model_weights")
    image = torch.rand(1, 1, 8, 8, 8)
    torch.testing.assert_close(load_keras_h5(plain)(image), load_keras_h5(checkpoint)(image), rtol=0, atol=0)


def test_the_other_way_of_counting_batch_norms_is_known(tmp_path):
    usual, arrays = written(tmp_path, files.unet_shapes("unet", 1, 33))
    other = {name.replace("bn_up_0", "bn_up_3").replace("bn_up_1", "bn_up_4"): a for name, a in arrays.items()}
    path = files.write_keras(tmp_path / "other.h5", other)
    image = torch.rand(1, 1, 8, 8, 8)
    torch.testing.assert_close(load_keras_h5(path)(image), load_keras_h5(usual)(image), rtol=0, atol=0)


def test_other_numbers_of_labels_need_their_list(tmp_path):
    path, _ = written(tmp_path, files.unet_shapes("unet", 1, 4))
    assert load_keras_h5(path).labels == (0, 1, 2, 3)
    assert load_keras_h5(path, labels=(0, 17, 24, 53)).labels == (0, 17, 24, 53)
    with pytest.raises(InputError, match="predicts 4 labels, not 3"):
        load_keras_h5(path, labels=(0, 17, 53))


def test_a_robust_file_is_three_networks_in_a_row(tmp_path):
    path, arrays = written(tmp_path, files.robust_shapes())
    model = load_keras_h5(path)
    assert model.card["network"] == "robust" and model.labels == anatomy.predicted_values(2)
    np.testing.assert_array_equal(model.denoiser.likelihood.bias.detach(), arrays["l2l_likelihood/bias"])
    image = torch.rand(1, 1, 8, 8, 12)
    with torch.inference_mode():
        s1, denoised, s2 = model.stages(image)
        assert s1.shape == denoised.shape == (1, 5, 8, 8, 12)
        torch.testing.assert_close(model(image), s2)
        hard = F.one_hot(denoised.argmax(1), 5).movedim(-1, 1).float()
        torch.testing.assert_close(model.s2(torch.cat([image, hard], 1)), s2)


def test_the_papers_denoiser_has_one_convolution_a_level(tmp_path):
    shapes = files.unet_shapes("l2l", 5, 5, (3, 3, 3, 3), kernel=5, convolutions=1, unconnected=2)
    path, _ = written(tmp_path, shapes)
    model = load_keras_h5(path)
    card = {name: model.card[name] for name in ("growth", "convolutions", "unconnected", "levels", "features")}
    assert card == {"growth": 1, "convolutions": 1, "unconnected": 2, "levels": 4, "features": 3}
    assert model(torch.rand(1, 5, 8, 8, 8)).shape == (1, 5, 8, 8, 8)


def test_a_quality_regressor_computes_what_its_layers_say(tmp_path):
    path, arrays = written(tmp_path, files.regressor_shapes())
    model = load_keras_h5(path)
    assert model.card["network"] == "quality"
    groups = torch.rand(1, 9, 21, 18, 16)
    with torch.inference_mode():
        torch.testing.assert_close(model(groups), regressed(arrays, groups), rtol=1e-4, atol=1e-5)


def regressed(arrays: dict[str, np.ndarray], x: torch.Tensor) -> torch.Tensor:
    """The regressor written out: residual levels, each halved, then two more convolutions and the mean."""

    def convolve(name: str, y: torch.Tensor) -> torch.Tensor:
        kernel = torch.from_numpy(arrays[f"{name}/kernel"]).permute(4, 3, 0, 1, 2)
        return F.conv3d(y, kernel, torch.from_numpy(arrays[f"{name}/bias"]), padding=2)

    for i in range(4):
        inner = convolve(f"qc_conv_downarm_{i}_1", convolve(f"qc_conv_downarm_{i}_0", x).relu())
        x = (inner + convolve(f"qc_expand_down_merge_{i}", x).relu()).relu()
        gamma, beta, mean, variance = (
            torch.from_numpy(arrays[f"qc_bn_down_{i}/{what}"]).view(1, -1, 1, 1, 1)
            for what in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        x = gamma * (x - mean) / (variance + 1e-3).sqrt() + beta
        odd = [n % 2 for n in reversed(x.shape[2:])]
        x = F.max_pool3d(F.pad(x, [p for n in odd for p in (0, n)], value=-torch.inf), 2)
    return convolve("qc_final_conv_1", convolve("qc_final_conv_0", x).relu()).relu().mean((2, 3, 4))


# Files that hold something else


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        (b"PK\x03\x04abcdef", "zip archive"),
        (b"\x1f\x8b\x08abc", "compressed"),
        (b"\x80\x04\x95abc", "pickle"),
        (b"some words", "not an HDF5 file"),
    ],
)
def test_what_is_no_hdf5_file_is_named(tmp_path, content, sentence):
    path = tmp_path / "weights.h5"
    with pytest.raises(InputError, match="cannot be read"):
        load_keras_h5(path)
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"^weights.h5 .*{sentence}"):
        load_keras_h5(path)


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.98])
def test_a_truncated_file_is_told(tmp_path, kept):
    path, _ = written(tmp_path, files.unet_shapes("unet", 1, 33))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(InputError, match="weights.h5 is damaged or was cut short"):
        load_keras_h5(path)


UNET = files.unet_shapes("unet", 1, 33)


@pytest.mark.parametrize(
    ("shapes", "sentence"),
    [
        (files.convolution_shapes("dense_7", 3, 1, 2), "none of SynthSeg's .*dense_7"),
        ({}, "no weights"),
        (files.unet_shapes("unet", 1, 1), "SynthSR"),
        ({name: s for name, s in UNET.items() if "conv_uparm_4_1" not in name}, "lacks the layer unet_conv_uparm_4_1"),
        (UNET | {"unet_bn_down_1/gamma": (5,)}, "unet_bn_down_1/gamma of shape"),
    ],
    ids=["foreign layers", "no arrays", "makes images", "a layer lacks", "another size"],
)
def test_files_without_a_network_of_synthseg_are_told_apart(tmp_path, shapes, sentence):
    path, _ = written(tmp_path, shapes)
    with pytest.raises(InputError, match=sentence):
        load_keras_h5(path)


def test_numbers_that_are_not_finite_are_refused(tmp_path):
    arrays = files.random_arrays(files.unet_shapes("unet", 1, 33))
    arrays["unet_likelihood/bias"][3] = np.nan
    with pytest.raises(InputError, match="not finite in unet_likelihood/bias"):
        load_keras_h5(files.write_keras(tmp_path / "weights.h5", arrays))


def test_describing_needs_no_torch(tmp_path):
    path, _ = written(tmp_path, files.robust_shapes())
    code = (
        f"import sys; from napari_synthseg.weights.keras import describe; print(describe({str(path)!r})['title'], "
        "'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "SynthSeg-robust 2.0 False"
