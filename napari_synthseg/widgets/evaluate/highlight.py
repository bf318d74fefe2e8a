"""One structure shown alone in several Labels layers, by napari's own "show selected"; taken back when it is over."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari.layers import Labels


class Highlight:
    """What was changed in which layers."""

    def __init__(self) -> None:
        self._before: dict[Labels, bool] = {}

    def show(self, layers: Iterable[Labels], value: int, alone: bool) -> None:
        """Select a label in layers.

        Args:
            layers: all of them; others are let go.
            value: the label, which is also the one to paint with from now on.
            alone: whether all others are hidden.
        """
        kept = list(layers)
        for layer in [one for one in self._before if one not in kept]:
            self._release(layer)
        for layer in kept:
            layer.selected_label = value
            if alone:
                self._before.setdefault(layer, layer.show_selected_label)
                layer.show_selected_label = True
            else:
                self._release(layer)

    def clear(self) -> None:
        """Show everything as it was shown before."""
        for layer in list(self._before):
            self._release(layer)

    def forget(self, layer: Labels) -> None:
        """Of a layer that was removed nothing is kept; it is left as it was."""
        self._release(layer)

    def _release(self, layer: Labels) -> None:
        before = self._before.pop(layer, None)
        if before is not None:
            layer.show_selected_label = before
