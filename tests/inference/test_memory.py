from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from napari_synthseg import anatomy
from napari_synthseg.errors import InputError
from napari_synthseg.inference import memory, whole_volume
from napari_synthseg.inference.memory import interruptible
from napari_synthseg.inference.options import OWN
from napari_synthseg.inference.preprocess import prepare
from napari_synthseg.inference.state import Prediction
from napari_synthseg.jobs import Stopped, run, stoppable
from napari_synthseg.networks import locate_refine
from napari_synthseg.networks.locate_refine import LocateRefine, log_prior
from tests.inference.fakes import LABELS, FakeLocateRefine, FakeUNet, ball_scan, earlier, later, mean_of_four_views
from tests.shared_data import shared


def predicted(model, flip: bool = True, **options) -> tuple[np.ndarray, Prediction]:
    """Labels on the scan's grid (values from the fakes), and the prediction."""
    volume, _ = ball_scan()
    prepared = prepare(volume)
    result = run(memory.predict_steps(model, prepared.image, device="cpu", config=replace(OWN, flip=flip), **options))
    out = np.zeros(prepared.image.shape, np.int16)
    place = tuple(slice(s, s + n) for s, n in zip(result.start, result.posteriors.shape[1:], strict=True))
    out[place] = np.array(LABELS)[result.posteriors.argmax(0).numpy()]
    start = np.rint(prepared.affine[:3, 3] - volume.affine[:3, 3]).astype(int)
    whole = np.zeros(volume.shape, np.int16)
    whole[tuple(slice(s, s + n) for s, n in zip(start, out.shape, strict=True))] = out
    return whole, result


@pytest.mark.parametrize("flip", [True, False])
def test_locate_and_refine_find_the_structures(flip):
    labels, result = predicted(FakeLocateRefine(), flip=flip)
    assert np.mean(labels == ball_scan()[1]) > 0.99
    assert result.posteriors.dtype == torch.float16
    torch.testing.assert_close(
        result.posteriors.float().sum(0), torch.ones(result.posteriors.shape[1:]), atol=5e-3, rtol=0
    )


def test_blocks_give_the_same_as_one_piece():
    whole, _ = predicted(FakeLocateRefine())
    model = FakeLocateRefine()
    parts, _ = predicted(model, max_voxels=48**3)
    assert len(model.blocks) > 2
    np.testing.assert_array_equal(parts, whole)


def test_a_brain_beyond_the_scan_is_no_brain():
    class Elsewhere(FakeLocateRefine):
        def locate(self, image):
            out = torch.zeros(1, len(LABELS), *image.shape[2:])
            out[:, 0] = 1
            out[:, 1, :4, :4, :4], out[:, 0, :4, :4, :4] = 1, 0
            return out

    image = np.zeros((24, 24, 24), np.float32)
    image[6:18, 6:18, 6:18] = 1
    with pytest.raises(InputError, match="No brain"):
        run(memory.predict_steps(Elsewhere(), image, device="cpu", config=replace(OWN, flip=False)))


def test_the_field_of_view_follows_the_brain():
    model = FakeLocateRefine()
    model.head_shape = (30, 30, 30)
    volume, labels = ball_scan()
    data = np.zeros((56, 56, 150), np.float32)
    data[:, :, 94:] = volume.data
    data[20:36, 20:36, 10:100] = 400  # a neck: the guess from the outline is off
    image = prepare(type(volume)(data, volume.affine)).image
    result = run(memory.predict_steps(model, image, device="cpu"))
    assert result.posteriors[1:].float().sum() > 0.95 * (labels > 0).sum()


def test_a_scan_without_a_brain_is_refused():
    class Blind(FakeLocateRefine):
        def locate(self, image):
            out = torch.zeros(1, len(LABELS), *image.shape[2:])
            out[:, 0] = 1
            return out

    with pytest.raises(InputError, match="No brain was found"):
        predicted(Blind())


def test_when_memory_runs_out_smaller_blocks_are_tried():
    model = FakeLocateRefine(fail_above=60 * 60 * 60)
    labels, result = predicted(model)
    assert np.mean(labels == ball_scan()[1]) > 0.99
    assert "Memory ran out" in result.notes[0]


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"),
        RuntimeError("MPS backend out of memory (MPS allocated: 1 GB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: not enough memory"),
    ],
)
def test_memory_errors_are_recognised(error):
    assert memory.out_of_memory(error)
    assert not memory.out_of_memory(RuntimeError("something else"))


