"""With official weights: the reference implementation's behaviour, step by step, against what it gave.

The U-Net's own posteriors are in `tests/weights/test_keras_golden.py`.
"""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import torch

from napari_synthseg import anatomy
from napari_synthseg.inference import postprocess, preprocess, whole_volume
from napari_synthseg.inference.options import SegmentOptions, config_for
from napari_synthseg.inference.parcellation import SmoothedSink
from napari_synthseg.inference.state import Prediction, WholeHead
from napari_synthseg.jobs import run
from napari_synthseg.networks.unet import UNet3d
from napari_synthseg.volume import Volume, crop, to_canonical
from napari_synthseg.weights.store import load_keras_h5
from tests.shared_data import CLOSE, assert_agrees, golden, shared

CASES = (
    "las_1mm",
    "oblique_1x1x3",
    "pir_oblique_08x08x5",
    "lia_07iso",
    "las_1mm_crop32_ct",
    "ras_1mm_2channels",
)
RESAMPLED = ("oblique_1x1x3", "pir_oblique_08x08x5", "lia_07iso")
CPU = torch.device("cpu")


def scan(case: str) -> Volume:
    """The first channel of a case's scan."""
    image = nib.load(shared(f"reference/golden/pre_{case}_in.nii.gz"))
    data = np.asarray(image.dataobj, np.float32)
    return Volume(data[..., 0] if data.ndim == 4 else data, image.affine)


# Before the network


