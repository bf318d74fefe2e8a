"""What the faces offer to choose from: models, devices, and the user's preferences. Imports no torch."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

PLUGIN = "napari-synthseg"


@dataclass(frozen=True)
class Choice:
    """An entry of a combo box: the value of the option, its text, and a tooltip."""

    value: Any
    text: str
    tip: str = ""


def device_choices() -> list[Choice]:
    """Devices that this kind of machine may have; whether it has them is only known once torch is loaded."""
    gpu = Choice("mps", "Apple GPU (MPS)") if sys.platform == "darwin" else Choice("cuda", "NVIDIA GPU (CUDA)")
    return [Choice("auto", "Automatic", "A GPU if there is one, else the processor."), Choice("cpu", "Processor"), gpu]


def preference(name: str, default: Any) -> Any:
    """A value of the plugin's *Computing* preferences; `default` where napari does not know them."""
    try:
        from napari.settings import get_plugin_settings

        return getattr(get_plugin_settings(PLUGIN).computing, name)
    except (ImportError, AttributeError, KeyError):
        return default


def model_choices() -> list[Choice]:
    """The models there are weights for, the default first."""
    return [Choice("synthseg-fast", "synthseg-fast")]
