"""Promptable networks: SAM's modules with our names, bounded attention, and prompts drawn as maps."""

from __future__ import annotations

import pytest
import torch

from napari_synthseg.networks import prompt_layers
from napari_synthseg.networks.prompt_decoding import decode_image, decode_windows
from napari_synthseg.networks.prompt_layers import (
    OUTSIDE,
    SURE,
    BoundedAttention,
    PromptTensors,
    drawn_prompts,
)
from napari_synthseg.networks.promptable import SINGLE, Promptable, TinyVitSize, VitSize
from tests.prompting.small import SIZE, small_model

TINY = TinyVitSize((16, 16, 32, 32), (1, 1, 1, 1), (1, 1, 2, 2), (7, 7, 14, 7))
VIT = VitSize(width=32, depth=2, heads=2, global_blocks=(1,))


def model(encoder: TinyVitSize | VitSize = TINY, image_size: int = 128) -> Promptable:
    torch.manual_seed(0)
    return Promptable(encoder, image_size).eval()


@pytest.fixture
def image() -> torch.Tensor:
    return torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(1)) * 255


@pytest.mark.parametrize("encoder", [TINY, VIT])
@torch.no_grad()
def test_an_embedding_has_a_sixteenth_of_the_resolution(encoder, image):
    embedding = model(encoder).encode(image)
    assert embedding.shape == (1, 256, 8, 8)
    assert embedding.dtype == torch.float32


@torch.no_grad()
def test_what_is_missing_is_padded_with_the_mean_color(image):
    network = model()
    wide = image[..., :96, :]
    padded = torch.cat([wide, network.pixel_mean.expand(1, 3, 32, 128)], dim=2)
    torch.testing.assert_close(network.encode(wide), network.encode(padded))


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("encoder", [TINY, VIT])
@torch.no_grad()
def test_half_precision_is_near_and_comes_back_as_float32(encoder, precision, image):
    network = model(encoder)
    exact, near = network.encode(image), network.encode(image, precision)
    assert near.dtype == torch.float32
    assert 0 < (near - exact).abs().max() < 0.3 * exact.std()


@torch.no_grad()
def test_points_boxes_and_masks_each_change_the_answer(image):
    network = model()
    embedding = network.encode(image)
    points, labels = torch.tensor([[[30.0, 40.0]]]), torch.ones(1, 1)
    answers = [
        network.decode(embedding)[0],
        network.decode(embedding, points, labels)[0],
        network.decode(embedding, points, 1 - labels)[0],
        network.decode(embedding, boxes=torch.tensor([[10.0, 10.0, 60.0, 70.0]]))[0],
        network.decode(embedding, points, labels, masks=torch.ones(1, 1, 32, 32))[0],
    ]
    assert all(answer.shape == (1, 4, 32, 32) for answer in answers)
    assert all(not torch.allclose(a, b) for i, a in enumerate(answers) for b in answers[:i])


