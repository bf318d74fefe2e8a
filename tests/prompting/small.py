"""A promptable model small enough for tests."""

from __future__ import annotations

from pathlib import Path

import torch

from napari_synthseg.networks.promptable import Promptable, TinyVitSize
from napari_synthseg.weights import store

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


def promptable_weights(path: Path, model: Promptable | None = None, **card) -> Path:
    """Weights of a small promptable model with an encoder of its own, random unless given."""
    torch.manual_seed(0)
    made = Promptable("mobile", SIZE) if model is None else model
    card = {"name": path.stem, "network": "promptable", "encoder": "mobile", "image_size": SIZE, **card}
    store.save(path, made.state_dict(), card)
    return path
