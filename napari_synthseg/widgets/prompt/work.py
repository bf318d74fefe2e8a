"""The current object: its image, the draft on it, and the layers that show it; tokens of what is asked for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_synthseg.widgets.prompt.draft import Draft, Step

if TYPE_CHECKING:
    from napari.layers import Image

    from napari_synthseg.widgets.prompt.engine import Way
    from napari_synthseg.widgets.prompt.pending import PendingLayers


@dataclass(eq=False)
class Work:
    """The current object."""

    image: Image
    draft: Draft
    pending: PendingLayers


@dataclass(frozen=True, eq=False)
class Asked:
    """A step whose answer is awaited."""

    work: Work
    step: Step


@dataclass(frozen=True, eq=False)
class Following:
    """An object that is being followed through slices, and the step that what comes belongs to."""

    work: Work
    step: Step
    way: Way
