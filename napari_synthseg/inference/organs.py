"""Networks of other organs than the brain: what their cards say, and what does not apply to them. No torch here.

Such a network's labels are any numbers, which mean nothing in FreeSurfer's table even where they stand in it; they have
no sides. There is no head to look for, no orientation to judge by, no volume that is usual.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from napari_synthseg.errors import InputError
from napari_synthseg.inference.options import SegmentOptions
from napari_synthseg.io.labels import LabelName

NOTHING = "None of the network's structures was found in the scan: does it show what the network was trained on?"


def names_of(card: Mapping[str, Any] | None) -> dict[int, LabelName]:
    """What the labels of another organ are called, and their colours where it says so; empty for those of the brain."""
    card = card or {}
    colors = card.get("colors", {})
    names = {}
    for value, name in card.get("names", {}).items():
        color = colors.get(value)
        names[int(value)] = LabelName(str(name), tuple(int(part) for part in color) if color else None)  # type: ignore[arg-type]
    return names


def check_options(options: SegmentOptions, card: Mapping[str, Any]) -> None:
    """Refuse what is made for brains.

    Raises:
        InputError: one of the options is.
    """
    wrong = {
        "the preset reference": options.preset == "reference",
        "the CT window of the brain": options.ct,
        "fixing the orientation": options.fix_orientation,
        "a parcellation": options.parcellation is not None,
        "a quality regressor": options.regressor is not None,
    }
    for what, asked in wrong.items():
        if asked:
            organ = card.get("organ", "another organ")
            raise InputError(f"The weights {card.get('name')!r} are for scans of: {organ}. Leave out {what}.")
