"""The *Preview synthesis* widget: samples of the generative models, and the effect of each prior."""

from __future__ import annotations

from napari_synthseg.widgets.preview.tabs import PreviewWidget

__all__ = ["PreviewWidget"]
