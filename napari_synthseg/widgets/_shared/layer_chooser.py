"""Combo boxes of layers, files and fixed entries that follow the viewer's layer list."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.compat import isalive
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QComboBox, QFileDialog, QWidget
from superqt.utils import signals_blocked

from napari_synthseg.widgets._shared.choices import Choice
from napari_synthseg.widgets._shared.controls import let_shrink, listen

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer


@dataclass(frozen=True)
class Opener:
    """An entry that opens a dialog."""

    text: str
    title: str
    """Of the dialog."""
    filters: Callable[[], str] | None = None
    """Qt's filter of files; None asks for a folder."""
    tip: str = ""

    def ask(self, parent: QWidget) -> Path | None:
        if self.filters is None:
            name = QFileDialog.getExistingDirectory(parent, self.title)
        else:
            name, _ = QFileDialog.getOpenFileName(parent, self.title, "", self.filters())
        return Path(name) if name else None


class ChoiceBox(QComboBox):
    """A combo box of entries, of paths that were added, and of openers, which add a path.

    `tip` is that of the box, and of entries without one.
    """

    changed = Signal()  # another entry is chosen
    opened = Signal(object)  # a path from an opener's dialog, which the owner adds by `choose` if it can be used

    def __init__(self, entries: Sequence[Choice] = (), openers: Sequence[Opener] = (), tip: str = "") -> None:
        super().__init__()
        self._entries, self._openers, self._tip = list(entries), list(openers), tip
        self._paths: list[Path] = []
        self._chosen: Any = None
        let_shrink(self)
        self.setToolTip(tip)
        self.currentIndexChanged.connect(self._on_index)
        self.fill()

    def chosen(self) -> Any:
        return self._chosen

    def choose(self, value: Any) -> None:
        """Choose an entry by its value; a path is added to the list, another value that is not listed is ignored."""
        if isinstance(value, Path) and value not in self._paths:
            self._paths.insert(0, value)
            self.fill()
        row = self._row_of(value)
        if row >= 0:
            self.setCurrentIndex(row)

    def entries(self) -> list[Choice]:
        return self._entries

    def show_entries(self, entries: Sequence[Choice], chosen: Any) -> None:
        """List other entries and choose one, without a signal."""
        self._entries, self._chosen = list(entries), chosen
        self.fill()

    def fill(self) -> bool:
        """List the entries again; return whether another one had to be chosen, which is not signaled."""
        shown = [*self.entries(), *(Choice(path, path.name or str(path), str(path)) for path in self._paths)]
        with signals_blocked(self):
            self.clear()
            for number, one in enumerate((*shown, *(Choice(one, one.text, one.tip) for one in self._openers))):
                self.addItem(one.text, one.value)
                self.setItemData(number, one.tip or self._tip, Qt.ItemDataRole.ToolTipRole)
            row = self._row_of(self._chosen)
            self.setCurrentIndex(max(row, 0) if shown else -1)
        before, self._chosen = self._chosen, self.currentData()
        return not _same(before, self._chosen)

    def _row_of(self, value: Any) -> int:
        return next((row for row in range(self.count()) if _same(self.itemData(row), value)), -1)

    def _on_index(self, row: int) -> None:
        value = self.itemData(row)
        if value in self._openers:
            self.setCurrentIndex(self._row_of(self._chosen))  # the entry is a command, not a choice
            path = value.ask(self)
            if path is not None:
                self.opened.emit(path)
        elif not _same(value, self._chosen):
            self._chosen = value
            self.changed.emit()


class LayerChooser(ChoiceBox):
    """Lists the viewer's layers of one type, newest first, and keeps its choice while that layer lives.

    `accepts` tells whether a layer of the type is listed, `follows` whether selecting it in the layer list chooses it;
    `fixed` entries and `openers` stand before and after the layers.
    """

    def __init__(
        self,
        viewer: ViewerModel,
        layer_type: type[Layer],
        accepts: Callable[[Layer], bool] = lambda layer: True,
        *,
        follows: Callable[[Layer], bool] = lambda layer: True,
        fixed: Sequence[Choice] = (),
        openers: Sequence[Opener] = (),
        tip: str = "",
    ) -> None:
        self._viewer, self._type, self._accepts, self._follows = viewer, layer_type, accepts, follows
        self._layers: list[Layer] = []
        super().__init__(fixed, openers, tip)
        events = viewer.layers.events
        listen(self, LayerChooser._on_layers, events.inserted, events.removed, events.reordered)
        listen(self, LayerChooser._follow_active, viewer.layers.selection.events.active)
        self._on_layers()
        self._follow_active()

    def layer(self) -> Layer | None:
        """Return the chosen layer; None if there is none, or another entry is chosen."""
        return self._chosen if isinstance(self._chosen, self._type) else None

    def set_layer(self, layer: Layer | None) -> None:
        self.choose(layer)

    def entries(self) -> list[Choice]:
        return [*self._entries, *(Choice(layer, layer.name, layer.name) for layer in self._layers)]

    def watch(self, layer: Layer) -> None:
        layer.events.name.connect(self._on_name)

    def unwatch(self, layer: Layer) -> None:
        layer.events.name.disconnect(self._on_name)

    def refilled(self, other: bool) -> None:
        """Called when the list was filled again, perhaps with another choice."""
        self.changed.emit()

    def _on_layers(self, event: object = None) -> None:
        for layer in self._layers:
            self.unwatch(layer)
        ours = [layer for layer in reversed(self._viewer.layers) if isinstance(layer, self._type)]
        self._layers = [layer for layer in ours if self._accepts(layer)]
        for layer in self._layers:
            self.watch(layer)
        self._on_name()

    def _on_name(self, event: object = None) -> None:
        if isalive(self):  # Qt may have deleted it before Python does
            self.refilled(self.fill())

    def _follow_active(self, event: object = None) -> None:
        active = self._viewer.layers.selection.active
        if active in self._layers and self._follows(active):
            self.set_layer(active)


def _same(one: Any, other: Any) -> bool:
    """Tell whether two entries are the same; layers are compared by identity, since they may hold arrays."""
    return one is other or (type(one) is type(other) and isinstance(one, (str, Path, Opener)) and one == other)
