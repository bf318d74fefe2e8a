"""Official weights from file to labels: the pipeline against the reference's steps written out one by one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage

from napari_synthseg import anatomy
from napari_synthseg.errors import InputError
from napari_synthseg.inference import options as config
from napari_synthseg.inference import whole_volume
from napari_synthseg.inference.options import OWN, SegmentOptions, config_for
from napari_synthseg.inference.pipeline import segment
from napari_synthseg.inference.state import load
from napari_synthseg.volume import Volume
from napari_synthseg.weights.store import load_keras_h5
from tests import keras_files as files
from tests.inference.fakes import FakeLocateRefine, ball_scan

VALUES = anatomy.predicted_values(2)
SIDE = 64


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Small files of every kind, whose random networks see something in the balls."""
    folder = tmp_path_factory.mktemp("official")
    made = {
        "unet": files.unet_shapes("unet", 1, 33, (4, 8, 16, 32, 64)),
        "robust": files.robust_shapes(widths=(2, 4, 8, 16, 32)),
        "parcellation": files.unet_shapes("unet_parc", 3, 69, (2, 4, 8, 16, 32)),
        "quality": files.regressor_shapes(),
    }
    found = {}
    for kind, shapes in made.items():
        arrays = files.random_arrays(shapes, seed=2)
        if kind == "unet":
            arrays["unet_likelihood/kernel"] *= 5  # so that many labels win somewhere
        found[kind] = files.write_keras(folder / f"{kind}.h5", arrays)
    return found


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """The scan is padded to 64 voxels and not to 128, which would take long."""
    monkeypatch.setattr(config, "REFERENCE", replace(config.REFERENCE, minimum=SIDE))


def posteriors_of(model, image: torch.Tensor, *, flip: bool, smooth: bool) -> np.ndarray:
    """(K, X, Y, Z): the network at once, its smoothing with scipy, the mirror image."""

    def one(x: torch.Tensor) -> np.ndarray:
        with torch.inference_mode():
            out = model(x)[0].numpy()
        if not smooth:
            return out
        side = np.exp(-2.0)
        taps = np.array([side, 1, side]) / (1 + 2 * side)
        for axis in (1, 2, 3):
            out = ndimage.correlate1d(out, taps, axis, mode="constant")
        return out

    direct = one(image)
    if not flip:
        return direct
    return (direct + one(image.flip(2))[list(anatomy.flip_channels(VALUES))][:, ::-1]) / 2


def largest(mask: np.ndarray) -> np.ndarray:
    labels, count = ndimage.label(mask)
    return labels == 1 + np.bincount(labels.ravel())[1:].argmax() if count else mask


