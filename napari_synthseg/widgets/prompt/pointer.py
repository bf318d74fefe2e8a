"""The mouse on napari's canvas: a click points, Shift-drag draws a box, and any other drag still moves the picture."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from napari.components._viewer_mouse_bindings import double_click_to_zoom

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.components import ViewerModel

STILL_PX = 4
"""A press that moves less than so many pixels of the screen is a click."""
LEFT = 1
CROSS, STANDARD = "cross", "standard"  # of napari's cursors


class Hand(Protocol):
    """What the mouse does."""

    def click(self, world: Sequence[float], *, outside: bool) -> None:
        """The left button was pressed and let go at a position, with Ctrl or Alt (`outside`) or without."""

    def drag_box(self, first: Sequence[float], last: Sequence[float]) -> None:
        """A box is being drawn."""

    def drop_box(self, first: Sequence[float], last: Sequence[float] | None) -> None:
        """A box was drawn; None if it was given up."""

    def busy_layer(self) -> str | None:
        """The name of the active layer if it has a tool in hand that takes the mouse itself."""


class Pointer:
    """Listens to a viewer's canvas while it is `on`; everything is as before once it is off.

    Args:
        viewer: whose canvas.
        hand: told of what happens.
    """

    def __init__(self, viewer: ViewerModel, hand: Hand) -> None:
        self._viewer, self._hand = viewer, hand
        self._zoomed_by_double_click = False

    @property
    def on(self) -> bool:
        """Whether clicks are prompts."""
        return self._on_press in self._viewer.mouse_drag_callbacks

    def start(self) -> None:
        """Listen. Two quick clicks are two clicks: they do not zoom meanwhile."""
        if self.on:
            return
        self._viewer.mouse_drag_callbacks.append(self._on_press)
        self._zoomed_by_double_click = double_click_to_zoom in self._viewer.mouse_double_click_callbacks
        if self._zoomed_by_double_click:
            self._viewer.mouse_double_click_callbacks.remove(double_click_to_zoom)
        self._viewer.cursor.events.style.connect(self._on_cursor)
        self._on_cursor()

    def stop(self) -> None:
        """Listen no longer."""
        if not self.on:
            return
        self._viewer.mouse_drag_callbacks.remove(self._on_press)
        if self._zoomed_by_double_click:
            self._viewer.mouse_double_click_callbacks.append(double_click_to_zoom)
        self._viewer.cursor.events.style.disconnect(self._on_cursor)
        if self._viewer.cursor.style == CROSS:
            self._viewer.cursor.style = STANDARD

    def _on_cursor(self, event: Any = None) -> None:
        """A cross where napari would show its arrow; the cursors of tools stay."""
        if self._viewer.cursor.style == STANDARD:
            self._viewer.cursor.style = CROSS

    def _on_press(self, viewer: ViewerModel, event: Any) -> Generator[None, None, None]:
        if event.button != LEFT or self._hand.busy_layer() is not None:
            return
        modifiers = {str(getattr(one, "name", one)) for one in event.modifiers}
        pressed, first = np.array(event.pos), tuple(event.position)
        boxing = "Shift" in modifiers
        moved = 0.0
        yield
        while event.type == "mouse_move":
            moved = max(moved, float(np.abs(np.array(event.pos) - pressed).max()))
            if boxing and moved > STILL_PX:
                self._hand.drag_box(first, tuple(event.position))
            yield
        if moved <= STILL_PX:
            self._hand.click(first, outside=bool(modifiers & {"Control", "Alt", "Meta"}))
        elif boxing:
            self._hand.drop_box(first, tuple(event.position))