@pytest.mark.parametrize("case", RESAMPLED)
def test_resampled_scans(case):
    ours = preprocess.resample_as_reference(scan(case))
    theirs = nib.load(shared(f"reference/golden/pre_{case}_resampled.nii.gz"))
    data = np.asarray(theirs.dataobj)
    assert ours.shape == data.shape
    stored = 0.51 * float(theirs.dataobj.slope)  # the golden file has 8 or 16 bits
    assert np.abs(ours.data - data).max() <= max(1e-3 * np.ptp(data), stored if case == "lia_07iso" else 0)
    np.testing.assert_allclose(ours.affine, golden(f"pre_{case}_out.npz")["aff"], atol=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_what_the_network_sees(case):
    z = golden(f"pre_{case}_out.npz")
    volume, how = scan(case), config_for(SegmentOptions(preset="reference"))
    if z["crop_idx"].size:  # the reference's --crop, which is a volume to begin with here
        box = z["crop_idx"].astype(int)
        volume = crop(to_canonical(volume), box[:3], box[3:])
    prepared = preprocess.prepare(
        volume, ct="_ct" in case, crop_to_head=how.crop_to_head, reference_grid=how.reference_grid
    )
    ours = preprocess.rescale(prepared.image, *how.percentiles)
    np.testing.assert_allclose(ours, z["net_in_unpadded"], atol=1e-6)
    size, start = preprocess.pad_to(ours.shape, whole_volume.MULTIPLE, 32 if z["crop_idx"].size else how.minimum)
    assert size == tuple(z["padded_shape"]) and start == tuple(z["pad_idx"][:3])


# The network with smoothing and flips, in slabs


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("flip", [True, False])
def test_averaged_posteriors_in_one_piece(version, flip):
    z = golden(f"v{version}_small_net.npz")
    model = load_keras_h5(shared(f"reference/golden/v{version}_small_weights.h5"))
    image = torch.from_numpy(z["image"])
    ours, tissues = run(whole_volume.streamed_steps(model, image, CPU, flip))
    ours = whole_volume.smooth_posteriors(ours[None])[0]
    assert tissues == {}
    tag = "tta" if flip else "smooth"
    np.testing.assert_allclose(ours.flatten(1).double().mean(1), z[f"channel_mean_{tag}"], atol=1e-6)
    if flip:
        assert_agrees(ours, z, "post_tta", "argmax_tta")
    else:
        found = ours.flatten(1)[:, torch.from_numpy(z["voxel_idx"])].T
        np.testing.assert_allclose(found, z["post_smooth"], rtol=0, atol=CLOSE)
        corner = z["post_smooth_corner"]
        np.testing.assert_allclose(ours[:, :3, :3, :3].permute(1, 2, 3, 0), corner, atol=CLOSE)


def test_the_robust_hierarchy_in_one_piece():
    z = golden("robust_small_net.npz")
    model = load_keras_h5(shared("reference/golden/robust_small_weights.h5"))
    ours, tissues = run(whole_volume.streamed_steps(model, torch.from_numpy(z["image"]), CPU, False))
    assert_agrees(ours, z, "s2_post", "s2_argmax")
    assert np.mean(tissues["S1"].numpy() != z["s1_argmax"]) < 1e-4
    assert np.mean(tissues["denoised"].numpy() != z["den_argmax"]) < 1e-4


def test_the_parcellation_in_slabs():
    from napari_synthseg.inference.streaming import slab_steps

    z = golden("v2_parc_small_net.npz")
    model = load_keras_h5(shared("reference/golden/v2_parc_small_weights.h5"))
    image = torch.from_numpy(z["image"])
    cortex = torch.from_numpy(np.isin(np.asarray(anatomy.predicted_values())[z["seg_argmax"]], anatomy.CORTEX))
    planes = torch.stack([image, 1 - cortex.float(), cortex.float()], -1)
    found: list[torch.Tensor] = []
    smooth = SmoothedSink(lambda start, part: found.append(part))
    run(slab_steps(model, lambda a, b: planes[a:b], tuple(image.shape), smooth.add))
    smooth.end()
    ours = torch.cat(found).permute(3, 0, 1, 2)
    assert_agrees(ours, z, "parc_post", "parc_argmax")
    np.testing.assert_allclose(ours.flatten(1).double().mean(1), z["parc_channel_mean"], atol=1e-6)


# After the network

VARIANTS = {
    "default": SegmentOptions(preset="reference"),
    "default_ras": SegmentOptions(preset="reference"),
    "fast": SegmentOptions(preset="reference", fast=True),
    "notopo": SegmentOptions(preset="reference", fast=True),
    "p1_default": SegmentOptions(preset="reference"),
    "p1_nokeep_notopo": SegmentOptions(preset="reference", keep_largest=False),
}


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("tag", VARIANTS)
def test_labels_posteriors_and_volumes(version, tag):
    z = golden(f"post_v{version}.npz")
    values, how = tuple(z["labels"].tolist()), config_for(VARIANTS[tag])
    prediction, hard = cleaned(z, values, how)
    affine = np.eye(4) if tag == "default_ras" else z["aff"]
    theirs = to_canonical(Volume(z[f"{tag}_seg"], affine)).data
    np.testing.assert_array_equal(placed(hard, prediction, theirs.shape), theirs)
    volumes = postprocess.soft_volumes(prediction.posteriors, values, float(np.prod(z["im_res"])))
    expected = z[f"{tag}_volumes"]
    if len(expected) > len(volumes):
        assert sum(volumes.values()) == pytest.approx(expected[0], rel=1e-4)
        expected = expected[1:]
    np.testing.assert_allclose(list(volumes.values()), expected, rtol=1e-4, atol=1e-3)  # theirs has three decimals
    if f"{tag}_post_vals" in z and tag == "default_ras":
        whole = torch.zeros((len(values), *theirs.shape))
        whole[0] = 1
        whole[(slice(None), *box_of(prediction))] = prediction.posteriors
        at = torch.from_numpy(z[f"{tag}_post_idx"])
        np.testing.assert_allclose(whole.flatten(1)[:, at].T, z[f"{tag}_post_vals"], atol=1e-5)


def cleaned(z, values, how) -> tuple[Prediction, np.ndarray]:
    """The golden posteriors as the pipeline treats them: cut to the brain's box, cleaned, cut to the scan."""
    counts = z["post_q"].astype(np.float32)
    posteriors = torch.from_numpy(np.moveaxis(counts / counts.sum(-1, keepdims=True), -1, 0).copy())
    first, shape = [int(n) for n in z["pad_idx"][:3]], tuple(int(n) for n in z["shape"])
    start = tuple(-n for n in first)
    if not how.topology:
        inner = tuple(slice(a, a + n) for a, n in zip(first, shape, strict=True))
        posteriors, start = posteriors[(slice(None), *inner)].contiguous(), (0, 0, 0)
    model = UNet3d(values, 2, 2)
    head = WholeHead(posteriors[0], posteriors[0], (0, 0, 0))
    found = Prediction(posteriors, values, start, None, "cpu")
    if how.keep_brain:
        found = whole_volume.around_brain(posteriors, model, head, start, "cpu", 0)
    hard = postprocess.clean(found.posteriors, values, how)
    return found.within(shape), hard[found.inside(shape)]


def box_of(prediction: Prediction) -> tuple[slice, ...]:
    return tuple(slice(a, a + n) for a, n in zip(prediction.start, prediction.posteriors.shape[1:], strict=True))


def placed(hard: np.ndarray, prediction: Prediction, shape: tuple[int, ...]) -> np.ndarray:
    out = np.zeros(shape, hard.dtype)
    out[box_of(prediction)] = hard
    return out
