"""The decoder on windows, as training runs it, gives what the model gives."""

from __future__ import annotations

import pytest
import torch

from napari_synthseg.networks.promptable import SINGLE
from napari_synthseg.training.data.prompts import GivenPrompts
from napari_synthseg.training.objectives.window_decoding import decode_windows
from tests.prompting.small import SIZE, small_model

ORIGIN = torch.zeros(1, 2)


@pytest.mark.parametrize("drawn", [False, True])
def test_a_window_of_the_whole_frame_is_answered_as_the_model_answers(drawn: bool) -> None:
    model = small_model()
    model.draws_prompts = drawn
    embedding = model.encode(torch.rand(1, 3, SIZE, SIZE) * 255)
    prompts = GivenPrompts(torch.tensor([[[20.0, 30.0], [5.0, 6.0]]]), torch.tensor([[1.0, 0.0]]), None, None)
    with torch.no_grad():
        logits, expected = decode_windows(model, embedding, model.prompt_encoder.get_dense_pe(), ORIGIN, prompts)
        whole, scores = model.decode(embedding, prompts.points, prompts.signs)
    torch.testing.assert_close(logits, whole[:, SINGLE : SINGLE + 1])
    torch.testing.assert_close(expected, scores[:, SINGLE])


@pytest.mark.parametrize("drawn", [False, True])
def test_masks_and_boxes_are_answered_as_the_model_answers(drawn: bool) -> None:
    model = small_model()
    model.draws_prompts = drawn
    embedding = model.encode(torch.rand(1, 3, SIZE, SIZE) * 255)
    masks = torch.randn(1, 1, SIZE // 4, SIZE // 4)
    prompts = GivenPrompts(None, None, torch.tensor([[8.0, 9.0, 40.0, 50.0]]), masks)
    with torch.no_grad():
        logits, _ = decode_windows(model, embedding, model.prompt_encoder.get_dense_pe(), ORIGIN, prompts)
        whole, _ = model.decode(embedding, boxes=prompts.boxes, masks=masks)
    torch.testing.assert_close(logits, whole[:, SINGLE : SINGLE + 1])
