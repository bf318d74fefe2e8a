"""The *Train* widget."""

from napari_synthseg.widgets.train.widget import TrainWidget

__all__ = ["TrainWidget"]
