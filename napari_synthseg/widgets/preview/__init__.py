"""The *Preview synthesis* widget: what the generative models make, and what each of their priors does."""

from __future__ import annotations

from napari_synthseg.widgets.preview.widget import PreviewWidget

__all__ = ["PreviewWidget"]
