"""Promptable segmentation: images as the model sees them, prompts and their answers (no napari).

    from napari_synthseg.prompting import Session

    session = Session()
    session.set_image(image)  # (rows, columns), any kind of numbers
    session.add_point((120, 80))
    mask = session.predict()

Importing this package, `options` or `prompts` loads no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_synthseg.prompting.options import PropagateOptions
    from napari_synthseg.prompting.prompts import Anchor, Planes, Prompts
    from napari_synthseg.prompting.propagate import SliceAnswer
    from napari_synthseg.prompting.session import Answer, Session

__all__ = ["Anchor", "Answer", "Planes", "Prompts", "PropagateOptions", "Session", "SliceAnswer"]

_MODULES = {
    "Anchor": "prompts",
    "Answer": "session",
    "Planes": "prompts",
    "Prompts": "prompts",
    "PropagateOptions": "options",
    "Session": "session",
    "SliceAnswer": "propagate",
}


def __getattr__(name: str) -> Any:
    """Load a public name on first use (PEP 562)."""
    if name in _MODULES:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
