"""Point at something and have it segmented: the image as the model sees it, prompts and their answers (no napari)."""

from napari_synthseg.prompting.session import Answer, Prompts, Session

__all__ = ["Answer", "Prompts", "Session"]
