"""A combo box of the sources of a preview: fixed entries, layers of the viewer, and files the user adds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from qtpy.QtCore import Signal

from napari_synthseg.widgets._shared.choices import Choice
from napari_synthseg.widgets._shared.layer_chooser import LayerChooser, Opener
from napari_synthseg.widgets.layers.geometry import layer_problem, layer_scan, shown_volume
from napari_synthseg.widgets.preview.layers import is_ours
from napari_synthseg.widgets.preview.pictures import Source, bundled

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer


def _label_map_filter() -> str:
    from napari_synthseg.io.formats import dialog_filter  # here, since reading files is slow to import

    return dialog_filter("Label maps")


BUNDLED = Choice("bundled", "Bundled label map", "A head in MNI152 space with the structures that SynthSeg knows.")
OPEN_FILE = Opener("File…", "Choose a label map", _label_map_filter, "Choose a label map: NIfTI, MGZ or NRRD.")
OPEN_FOLDER = Opener(
    "Folder…", "Choose a folder of label maps", tip="Choose a folder of label maps; each seed takes one of them."
)


class SourceChooser(LayerChooser):
    """Lists fixed entries, then the viewer's layers but the preview's own, then ways to open something.

    Args:
        viewer: whose layers are listed.
        layer_type: `Labels` or `Image`.
        tip: of the box.
        fixed: entries before the layers.
        openers: `OPEN_FILE`, `OPEN_FOLDER` or none.
    """

    replaced = Signal()  # the chosen layer is gone, or one came where there was none; `changed` is the user's doing

    def __init__(
        self,
        viewer: ViewerModel,
        layer_type: type[Layer],
        tip: str,
        fixed: Sequence[Choice] = (),
        openers: Sequence[Opener] = (),
    ) -> None:
        self._edits = 0
        self._edited: WeakSet[Any] = WeakSet()
        listed, never = (lambda layer: not is_ours(layer)), (lambda layer: False)
        super().__init__(viewer, layer_type, listed, follows=never, fixed=fixed, openers=openers, tip=tip)
        self.opened.connect(self.choose)

    def problem(self) -> str | None:
        """Return why the choice cannot be used, in one sentence."""
        layer = self.layer()
        return None if layer is None else layer_problem(layer)

    def source(self) -> Source | None:
        """Return the choice for a worker, or None.

        Raises:
            InputError: a layer is not a 3D scan.
        """
        layer = self.layer()
        if layer is not None:
            step = shown_volume(layer, self._viewer.dims) if layer.ndim == 4 else None
            is_file = layer.source.path and layer not in self._edited and step is None
            key = (id(layer), id(layer.data), step, self._edits)
            return Source(key, layer.name, Path(layer.source.path) if is_file else None, layer_scan(layer, step))
        if isinstance(self._chosen, Path):
            return Source(self._chosen, self._chosen.name, self._chosen)
        return bundled() if self._chosen == BUNDLED.value else None

    def watch(self, layer: Layer) -> None:
        """Listen to the layer's voxels too."""
        super().watch(layer)
        for edited in _edit_events(layer):
            edited.connect(self._on_edited)

    def unwatch(self, layer: Layer) -> None:
        """Listen no longer."""
        super().unwatch(layer)
        for edited in _edit_events(layer):
            edited.disconnect(self._on_edited)

    def refilled(self, other: bool) -> None:
        """Say that the choice had to change."""
        if other:
            self.replaced.emit()

    def _on_edited(self, event: Any) -> None:
        self._edits += 1
        self._edited.add(event.source)  # its file no longer holds its voxels
        if event.source is self.layer():
            self.changed.emit()


def _edit_events(layer: Layer) -> list[Any]:
    events = [layer.events.data]
    return [*events, layer.events.paint] if hasattr(layer.events, "paint") else events
