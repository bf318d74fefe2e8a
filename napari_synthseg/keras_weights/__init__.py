"""SynthSeg's official Keras weights (`.h5`) into our networks, read with h5py alone.

Files are recognised by their layers: SynthSeg 1.0 and 2.0, training checkpoints of either, robust 2.0, the cortical
parcellation and the quality regressor. A file is described without torch, which is slow to import.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_synthseg.keras_weights.layers import Layers
from napari_synthseg.keras_weights.recognise import REFERENCE, recognise

if TYPE_CHECKING:
    from torch import nn

__all__ = ["REFERENCE", "describe", "load"]


def describe(path: Path | str, labels: Sequence[int] | None = None) -> dict[str, Any]:
    """The card of the network in a file, from its layers' shapes alone.

    Raises:
        InputError: the file holds no network of SynthSeg; the sentence says what it is.
    """
    with Layers(Path(path)) as layers:
        return recognise(layers, labels)


def load(path: Path | str, labels: Sequence[int] | None = None) -> tuple[nn.Module, dict[str, Any]]:
    """The network in a file, in evaluation mode, and its card.

    Args:
        path: the `.h5` file.
        labels: the values that the network predicts, sorted, where its number of channels does not tell.

    Raises:
        InputError: the file holds no network of SynthSeg, or only a part of one; the sentence says what it is.
    """
    from napari_synthseg.keras_weights.fill import fill
    from napari_synthseg.networks.build import build

    with Layers(Path(path)) as layers:
        card = recognise(layers, labels)
        model = build(card).eval()
        fill(model, card, layers)
    return model, card
