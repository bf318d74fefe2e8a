"""Following an object through slices: what is marked, where it begins, and what an earlier result left behind."""

from __future__ import annotations

from typing import Any

import numpy as np

from napari_synthseg.errors import InputError
from napari_synthseg.prompting.prompts import Prompts
from napari_synthseg.widgets.prompt.draft import Draft, Place
from napari_synthseg.widgets.prompt.engine import Question, Way
from napari_synthseg.widgets.prompt.planes import Shown


def way_of(draft: Draft, where: Shown, question: Question, options: dict[str, Any]) -> Way:
    """From the slices that were pointed at in this view; where there is none, from the one that is shown.

    Args:
        draft: the object.
        where: the slice that is shown.
        question: about this slice: the image and the model.
        options: fields of `PropagateOptions`.

    Raises:
        InputError: there are no slices, or nothing is marked.
    """
    if where.through is None:
        raise InputError("This image has no slices to follow an object through.")
    beside = [place for place in draft.prompted() if _beside(place, where) and draft.marked(place)]
    marked = {place: draft.prompts(place) for place in beside}
    if not any(draft.mask(place).any() for place in marked) and draft.mask(where.place).any():
        marked[where.place] = Prompts()
    if not any(draft.mask(place).any() for place in marked):
        raise InputError("Nothing of the object is on the slices of this view; click inside it on one of them.")
    here = [place for place in marked if place == where.place]
    start = (here or sorted(marked, key=lambda place: abs(_index(place, where) - _index(where.place, where))))[0]
    return Way(
        question.picture,
        start,
        where.through,
        {_index(place, where): draft.mask(place) for place in marked},
        {_index(place, where): prompts for place, prompts in marked.items()},
        question.model,
        question.device,
        options,
    )


def stale_places(draft: Draft, way: Way, result: np.ndarray) -> list[Place]:
    """Slices that an earlier run has filled and this one, which was to pass there, has not.

    Args:
        draft: the object.
        way: of this run.
        result: what it returned, with the slices across one of its three axes.
    """
    if way.options.get("most_slices") is not None:
        return []
    fixed = [axis for axis, at in enumerate(way.start) if at is None or axis == way.through]
    across = tuple(number for number, axis in enumerate(fixed) if axis != way.through)
    filled = set(np.flatnonzero(result.any(axis=across)).tolist())
    lowest, highest, direction = min(way.masks), max(way.masks), way.options.get("direction", "both")
    stale = []
    for place in draft.carried:
        index = place[way.through]
        if index is None or way.place(index) != place or index in filled:
            continue
        passed = {"both": True, "up": index > lowest, "down": index < highest}[direction]
        if passed and draft.mask(place).any():
            stale.append(place)
    return stale


def _beside(place: Place, where: Shown) -> bool:
    """Whether a slice differs from the one that is shown in its number alone."""
    return all(
        at == there if axis != where.through else at is not None
        for axis, (at, there) in enumerate(zip(place, where.place, strict=True))
    )


def _index(place: Place, where: Shown) -> int:
    index = place[where.through] if where.through is not None else None
    assert index is not None
    return index
