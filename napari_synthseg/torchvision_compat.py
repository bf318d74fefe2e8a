"""Lets `timm` and `segment-anything` be imported where torchvision's compiled operators do not fit the installed torch.

Both import torchvision, and torchvision refuses to be imported when its library was built for another torch than the
one at hand (a CPU torch beside a CUDA torchvision is the usual case): it registers shapes for `torchvision::nms`, which
then does not exist. Nothing here ever suppresses boxes, so it is enough that the operators are declared.
"""

from __future__ import annotations

from typing import Any

_OPERATORS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_declared: list[Any] = []
"""The declarations last as long as this object."""


def import_torchvision() -> None:
    """Import torchvision; where it cannot be imported for want of its operators, declare them and import it then.

    A torchvision that works is left alone. A declared operator has no body: calling it fails as it would have.

    Raises:
        ImportError: torchvision is not installed.
    """
    try:
        import torchvision
    except RuntimeError as error:
        if "torchvision::" not in str(error) or _declared:
            raise
        _declare()
        import torchvision  # noqa: F401


def _declare() -> None:
    import torch

    library = torch.library.Library("torchvision", "FRAGMENT")
    for schema in _OPERATORS:
        name = schema.partition("(")[0]
        if not hasattr(torch.ops.torchvision, name):
            library.define(schema)
    _declared.append(library)