def test_a_unet_takes_the_whole_head():
    labels, _ = predicted(FakeUNet())
    assert np.mean(labels == ball_scan()[1]) > 0.99


@pytest.mark.parametrize("version", [1, 2])
def test_flip_averaged_posteriors_of_the_unet_match_the_reference(version):
    pytest.importorskip("h5py")
    from napari_synthseg.weights.store import load_model

    golden = np.load(shared(f"reference/golden/v{version}_small_net.npz"))
    model = load_model(shared(f"reference/golden/v{version}_small_weights.h5"))
    image = torch.from_numpy(golden["image"])[None, None]
    ours = whole_volume.unet_posteriors(model, image)[0]
    at = golden["voxel_idx"]
    np.testing.assert_allclose(ours.flatten(1)[:, at].T, golden["post_tta"], atol=1e-4)
    np.testing.assert_allclose(
        whole_volume.unet_posteriors(model, image, flip=False)[0].flatten(1)[:, at].T, golden["post_smooth"], atol=1e-4
    )
    assert np.mean(ours.argmax(0).numpy() != golden["argmax_tta"]) < 1e-4


def small_network() -> LocateRefine:
    torch.manual_seed(1)
    model = LocateRefine(anatomy.predicted_values(), locator_features=(8, 8, 8), refiner_features=(8, 8)).eval()
    for net in (model.locator, model.refiner):
        torch.nn.init.normal_(net.head.weight, std=0.5)
        torch.nn.init.normal_(net.head.bias, std=0.5)
    torch.nn.init.normal_(model.locator.position)
    return model


def test_averaging_inside_the_refiner_is_averaging_its_logits():
    model = small_network()
    order = list(anatomy.flip_channels(model.labels))
    image = torch.rand(1, 1, 16, 24, 8)
    prior = torch.randn(1, 33, 8, 12, 4).softmax(1)
    between = nn.functional.avg_pool3d(nn.functional.pad(prior, (0, 1) * 3, mode="replicate"), 2, 1)
    looks = torch.rand(1, 33, 2) + 0.1

    def logits(image, prior, looks):
        net, start = model.refiner, nn.functional.interpolate(log_prior(prior), scale_factor=2)
        return (net(image, net.hints(image, prior, looks)) + start)[0]

    with torch.inference_mode():
        direct = logits(image, prior, looks)
        mirrored = logits(later(image).flip(2), between[:, order].flip(2), looks[:, order]).flip(1)[order]
        ours = model.refine_averaged(image, prior, looks, order)
        torch.testing.assert_close(
            ours[:, 1:, 1:, 1:].float(), (earlier(direct, 0, 0, 0) + earlier(mirrored)) / 2, atol=1e-2, rtol=1e-3
        )
        torch.testing.assert_close(
            model.refine_averaged(image, prior, looks, None).float(), direct, atol=1e-2, rtol=1e-3
        )


def test_averaging_inside_the_locator_is_averaging_its_logits():
    model = small_network()
    order = list(anatomy.flip_channels(model.labels))
    image = torch.rand(1, 1, 96, 112, 96)
    with torch.inference_mode():
        ours = locate_refine.located(model, image, order)[:, 1:, 1:, 1:].float()
        mean = mean_of_four_views(lambda x: model.locator(x)[0], image, order)
    torch.testing.assert_close(ours, mean.softmax(0), atol=2e-3, rtol=0)


def test_a_request_to_stop_ends_a_network_between_its_layers():
    layers = []
    net = nn.Sequential(*(nn.Conv3d(1, 1, 1) for _ in range(6)))
    for layer in net:
        layer.register_forward_hook(lambda *_: layers.append(1))
    with stoppable(lambda: len(layers) == 2), interruptible(net), pytest.raises(Stopped):
        net(torch.zeros(1, 1, 2, 2, 2))
    assert len(layers) == 2
    with stoppable(lambda: True):
        net(torch.zeros(1, 1, 2, 2, 2))  # nothing is left behind in the network