@torch.no_grad()
def test_several_prompts_on_one_image_are_answered_each_for_itself(image):
    network = model()
    embedding = network.encode(image)
    points = torch.tensor([[[30.0, 40.0]], [[90.0, 20.0]]])
    together, iou = network.decode(embedding, points, torch.ones(2, 1))
    assert iou.shape == (2, 4)
    for i in range(2):
        alone, _ = network.decode(embedding, points[i : i + 1], torch.ones(1, 1))
        torch.testing.assert_close(together[i : i + 1], alone, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("maps", [2**25, 2 * 3 * 8 * 64, 1])
@torch.no_grad()
def test_bounded_attention_is_sams_attention(monkeypatch, maps):
    from segment_anything.modeling.image_encoder import Attention

    monkeypatch.setattr(prompt_layers, "MAPS", maps)
    torch.manual_seed(0)
    plain = Attention(16, num_heads=2, use_rel_pos=True, input_size=(8, 8))
    torch.nn.init.normal_(plain.rel_pos_h)
    torch.nn.init.normal_(plain.rel_pos_w)
    bounded = BoundedAttention(16, 2, 8)
    bounded.load_state_dict(plain.state_dict())
    x = torch.randn(3, 8, 8, 16)
    torch.testing.assert_close(bounded(x), plain(x), atol=1e-5, rtol=1e-4)


def test_a_point_is_a_disc_of_its_sign() -> None:
    points, labels = torch.tensor([[[40.0, 80.0], [100.0, 20.0]]]), torch.tensor([[1, 0]])
    drawn = drawn_prompts(128, PromptTensors(points, labels))
    assert drawn.shape == (1, 1, 32, 32)
    assert drawn[0, 0, 20, 10] == SURE
    assert drawn[0, 0, 5, 25] == -SURE
    assert 15 <= (drawn == SURE).sum() <= 25
    one_sign = drawn_prompts(128, PromptTensors(points, torch.tensor([[1, 1]])))
    assert set(one_sign.unique().tolist()) == {0.0, SURE}


def test_between_points_of_both_signs_the_nearer_one_counts() -> None:
    points = torch.tensor([[[40.0, 64.0], [16.0, 16.0], [100.0, 64.0]]])
    drawn = drawn_prompts(128, PromptTensors(points, torch.tensor([[1, 1, 0]])))[0, 0]
    row = drawn[16, 10:25]
    assert (row.diff() <= 0).all()
    assert row[0] == SURE
    assert row[-1] == -SURE
    assert abs(drawn[15:17, 17].mean()) < 0.5  # half-way
    assert drawn.isfinite().all()


def test_a_mask_says_more_than_distances_from_points() -> None:
    masks = torch.full((1, 1, 32, 32), -3.0)
    drawn = drawn_prompts(
        128, PromptTensors(torch.tensor([[[40.0, 64.0], [100.0, 64.0]]]), torch.tensor([[1, 0]]), masks=masks)
    )
    assert set(drawn.unique().tolist()) == {-SURE, -3.0, SURE}


def test_beyond_a_box_is_outside() -> None:
    drawn = drawn_prompts(128, PromptTensors(boxes=torch.tensor([[40.0, 80.0, 79.0, 119.0]])))[0, 0]
    inside = torch.zeros(32, 32, dtype=torch.bool)
    inside[20:30, 10:20] = True
    assert (drawn[inside] == 0).all()
    assert (drawn[~inside] == OUTSIDE).all()


def test_points_lie_on_boxes_and_boxes_on_masks() -> None:
    masks = torch.full((1, 1, 32, 32), 5.0)
    box, point = torch.tensor([[0.0, 0.0, 63.0, 127.0]]), torch.tensor([[[100.0, 64.0]]])
    drawn = drawn_prompts(128, PromptTensors(point, torch.tensor([[1]]), box, masks))[0, 0]
    assert drawn[4, 4] == 5.0
    assert drawn[4, 25] == OUTSIDE
    assert drawn[16, 25] == SURE

    nothing = drawn_prompts(64, PromptTensors(torch.tensor([[[30.0, 30.0]]]), torch.tensor([[-1]])))  # a place-holder
    assert not nothing.any()


# Decoding as training and clicks do it


ORIGIN = torch.zeros(1, 2)


PROMPTS = {
    "points": {"points": torch.tensor([[[20.0, 30.0], [5.0, 6.0]]]), "labels": torch.tensor([[1.0, 0.0]])},
    "box and mask": {"boxes": torch.tensor([[8.0, 9.0, 40.0, 50.0]]), "masks": torch.randn(1, 1, SIZE // 4, SIZE // 4)},
}


@pytest.mark.parametrize("drawn", [False, True])
@pytest.mark.parametrize("prompts", PROMPTS.values(), ids=PROMPTS)
@pytest.mark.parametrize("way", ["windows", "image"])
def test_it_is_answered_as_the_model_answers(drawn: bool, prompts: dict, way: str) -> None:
    model = small_model()
    model.draws_prompts = drawn
    embedding = model.encode(torch.rand(1, 3, SIZE, SIZE) * 255)
    with torch.no_grad():
        if way == "windows":
            found = decode_windows(
                model, embedding, model.prompt_encoder.get_dense_pe(), ORIGIN, PromptTensors(**prompts)
            )
        else:
            found = decode_image(model, embedding, PromptTensors(**prompts))
        whole, scores = model.decode(embedding, **prompts)
    torch.testing.assert_close(found[0], whole[:, SINGLE : SINGLE + 1], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found[1], scores[:, SINGLE], rtol=1e-4, atol=1e-4)
