"""The *Prompt* widget: point at a thing in an image and have it segmented."""

from napari_synthseg.widgets.prompt.widget import PromptWidget

__all__ = ["PromptWidget"]