def by_hand(model, scan: Volume, *, flip=True, smooth=True, topology=True) -> tuple[np.ndarray, dict[int, float]]:
    """The reference's steps for a 1 mm scan in RAS: FreeSurfer values and volumes."""
    low, high = np.percentile(scan.data, (0.5, 99.5))
    image = (np.clip(scan.data, low, high) - low) / (high - low)
    before = [(SIDE - n) // 2 for n in image.shape]
    widths = [(b, SIDE - n - b) for b, n in zip(before, image.shape, strict=True)]
    padded = torch.from_numpy(np.pad(image, widths).astype(np.float32))[None, None]
    p = posteriors_of(model, padded, flip=flip, smooth=smooth)
    inner = (slice(None), *(slice(b, b + n) for b, n in zip(before, image.shape, strict=True)))
    if not topology:
        p = p[inner]
    p[1:] *= largest(p[1:].sum(0) > 0.25)
    if topology:
        classes = np.array([anatomy.structure(value).topology for value in VALUES])
        for one in np.unique(classes)[1:]:
            p[classes == one] *= largest((p[classes == one] > 0.25).any(0))
        p = p[inner]
    else:
        p[1:] *= p[1:] > 0.2
    p = p / p.sum(0)
    volumes = {value: float(p[k].sum(dtype=np.float64)) for k, value in enumerate(VALUES) if k}
    return np.asarray(VALUES)[p.argmax(0)], volumes


def tilted_scan() -> Volume:
    """The balls, different on both sides, so that a flip is seen."""
    volume, _ = ball_scan()
    ramp = np.linspace(0.7, 1.2, volume.shape[0], dtype=np.float32)
    return volume.with_data(volume.data * ramp[:, None, None])


CASES = {
    "default": ({}, {}),
    "no flips": ({"flip": False}, {"flip": False}),
    "fast": ({"fast": True}, {"flip": False, "topology": False}),
}


@pytest.mark.parametrize("case", CASES)
def test_the_unet(weights, case):
    options, steps = CASES[case]
    scan = tilted_scan()
    result = segment(scan, weights=weights["unet"], device="cpu", **options)
    labels, volumes = by_hand(load_keras_h5(weights["unet"]), scan, **steps)
    assert len(np.unique(labels)) > 3, "the random network sees too little for a test"
    assert np.mean(result.labels.data != labels) < 1e-4
    for value, expected in volumes.items():
        assert result.volumes[value] == pytest.approx(expected, rel=1e-4, abs=0.01)
    assert result.record["procedure"]["dilation"] == 0 and result.record["network"] == "unet"


def test_the_robust_hierarchy_is_fast_by_nature(weights):
    scan = tilted_scan()
    result = segment(scan, weights=weights["robust"], robust=True, device="cpu")
    model = load_keras_h5(weights["robust"])
    labels, volumes = by_hand(model, scan, flip=False, smooth=False, topology=False)
    assert np.mean(result.labels.data != labels) < 1e-3  # two argmaxes lie between
    assert sum(result.volumes.values()) == pytest.approx(sum(volumes.values()), rel=1e-3)
    assert set(result.tissues) == {"S1", "denoised"}
    assert all(one.shape == scan.shape and one.data.max() < 5 for one in result.tissues.values())


def test_a_robust_network_of_our_own_keeps_soft_edges(weights):
    """Our own preset, in one piece all the same: what the denoiser says depends on the whole head."""
    result = segment(tilted_scan(), weights=weights["robust"], preset="own", device="cpu")
    done = result.record["procedure"]
    assert done["whole"] and done["flip"] and done["dilation"] == 2 and done["crop_to_head"]
    assert set(result.tissues) == {"S1", "denoised"} and result.labels.data.any()


def test_the_parcellation_divides_the_cortex(weights):
    scan = tilted_scan()
    plain = segment(scan, network=FakeLocateRefine(), device="cpu")
    divided = segment(scan, network=FakeLocateRefine(), parcellation=weights["parcellation"], device="cpu")
    cortex = np.isin(plain.labels.data, anatomy.CORTEX)
    assert cortex.sum() > 1000
    np.testing.assert_array_equal(divided.labels.data[~cortex], plain.labels.data[~cortex])
    assert set(np.unique(divided.labels.data[cortex])) <= set(anatomy.parcels())
    parts = sum(divided.volumes[value] for value in anatomy.parcels())
    assert parts == pytest.approx(divided.volumes[3] + divided.volumes[42], rel=1e-6)
    assert divided.intracranial_mm3 == pytest.approx(plain.intracranial_mm3)


def test_parcels_are_the_references(weights):
    """Posteriors inside the cortex, renormalized without "no cortex"; outside they count for the volumes too."""
    scan = tilted_scan()
    result = segment(scan, weights=weights["unet"], parcellation=weights["parcellation"], device="cpu")
    labels, _ = by_hand(load_keras_h5(weights["unet"]), scan)
    cortex = np.isin(labels, anatomy.CORTEX)
    assert cortex.any(), "the random network sees no cortex"
    low, high = np.percentile(scan.data, (0.5, 99.5))
    image = np.pad((np.clip(scan.data, low, high) - low) / (high - low), 4).astype(np.float32)
    first = posteriors_of(load_keras_h5(weights["unet"]), torch.from_numpy(image)[None, None], flip=True, smooth=True)
    guess = np.isin(np.asarray(VALUES)[first.argmax(0)], anatomy.CORTEX).astype(np.float32)
    second = load_keras_h5(weights["parcellation"])
    p = posteriors_of(second, torch.from_numpy(np.stack([image, 1 - guess, guess]))[None], flip=False, smooth=True)
    p = p[:, 4:-4, 4:-4, 4:-4]
    p[0] = ~cortex
    p /= p.sum(0)
    expected = np.asarray(second.labels)[p.argmax(0)]
    assert np.mean(result.labels.data[cortex] != expected[cortex]) < 1e-3
    shares = p[1:].sum((1, 2, 3), dtype=np.float64)
    shares /= shares.sum()
    total = result.volumes[3] + result.volumes[42]
    for value, share in zip(second.labels[1:], shares, strict=True):
        assert result.volumes[value] == pytest.approx(share * total, rel=1e-3)


def test_parcels_follow_a_finer_grid(weights):
    from napari_synthseg.volume import resample_image

    scan = resample_image(tilted_scan(), 0.8)
    result = segment(scan, network=FakeLocateRefine(), parcellation=weights["parcellation"], device="cpu")
    assert result.labels.shape == scan.shape
    assert not np.isin(result.labels.data, anatomy.CORTEX).any()


def test_too_little_memory_means_blocks(weights, monkeypatch):
    monkeypatch.setattr(whole_volume, "free_memory", lambda device: 1 << 20)
    result = segment(tilted_scan(), weights=weights["unet"], device="cpu", flip=False)
    assert any("too little memory" in warning for warning in result.warnings)


def test_when_memory_runs_out_all_the_same_blocks_are_used(weights, monkeypatch):
    def fail(*_):
        raise RuntimeError("DefaultCPUAllocator: not enough memory")
        yield

    monkeypatch.setattr("napari_synthseg.inference.whole_volume.streamed_steps", fail)
    result = segment(tilted_scan(), weights=weights["unet"], device="cpu", flip=False)
    assert any("Memory ran out" in warning for warning in result.warnings)


def test_other_networks_are_refused_in_one_sentence(weights):
    with pytest.raises(InputError, match="give it as the parcellation"):
        load(SegmentOptions(weights=weights["parcellation"]))
    with pytest.raises(InputError, match="segment no scan by themselves"):
        load(SegmentOptions(weights=weights["quality"]))
    with pytest.raises(InputError, match="not those of a robust network"):
        load(SegmentOptions(weights=weights["unet"], robust=True))
    with pytest.raises(InputError, match="not of SynthSeg's cortical parcellation"):
        segment(tilted_scan(), network=FakeLocateRefine(), parcellation=weights["unet"])


def test_a_named_robust_network_goes_before_the_one_that_is_found(weights, tmp_path, monkeypatch):
    monkeypatch.setenv("NAPARI_SYNTHSEG_WEIGHTS", str(weights["robust"].parent))
    monkeypatch.setattr("napari_synthseg.weights.catalogue.ROBUST", ("unet",))
    assert load(SegmentOptions(model="robust", robust=True)).card["network"] == "robust"
    with pytest.raises(InputError, match="'unet' are not those of a robust network"):
        load(SegmentOptions(robust=True))


def test_labels_that_nobody_has_named_are_asked_for(tmp_path):
    from napari_synthseg.weights.store import import_weights

    path = files.write_keras(tmp_path / "mine.h5", files.random_arrays(files.unet_shapes("unet", 1, 4)))
    with pytest.raises(InputError, match="predict 4 labels that nobody has named"):
        load(SegmentOptions(weights=path))
    named = import_weights(path, tmp_path / "mine.safetensors", labels=(0, 17, 24, 53))
    assert load(SegmentOptions(weights=named)).labels == (0, 17, 24, 53)


# Presets


OFFICIAL = {"network": "unet", "preset": "reference"}
FAST_NETWORK = {"network": "locate-refine", "name": "fast"}


def test_the_weights_choose_the_preset_unless_the_user_does():
    assert config_for(SegmentOptions(), OFFICIAL) == config.REFERENCE
    assert config_for(SegmentOptions(), FAST_NETWORK) == config_for(SegmentOptions()) == OWN
    assert config_for(SegmentOptions(preset="own"), OFFICIAL) == OWN
    with pytest.raises(InputError, match="preset reference does not fit"):
        config_for(SegmentOptions(preset="reference"), FAST_NETWORK)


def test_options_change_the_preset():
    assert not config_for(SegmentOptions(flip=False), OFFICIAL).flip
    assert not config_for(SegmentOptions(fill_holes=False)).fill_holes
    fast = config_for(SegmentOptions(fast=True), OFFICIAL)
    assert (fast.flip, fast.topology, fast.min_posterior, fast.smooth) == (False, False, 0.2, True)
    robust = config_for(SegmentOptions(), OFFICIAL | {"network": "robust"})
    assert (robust.flip, robust.topology, robust.min_posterior, robust.smooth) == (False, False, 0.2, False)
    nothing = config_for(SegmentOptions(keep_largest=False), OFFICIAL)
    assert not (nothing.keep_brain or nothing.topology) and nothing.min_posterior is None
    with pytest.raises(InputError, match="preset cannot be 'best'"):
        SegmentOptions(preset="best")


def test_memory_needed_of_the_published_sizes():
    from napari_synthseg.networks.unet import UNet3d

    with torch.device("meta"):
        model = UNet3d(33)
    assert sum(whole_volume.memory_needed(model, (160, 160, 160))) < 5 << 30
    assert sum(whole_volume.memory_needed(model, (256, 256, 256))) < 8 << 30


def test_half_precision_is_an_option(weights):
    exact = segment(tilted_scan(), weights=weights["unet"], device="cpu", flip=False)
    half = segment(tilted_scan(), weights=weights["unet"], device="cpu", flip=False, bfloat16=True)
    same = np.mean(half.labels.data == exact.labels.data)
    assert 0.9 < same < 1  # random networks have narrow margins
    assert half.record["procedure"]["bfloat16"] and not exact.record["procedure"]["bfloat16"]


def test_the_command_takes_official_files(weights, tmp_path, capsys):
    from napari_synthseg.cli import main
    from napari_synthseg.io import read_labels, write_volume

    write_volume(tmp_path / "scan.nii.gz", tilted_scan())
    arguments = ["segment", str(tmp_path / "scan.nii.gz"), "-o", str(tmp_path / "labels.nii.gz"), "--device", "cpu"]
    arguments += ["--weights", str(weights["unet"]), "--parcellation", str(weights["parcellation"]), "--no-flip"]
    assert main([*arguments, "--volumes", str(tmp_path / "volumes.csv")]) == 0
    labels = read_labels(tmp_path / "labels.nii.gz").data
    assert labels.shape == tilted_scan().shape and np.isin(labels, list(anatomy.parcels())).any()
    header = (tmp_path / "volumes.csv").read_text().splitlines()[0]
    assert "Left-Cerebral-Cortex" in header and "ctx-rh-insula" in header
    assert "ctx-" in (tmp_path / "labels.tsv").read_text()
    assert main([*arguments[:6], "--weights", str(weights["quality"])]) == 2
    assert "segment no scan by themselves" in capsys.readouterr().err
