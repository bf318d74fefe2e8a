"""Point at something and have it segmented: the image as the model sees it, prompts and their answers (no napari).

Importing this package, `options`, `prompts`, `planes` or `window` loads no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_synthseg.prompting.options import PropagateOptions
    from napari_synthseg.prompting.planes import Planes
    from napari_synthseg.prompting.prompts import Anchor, Prompts
    from napari_synthseg.prompting.propagate import SliceAnswer
    from napari_synthseg.prompting.session import Answer, Session

__all__ = ["Anchor", "Answer", "Planes", "Prompts", "PropagateOptions", "Session", "SliceAnswer"]

_MODULES = {
    "Anchor": "prompts",
    "Answer": "session",
    "Planes": "planes",
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
