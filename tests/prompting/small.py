"""A promptable model small enough for tests."""

from __future__ import annotations

import torch

from napari_synthseg.networks.promptable import Promptable, TinyVitSize

SIZE = 64
"""Pixels a side of what it sees."""


def slow_decoding(monkeypatch) -> None:
    """Let sessions decode by `Promptable.decode`, which tests replace."""

    def decode(model, embedding, prompts):
        logits, scores = model.decode(embedding, *prompts)
        return logits[:, :1], scores[:, 0]

    monkeypatch.setattr("napari_synthseg.prompting.session.decode_image", decode)


def small_model() -> Promptable:
    """Untrained, the same each time."""
    torch.manual_seed(0)
    size = TinyVitSize((16, 16, 32, 32), (1, 1, 1, 1), (1, 1, 2, 2), (7, 7, 14, 7))
    return Promptable(size, SIZE).eval()
