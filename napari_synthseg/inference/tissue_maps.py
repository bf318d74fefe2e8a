"""What the inner networks of a robust network find: the names of the two maps and of their classes. No torch here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_synthseg import anatomy

if TYPE_CHECKING:
    from napari_synthseg.io import LabelName

DRAWN_AS = (0, 2, 3, 4, 8)
"""A structure of each tissue class, whose colour the class has too."""


def tissue_names() -> dict[int, LabelName]:
    """What each tissue class (`anatomy.TISSUES`, without the background) is called, and its colour."""
    from napari_synthseg.io import LabelName  # here: slow to import, not needed to open a widget

    return {
        number: LabelName(name[:1].upper() + name[1:], anatomy.color(DRAWN_AS[number]))
        for number, name in enumerate(anatomy.TISSUES)
        if number
    }
