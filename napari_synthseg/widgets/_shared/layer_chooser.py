"""A combo box of the viewer's layers of one type that follows what happens in the layer list."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from qtpy.compat import isalive
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QComboBox, QWidget

from napari_synthseg.widgets._shared.controls import let_shrink

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer


class LayerChooser(QComboBox):
    """Lists the layers of `layer_type`, newest first; keeps its choice while that layer lives.

    A layer that the user selects in the layer list becomes the choice, where the chooser follows it.

    Args:
        viewer: whose layers are listed.
        layer_type: Image, Labels...
        parent: of the widget.
        accepts: says of a layer of the type whether it is listed; all are if None.
        none: the text of a first entry that stands for no layer; without it there is none.
        follows: says of a listed layer whether selecting it chooses it; it always does if None.
    """

    changed = Signal()  # another layer, or none, is chosen, or the chosen one has another name

    def __init__(
        self,
        viewer: ViewerModel,
        layer_type: type[Layer],
        parent: QWidget | None = None,
        accepts: Callable[[Layer], bool] | None = None,
        none: str = "",
        follows: Callable[[Layer], bool] | None = None,
    ) -> None:
        super().__init__(parent)
        self._accepts = accepts or (lambda _: True)
        self._follows = follows or (lambda _: True)
        self._viewer = viewer
        self._type = layer_type
        self._none = none
        self._layers: list[Layer | None] = []
        let_shrink(self)
        self.currentIndexChanged.connect(self._on_index_changed)
        layers = viewer.layers
        for event in (layers.events.inserted, layers.events.removed, layers.events.reordered):
            event.connect(self._refresh)
        layers.selection.events.active.connect(self._follow_active)
        self._refresh()
        self._follow_active()

    def layer(self) -> Layer | None:
        """The chosen layer, or None when there is none of the type."""
        index = self.currentIndex()
        return self._layers[index] if 0 <= index < len(self._layers) else None

    def set_layer(self, layer: Layer | None) -> None:
        """Choose a layer; one that is not listed is ignored. None is the entry that stands for no layer."""
        if layer in self._layers:
            self.setCurrentIndex(self._layers.index(layer))

    def _refresh(self, event: object = None) -> None:
        if not isalive(self):  # Qt has deleted the box; Python has not yet
            return
        chosen = self.layer()
        for layer in filter(None, self._layers):
            layer.events.name.disconnect(self._refresh)
        ours = [layer for layer in reversed(self._viewer.layers) if isinstance(layer, self._type)]
        listed = [layer for layer in ours if self._accepts(layer)]
        self._layers = [None, *listed] if self._none else [*listed]
        self.blockSignals(True)
        self.clear()
        if self._none:
            self.addItem(self._none)
        for layer in listed:
            layer.events.name.connect(self._refresh)
            self.addItem(layer.name)
            self.setItemData(self.count() - 1, layer.name, Qt.ItemDataRole.ToolTipRole)
        if chosen in self._layers:
            self.setCurrentIndex(self._layers.index(chosen))
        self.blockSignals(False)
        self.changed.emit()

    def _follow_active(self, event: object = None) -> None:
        if not isalive(self):
            return
        active = self._viewer.layers.selection.active
        if active is not None and self._follows(active):
            self.set_layer(active)

    def _on_index_changed(self, index: int) -> None:
        self.changed.emit()
