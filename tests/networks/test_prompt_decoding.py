"""The decoder on windows, as training runs it, and on an image, as a click does, gives what the model gives."""

from __future__ import annotations

import pytest
import torch

from napari_synthseg.networks.prompt_decoding import decode_image, decode_windows
from napari_synthseg.networks.prompt_layers import PromptTensors
from napari_synthseg.networks.promptable import SINGLE
from tests.prompting.small import SIZE, small_model

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
