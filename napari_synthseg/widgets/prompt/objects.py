"""Objects as a whole: written into a Labels layer, taken back, made the current object again, and looked for."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels
from napari.utils.colormaps import DirectLabelColormap
from qtpy.QtCore import QObject, Signal

from napari_synthseg import anatomy
from napari_synthseg.errors import InputError
from napari_synthseg.widgets._shared.controls import listen
from napari_synthseg.widgets._shared.job import Job
from napari_synthseg.widgets._shared.user import complain
from napari_synthseg.widgets.layers.geometry import METADATA_KEY, add_unselected, kept_with
from napari_synthseg.widgets.layers.labels_layer import (
    INDEX,
    NAME,
    OPACITY,
    label_colormap,
    names_of,
    nearest_labels,
)
from napari_synthseg.widgets.prompt.model import Draft, section
from napari_synthseg.widgets.prompt.pending import geometry_of
from napari_synthseg.widgets.prompt.pointing import image_shape, same_grid, shown
from napari_synthseg.widgets.prompt.prompting import Prompting
from napari_synthseg.widgets.segment.model import lock_to
from napari_synthseg.widgets.view.view import look_at

if TYPE_CHECKING:
    import pandas as pd
    from napari.components import ViewerModel
    from napari.layers import Layer

NOTHING_YET = "There is no object yet: click inside one."
SIMILAR = "Similar objects"
REFINE = "Click to add, Ctrl-click to remove."


MARK = "made by prompting"
"""Key in the metadata of the layers that were made for accepted objects."""
MOST_VOXELS = 2**28
"""Larger layers are not searched for the labels in them; those that are named are known anyway."""


def structures(layer: Labels) -> dict[int, str]:
    names, present = names_of(layer), _present(layer)
    found = ({*present} if is_made(layer) else {*names, *present}) - {0}  # in a layer of ours, what undo has left
    return {value: names.get(value) or f"Label {value}" for value in sorted(found)}


def next_value(layer: Labels | None, used: Iterable[int]) -> int:
    """A label above all that are in use; in a layer of anatomical labels one that means no structure of the table."""
    value = max(used, default=0) + 1
    if layer is None:
        return value
    while isinstance(layer.colormap, DirectLabelColormap) and anatomy.known(value):
        value += 1
    return value


def grid_problem(image: Image, target: Labels) -> str | None:
    """Say in one sentence why objects of an image cannot go into a layer; None if they can."""
    if getattr(target, "multiscale", False):
        return f'"{target.name}" is multiscale; accept into a new layer.'
    if not same_grid(image, target):
        return f'"{target.name}" does not have the voxels of "{image.name}"; accept into a new layer.'
    return None


def new_target(image: Image) -> Labels:
    exact = kept_with(image)
    kept = {MARK: True} | {key: exact[key] for key in ("affine", "shape", "header") if key in exact}
    place = geometry_of(image) | {"metadata": {METADATA_KEY: kept}}
    return Labels(np.zeros(image_shape(image), np.uint16), name=f"{image.name} objects", opacity=OPACITY, **place)


def is_made(layer: Layer) -> bool:
    """Whether a layer was made here in this session; a file does not keep that."""
    return MARK in kept_with(layer)


def write(image: Image, draft: Draft, target: Labels, value: int, name: str, *, keep_others: bool) -> None:
    """Write an object into a layer on its image's grid; voxels that are given up go to the nearest label.

    napari's undo of the layer takes it back. `keep_others` leaves voxels that have another label already.

    Raises:
        InputError: the layer cannot take it.
    """
    if draft.shape != image_shape(image):
        raise InputError(f'"{image.name}" has another shape than when the object was made; discard the object.')
    problem = grid_problem(image, target)
    if problem is not None:
        raise InputError(problem)
    if value > np.iinfo(target.dtype).max:
        raise InputError(f'"{target.name}" has {np.dtype(target.dtype)} voxels, too few bits for the id {value}.')
    object_ = draft.voxels != 0
    if not object_.any():
        raise InputError("There is no object yet: click inside one.")
    changed = object_
    if draft.value == value:
        changed = changed | (np.asarray(target.data) == value)
    indices = np.nonzero(changed)
    before = np.array(target.data[indices])
    after = np.where(object_[indices], value, 0).astype(before.dtype)
    given_up = (before == value) & (after == 0)
    if given_up.any():
        after[given_up] = nearest_labels(np.asarray(target.data), tuple(i[given_up] for i in indices), target.scale)
    if keep_others:
        after = np.where((before != 0) & (before != value), before, after).astype(before.dtype)
    try:
        target.data_setitem(indices, after)
    except (TypeError, ValueError, NotImplementedError) as error:  # dask, a file opened for reading
        raise InputError(f'"{target.name}" cannot be changed ({error}); accept into a new layer.') from error
    target.features = named(target.features, value, name)
    _give_color(target, value)


def _present(layer: Labels) -> Iterable[int]:
    from napari_synthseg.evaluation.metrics import count_labels

    small = isinstance(layer.data, np.ndarray) and layer.data.size <= MOST_VOXELS
    return count_labels(layer.data) if small else ()


def named(features: pd.DataFrame, value: int, name: str) -> pd.DataFrame:
    import pandas as pd

    if INDEX not in features.columns:
        if len(features.columns):
            return features
        features = pd.DataFrame({INDEX: [0], NAME: ["Background"]})
    if value in set(features[INDEX]):
        rows = features.copy()
        rows.loc[rows[INDEX] == value, NAME] = name
        return rows
    row: dict[str, Any] = {INDEX: [value], NAME: [name]}
    row |= {column: [""] for column in features.columns if column not in row and features[column].dtype == object}
    return pd.concat([features, pd.DataFrame(row)]).sort_values(INDEX).reset_index(drop=True)


def _give_color(layer: Labels, value: int) -> None:
    colors = layer.colormap
    if isinstance(colors, DirectLabelColormap) and value not in colors.color_dict:
        color = label_colormap([value]).color_dict[value]
        layer.colormap = DirectLabelColormap(color_dict={**colors.color_dict, value: color})


class Objects(QObject):
    """From drafts to labels and back.

    Attributes:
        target: where objects go; None for a new layer.
        keep_others: a new object takes no voxels of other labels.
        protect: a structure that is refined takes none.
    """

    changed = Signal(object)  # the Labels layer that objects went into or left
    begun = Signal(int, str)  # id and name of the current object, where they are known
    searching = Signal(bool)  # similar objects are looked for, or no longer

    def __init__(self, viewer: ViewerModel, prompting: Prompting, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._viewer, self._prompting = viewer, prompting
        self.target: Labels | None = None
        self.keep_others, self.protect = False, True
        self._similar = Job(
            self,
            returned=self._on_similar,
            stopped=lambda: self._on_similar(None),
            failed=lambda error: self._on_similar(None, complain(error, SIMILAR)),
        )
        listen(self, Objects._on_layer_removed, viewer.layers.events.removed)

    @property
    def can_undo(self) -> bool:
        work = self._prompting.work
        return (work is not None and work.draft.can_undo) or self.target is not None

    def accept(self, value: int, name: str) -> None:
        """Write the object into the target, or a new layer, once all clicks are answered."""
        work = self._prompting.work
        if work is None or not work.draft.steps:
            self._prompting.say(NOTHING_YET)
            return
        if self._prompting.when_answered(partial(self.accept, value, name)):
            return
        self._prompting.through.stop()
        created = self.target is None
        target = self.target or new_target(work.image)
        keep = self.protect if work.draft.value == value else self.keep_others
        try:
            write(work.image, work.draft, target, value, name, keep_others=keep)
        except InputError as error:
            self._prompting.say(str(error))
            return
        if created:
            add_unselected(self._viewer, target)
            lock_to(work.image, target, self._viewer)
        self._prompting.drop(work)
        self.target = target
        self.changed.emit(target)
        self._prompting.say(f'"{name}" is in "{target.name}". Click inside the next object.')

    def refine(self, value: int) -> None:
        """Make a structure of the target the current object, to be repaired by clicks."""
        prompting, target = self._prompting, self.target
        if target is None:
            prompting.say("Choose the Labels layer whose structure is to be refined.")
            return
        if prompting.begun:
            prompting.say("Accept or discard the current object first.")
            return
        work = prompting.start()
        if work is None:
            return
        problem = grid_problem(work.image, target)
        mask = None if problem else np.asarray(target.data) == value
        if mask is None or not mask.any():
            prompting.drop(work)
            prompting.say(problem or "No voxel has this label.")
            return
        work.draft.value = value
        work.draft.take(mask)
        self._find(work.image, work.draft)
        prompting.show(work)
        self.begun.emit(value, structures(target).get(value, ""))
        prompting.say(REFINE)

    def find_similar(self, value: int) -> None:
        """Write every object on the shown slice that resembles a structure of the target into it, each as a label."""
        prompting, target = self._prompting, self.target
        if self._similar.running:
            self._similar.stop()
            return
        found = prompting.ready() if target is not None and not prompting.begun else None
        if found is None or target is None:
            prompting.say("Accept the object first, and choose it in the list.")
            return
        work, where = found
        problem = grid_problem(work.image, target)
        mask = None if problem else np.asarray(target.data)[section(where.place)] == value
        prompting.drop(work)
        if mask is None or not mask.any():
            prompting.say(problem or "Nothing on this slice has this label.")
            return
        self._like = (work.image, target, value, where.place)
        self._similar.start(SIMILAR, prompting.asker.engine.find_similar, prompting.question(work, where.place), mask)
        prompting.say("Looking for similar objects…")
        self.searching.emit(True)

    def _on_similar(self, masks: list[np.ndarray] | None, why: str = "Stopped looking for similar objects.") -> None:
        """Write the objects that were found; None and a sentence if the search was stopped or failed."""
        self.searching.emit(False)
        image, target, value, place = self._like
        if masks is None or image not in self._viewer.layers or target not in self._viewer.layers:
            self._prompting.say(why)
            return
        name = structures(target).get(value, f"Object {value}")
        for number, mask in enumerate(masks, 1):
            draft, whole = Draft(image_shape(image)), np.zeros(image_shape(image), bool)
            whole[section(place)] = mask
            draft.take(whole)
            new = next_value(target, structures(target))
            title = f"{name} {number + 1}"
            write(image, draft, target, new, title, keep_others=True)
        self.changed.emit(target)
        self._prompting.say(f'{len(masks)} objects like "{name}" were found. Undo takes them away one by one.')

    def undo(self) -> None:
        """Take the last interaction back; without one, what was done last to the target, as napari's own undo does."""
        if not self._prompting.undo() and self.target is not None:
            self.target.undo()
            self.changed.emit(self.target)

    def _find(self, image: Image, draft: Draft) -> None:
        from napari_synthseg.evaluation.locations import middle_voxel

        where = shown(image, self._viewer.dims)
        if image.ndim < 3 or (where is not None and draft.mask(where.place).any()):
            return
        volume = draft.voxels
        before: tuple[int, ...] = ()
        while volume.ndim > 3:  # of a series, the first volume that has some of it
            at = int(np.flatnonzero(volume.reshape(len(volume), -1).any(axis=1))[0])
            before, volume = (*before, at), volume[at]
        middle = middle_voxel(volume, (1,))
        if middle is None:
            return
        world = np.asarray(image.data_to_world((*before, *middle)), dtype=float)
        first = self._viewer.dims.ndim - image.ndim
        for axis in range(len(before)):
            self._viewer.dims.set_point(first + axis, float(world[axis]))
        look_at(self._viewer, world[-3:])

    def _on_layer_removed(self, event: Any) -> None:
        if event.value is self.target:
            self.target = None
