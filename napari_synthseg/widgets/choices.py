"""What the faces offer to choose from: models, devices, and the user's preferences. Imports no torch."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import Any

from napari_synthseg import weights

PLUGIN = "napari-synthseg"


@dataclass(frozen=True)
class Choice:
    """An entry of a combo box: the value of the option, its text, and a tooltip."""

    value: Any
    text: str
    tip: str = ""


_DEFAULT_MODEL = Choice(weights.DEFAULT, weights.DEFAULT)


def device_choices() -> list[Choice]:
    """Devices that this kind of machine may have; whether it has them is only known once torch is loaded."""
    gpu = Choice("mps", "Apple GPU (MPS)") if sys.platform == "darwin" else Choice("cuda", "NVIDIA GPU (CUDA)")
    return [Choice("auto", "Automatic", "A GPU if there is one, else the processor."), Choice("cpu", "Processor"), gpu]


def model_choices() -> list[Choice]:
    """The models there are weights for, the default first; the default alone where there are none."""
    folder = preference("cache", "", group="files")
    if folder:
        os.environ.setdefault("NAPARI_SYNTHSEG_CACHE", folder)
    try:
        cards = weights.available()
    except ValueError:  # a broken card; choosing it later says which
        cards = []
    cards.sort(key=lambda card: card["name"] != weights.DEFAULT)
    return [Choice(card["name"], card["name"], card_summary(card)) for card in cards] or [_DEFAULT_MODEL]


def card_summary(card: dict[str, Any]) -> str:
    """A model's card in a few lines: what it is, its data, its scores, its licence."""
    lines = [str(card[key]) for key in ("description", "recipe", "data") if card.get(key)]
    scores = card.get("scores")
    if isinstance(scores, dict):
        lines += [f"{name}: {value:.3f}" for name, value in scores.items() if isinstance(value, float)]
    if card.get("licence"):
        lines.append(f"Licence: {card['licence']}")
    return "\n".join(lines)


def preference(name: str, default: Any, *, group: str = "computing") -> Any:
    """A value of the plugin's preferences; `default` where napari does not know them."""
    try:
        from napari.settings import get_plugin_settings

        return getattr(getattr(get_plugin_settings(PLUGIN), group), name)
    except (ImportError, AttributeError, KeyError):
        return default
