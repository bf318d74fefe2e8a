"""A combo box of where a preview starts from: fixed entries, layers of the viewer, and files the user adds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QComboBox, QFileDialog, QWidget

from napari_synthseg.widgets._shared.choices import Choice
from napari_synthseg.widgets._shared.controls import let_shrink
from napari_synthseg.widgets.layers.geometry import layer_problem, layer_scan, shown_volume
from napari_synthseg.widgets.preview.layers import is_ours
from napari_synthseg.widgets.preview.pictures import Source, bundled

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

BUNDLED = Choice("bundled", "Bundled label map", "A head in MNI152 space with the structures that SynthSeg knows.")
OPEN_FILE = Choice("open file", "File…", "Choose a label map: NIfTI, MGZ or NRRD.")
OPEN_FOLDER = Choice("open folder", "Folder…", "Choose a folder of label maps; each seed takes one of them.")


class SourceChooser(QComboBox):
    """Lists fixed entries, then the viewer's layers of a type (newest first), then ways to open something.

    Args:
        viewer: whose layers are listed; those that the preview made itself are not.
        layer_type: `Labels` or `Image`.
        fixed: entries that are always there.
        openers: `OPEN_FILE`, `OPEN_FOLDER` or none.
        tip: what the box is for.
    """

    changed = Signal()  # the user chose another source, or changed its voxels
    replaced = Signal()  # the chosen layer is gone, or one came where there was none

    def __init__(
        self,
        viewer: ViewerModel,
        layer_type: type[Layer],
        tip: str,
        fixed: Sequence[Choice] = (),
        openers: Sequence[Choice] = (),
    ) -> None:
        super().__init__()
        self._viewer, self._type, self._tip = viewer, layer_type, tip
        self._fixed, self._openers = tuple(fixed), tuple(openers)
        self._paths: list[Path] = []
        self._layers: list[Layer] = []
        self._edits = 0
        self._edited: WeakSet[Any] = WeakSet()
        self._chosen: Any = None
        let_shrink(self)
        self.setToolTip(tip)
        layers = viewer.layers.events
        for event in (layers.inserted, layers.removed, layers.reordered):
            event.connect(self._refresh)
        self._refresh()
        self._chosen = self.currentData()
        self.activated.connect(self._on_activated)
        self.currentIndexChanged.connect(self._on_index_changed)

    def chosen(self) -> Any:
        """The value of a fixed entry, a layer, a path, or None where there is nothing to choose."""
        return self._chosen

    def layer(self) -> Layer | None:
        """The chosen layer, if it is one."""
        return self._chosen if isinstance(self._chosen, self._type) else None

    def choose(self, value: Any) -> None:
        """Choose an entry by its value; a path is added to the list."""
        if isinstance(value, Path) and value not in self._paths:
            self._paths.insert(0, value)
            self._refresh()
        row = next((row for row in range(self.count()) if _same(self.itemData(row), value)), -1)
        if row >= 0:
            self.setCurrentIndex(row)

    def problem(self) -> str | None:
        """Why the choice cannot be used, in one sentence."""
        layer = self.layer()
        return None if layer is None else layer_problem(layer)

    def source(self) -> Source:
        """The choice for a worker.

        Raises:
            InputError: if a layer is not a 3D scan.
        """
        layer = self.layer()
        if layer is not None:
            step = shown_volume(layer, self._viewer.dims) if layer.ndim == 4 else None
            is_file = layer.source.path and layer not in self._edited and step is None
            key = (id(layer), id(layer.data), step, self._edits)
            return Source(key, layer.name, Path(layer.source.path) if is_file else None, layer_scan(layer, step))
        if isinstance(self._chosen, Path):
            return Source(self._chosen, self._chosen.name, self._chosen)
        return bundled()

    def _refresh(self, event: object = None) -> None:
        for layer in self._layers:
            for edited in _edit_events(layer):
                edited.disconnect(self._on_edited)
            layer.events.name.disconnect(self._refresh)
        self._layers = [
            one for one in reversed(self._viewer.layers) if isinstance(one, self._type) and not is_ours(one)
        ]
        for layer in self._layers:
            for edited in _edit_events(layer):
                edited.connect(self._on_edited)
            layer.events.name.connect(self._refresh)
        before = self._chosen
        self.blockSignals(True)
        self.clear()
        for choice in self._fixed:
            self._add(choice.text, choice.value, choice.tip)
        for layer in self._layers:
            self._add(layer.name, layer, layer.name)
        for path in self._paths:
            self._add(path.name, path, str(path))
        for choice in self._openers:
            self._add(choice.text, choice.value, choice.tip)
        rows = [row for row in range(self.count()) if _same(self.itemData(row), before)]
        self.setCurrentIndex(rows[0] if rows else 0)
        self.blockSignals(False)
        if not _same(self.currentData(), before):
            self._chosen = self.currentData()
            self.replaced.emit()

    def _add(self, text: str, value: Any, tip: str) -> None:
        self.addItem(text, value)
        self.setItemData(self.count() - 1, tip, Qt.ItemDataRole.ToolTipRole)

    def _is_opener(self, value: Any) -> bool:
        return isinstance(value, str) and any(value == choice.value for choice in self._openers)

    def _on_index_changed(self, row: int) -> None:
        value = self.itemData(row)
        if self._is_opener(value):
            return  # until a file was chosen, see `_on_activated`
        if not _same(value, self._chosen):
            self._chosen = value
            self.changed.emit()

    def _on_activated(self, row: int) -> None:
        value = self.itemData(row)
        if not self._is_opener(value):
            return
        path = ask_for_folder(self) if value == OPEN_FOLDER.value else ask_for_file(self)
        self.choose(path if path is not None else self._chosen)

    def _on_edited(self, event: Any = None) -> None:
        self._edits += 1
        if event is not None:
            self._edited.add(event.source)  # its file no longer holds what it shows
        if event is None or getattr(event, "source", None) is self.layer():
            self.changed.emit()


def ask_for_file(parent: QWidget) -> Path | None:
    """A label map's path, asked for in a dialog."""
    from napari_synthseg.io.formats import dialog_filter  # here, since reading files is slow to import

    name, _ = QFileDialog.getOpenFileName(parent, "Choose a label map", "", dialog_filter("Label maps"))
    return Path(name) if name else None


def ask_for_folder(parent: QWidget) -> Path | None:
    """A folder of label maps, asked for in a dialog."""
    name = QFileDialog.getExistingDirectory(parent, "Choose a folder of label maps")
    return Path(name) if name else None


def _edit_events(layer: Layer) -> list[Any]:
    events = [layer.events.data]
    return [*events, layer.events.paint] if hasattr(layer.events, "paint") else events


def _same(one: Any, other: Any) -> bool:
    """Whether two entries are the same; layers are compared by identity, since they may hold arrays."""
    return one is other or (isinstance(one, (str, Path)) and isinstance(other, (str, Path)) and one == other)
