"""Embeddings that are kept, dropped, and computed ahead."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

from napari_synthseg.errors import InputError
from napari_synthseg.jobs import Stopped, stoppable
from napari_synthseg.networks.promptable import Promptable
from napari_synthseg.prompting.decode import at_image_resolution
from napari_synthseg.prompting.encodings import Encodings, Frame, to_rgb, to_tensor
from tests.prompting.small import SIZE, small_model

BYTES = 256 * (SIZE // 16) ** 2 * 4
"""Of one embedding."""


@pytest.fixture
def encoded(monkeypatch) -> list[torch.Tensor]:
    """Every image that is really encoded."""
    seen: list[torch.Tensor] = []
    encode = Promptable.encode

    def noting(self, images, precision):
        seen.append(images)
        return encode(self, images, precision)

    monkeypatch.setattr(Promptable, "encode", noting)
    return seen


def image(grey: int) -> np.ndarray:
    return np.full((20, 30), grey, np.uint8)


def test_the_same_pixels_are_encoded_once(encoded):
    encodings = Encodings(small_model())
    first = encodings.get(image(1))
    assert encodings.get(image(1)) is first
    assert encodings.get(image(1).astype(float), window=(0, 255)) is first
    assert len(encoded) == 1


def test_the_same_numbers_with_other_pixels_are_another_image(encoded):
    encodings = Encodings(small_model())
    encodings.ahead([image(1)], None, (2.0, 1.0))
    encodings.wait()
    shapes = [encodings.get(image(1), None, pixel).frame.resized for pixel in ((1.0, 1.0), (2.0, 1.0), (4.0, 2.0))]
    assert shapes == [(43, 64), (64, 48), (64, 48)] and len(encoded) == 2


def test_the_least_recently_used_go_first(encoded):
    encodings = Encodings(small_model(), limit=2 * BYTES)
    for grey in (1, 2, 1, 3):  # 2 is the one to go
        encodings.get(image(grey))
    assert len(encodings) == 2 and len(encoded) == 3
    encodings.get(image(1))
    assert len(encoded) == 3
    encodings.get(image(2))
    assert len(encoded) == 4


def test_asking_for_what_is_on_its_way_does_not_encode_twice(encoded):
    encodings = Encodings(small_model())
    encodings.ahead([image(1)])
    encodings.get(image(1))
    encodings.wait()
    assert len(encoded) == 1


def test_what_is_asked_ahead_replaces_what_was_asked_before(encoded):
    encodings = Encodings(small_model())
    encodings.ahead([image(grey) for grey in range(1, 30)])
    encodings.ahead([image(40)])
    encodings.wait()
    assert len(encoded) < 30
    count = len(encoded)
    encodings.get(image(40))
    assert len(encoded) == count


def test_computing_ahead_respects_the_limit():
    encodings = Encodings(small_model(), limit=2 * BYTES)
    encodings.ahead([image(grey) for grey in range(5)])
    encodings.wait()
    assert len(encodings) == 2 and not encodings._begun


def test_a_failure_ahead_is_not_remembered(monkeypatch):
    encodings = Encodings(small_model())
    with monkeypatch.context() as broken:
        broken.setattr(encodings._model, "encode", None)
        encodings.ahead([image(1)])
        encodings.wait()
        assert len(encodings) == 0
    assert encodings.get(image(1)).frame.shape == (20, 30)


def test_a_request_to_stop_does_not_wait_for_the_encoder(encoded):
    model, layers = small_model(), []
    encodings = Encodings(model)
    for layer in model.modules():
        layer.register_forward_hook(lambda *_: layers.append(0))
    with stoppable(lambda: len(layers) >= 3), pytest.raises(Stopped):
        encodings.get(image(1))
    assert len(layers) < 10 and len(encodings) == 0
    encodings.get(image(1))  # nothing is left of the first attempt
    assert len(layers) > 20 and len(encodings) == 1


def test_closing_ends_what_is_computed_ahead():
    model, layers = small_model(), []
    encodings = Encodings(model)

    def close(*_):
        layers.append(0)
        encodings.close()

    for layer in model.modules():
        layer.register_forward_hook(close)
    encodings.ahead([image(1)])
    encodings.wait()
    assert len(encodings) == 0 and len(layers) < 10


def test_waiting_for_another_thread_can_be_stopped():
    model, gate, begun = small_model(), threading.Event(), threading.Event()
    encodings = Encodings(model)

    def pause(*_):
        begun.set()
        gate.wait(60)

    next(model.children()).register_forward_pre_hook(pause)
    encodings.ahead([image(1)])
    assert begun.wait(60)
    with stoppable(lambda: True), pytest.raises(Stopped):
        encodings.get(image(1))
    gate.set()
    assert encodings.get(image(1)) is encodings.get(image(1))


# On disk


def test_embeddings_are_kept_on_disk_and_found_by_the_image(encoded, tmp_path):
    first = Encodings(small_model(), folder=tmp_path / "kept").get(image(1))
    assert len(list((tmp_path / "kept").glob("*.safetensors"))) == len(encoded) == 1
    again = Encodings(small_model(), folder=tmp_path / "kept")
    torch.testing.assert_close(again.get(image(1)).embedding, first.embedding, rtol=2e-3, atol=2e-3)
    assert len(encoded) == 1
    again.get(image(2))
    assert len(encoded) == 2


def test_embeddings_of_another_encoder_do_not_count(encoded, tmp_path):
    Encodings(small_model(), folder=tmp_path).get(image(1))
    other = small_model()
    with torch.no_grad():
        next(other.image_encoder.parameters()).add_(0.01)
    Encodings(other, folder=tmp_path).get(image(1))
    Encodings(small_model(), torch.bfloat16, folder=tmp_path).get(image(1))
    assert len(encoded) == 3


def test_a_damaged_embedding_is_made_again(encoded, tmp_path):
    Encodings(small_model(), folder=tmp_path).get(image(1))
    (file,) = tmp_path.glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:100])
    Encodings(small_model(), folder=tmp_path).get(image(1))
    assert len(encoded) == 2
    Encodings(small_model(), folder=tmp_path).get(image(1))
    assert len(encoded) == 2


def test_a_folder_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="choose another place"):
        Encodings(small_model(), folder=tmp_path / "file" / "kept")


# An image as the model sees it


@pytest.mark.parametrize("shape", [(512, 512), (100, 333), (2000, 7), (1, 1)])
def test_the_longer_side_fills_the_square(shape):
    frame = Frame(shape)
    assert max(frame.resized) == 1024
    assert to_tensor(np.zeros((*shape, 3), np.uint8), frame).shape == (1, 3, *frame.resized)


def test_it_resizes_and_moves_points_as_sam_does():
    from segment_anything.utils.transforms import ResizeLongestSide

    rgb = np.random.default_rng(0).integers(0, 255, (60, 91, 3), np.uint8)
    sam, frame = ResizeLongestSide(1024), Frame((60, 91))
    np.testing.assert_array_equal(to_tensor(rgb, frame)[0].permute(1, 2, 0).numpy(), sam.apply_image(rgb))
    xy = np.array([[3.0, 5.0], [90.0, 59.0]])
    np.testing.assert_allclose(frame.to_model(xy[:, ::-1]), sam.apply_coords(xy, (60, 91)), rtol=1e-6)


def test_things_are_seen_in_true_proportions():
    frame = Frame((50, 200), pixel=(5.0, 1.0))
    assert frame.resized == (1024, 819)
    assert frame.to_model(np.array([10.0, 50.0])).tolist() == pytest.approx([50 * 819 / 200, 10 * 1024 / 50])


def test_a_mask_goes_there_and_back():
    frame = Frame((150, 200))
    mask = np.zeros((150, 200), bool)
    mask[40:90, 60:130] = True
    back = at_image_resolution(frame.mask_to_model(mask)[0, 0], frame) > 0
    assert 2 * (mask & back).sum() / (mask.sum() + back.sum()) > 0.98


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.float32, np.float64, np.int64])
def test_other_numbers_are_windowed_to_black_and_white(dtype):
    image = np.arange(100 * 100).reshape(100, 100).astype(dtype)
    rgb = to_rgb(image)
    assert rgb.dtype == np.uint8
    assert (rgb[0, 0] == 0).all() and (rgb[-1, -1] == 255).all()
    assert abs(int(rgb[50, 0, 0]) - 127) <= 2


def test_a_window_can_be_given():
    rgb = to_rgb(np.array([[-1000.0, 0.0], [40.0, 80.0]]), window=(0, 80))
    assert rgb[..., 0].tolist() == [[0, 0], [128, 255]]


def test_what_is_not_finite_is_black():
    rgb = to_rgb(np.array([[np.nan, np.inf], [1.0, 2.0]]))
    assert (rgb[0] == 0).all() and rgb[1, 1, 0] == 255


@pytest.mark.parametrize("value", [0, 7.5, np.nan])
def test_an_image_without_contrast_has_none_afterwards(value):
    assert np.unique(to_rgb(np.full((5, 5), value, np.float32))).size == 1


def test_opacity_is_left_out():
    rgba = np.zeros((4, 4, 4), np.uint8)
    rgba[..., 3] = 255
    assert to_rgb(rgba).shape == (4, 4, 3) and not to_rgb(rgba).any()


@pytest.mark.parametrize("shape", [(3,), (4, 4, 4, 3), (4, 4, 2), (0, 5)])
def test_other_shapes_are_refused_in_a_sentence(shape):
    with pytest.raises(InputError, match="cannot be prompted"):
        to_rgb(np.zeros(shape))
