"""The *Evaluate* widget."""

from napari_synthseg.widgets.evaluate.widget import EvaluateWidget

__all__ = ["EvaluateWidget"]
