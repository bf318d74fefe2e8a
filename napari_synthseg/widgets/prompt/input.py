"""How the user points: keys that can be changed, and clicks and boxes on the canvas."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakKeyDictionary

import numpy as np
from napari.components import ViewerModel
from napari.components._viewer_mouse_bindings import double_click_to_zoom
from napari.settings import get_settings
from napari.utils.action_manager import action_manager
from napari.utils.interactions import Shortcut
from napari.utils.key_bindings import coerce_keybinding

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.components import ViewerModel

PACKAGE = "napari-synthseg"


class Acts(Protocol):
    """A widget that keys act on."""

    def act(self, name: str) -> None:
        """Do what the action of this name stands for."""


@dataclass(frozen=True)
class Action:
    """Something a key does: its name, the key it has by default, and what it is in words."""

    name: str
    key: str
    text: str

    @property
    def id(self) -> str:
        return f"{PACKAGE}:prompt_{self.name}"


ACTIONS = (
    Action("point", "Q", "Point: on or off"),
    Action("polarity", "T", "Inside or outside"),
    Action("undo", "Control-Z", "Undo"),
    Action("redo", "Control-Shift-Z", "Redo"),
    Action("discard", "R", "Begin the object anew"),
    Action("follow", "G", "Follow through the slices, or stop"),
    Action("accept", "A", "Accept, next object"),
)

_open: WeakKeyDictionary[ViewerModel, list[Acts]] = WeakKeyDictionary()


def bind_keys(viewer: ViewerModel, widget: Acts) -> None:
    """Let the keys act on a widget; of several in one viewer, on the one that was opened last."""
    for action in ACTIONS:
        _register(action)
    _open.setdefault(viewer, []).append(widget)


def release_keys(viewer: ViewerModel, widget: Acts) -> None:
    if widget in _open.get(viewer, []):
        _open[viewer].remove(widget)


def key_text(action: Action) -> str:
    """The keys of an action as this computer writes them; empty if it has none."""
    return ", ".join(Shortcut(key).platform for key in action_manager._shortcuts.get(action.id, ()))


def on_keys_changed(then: Callable[[], None]) -> Callable[[], None]:
    """Have something called when the user binds other keys; what is returned ends that."""

    def changed(event: Any) -> None:
        then()

    action_manager.events.shortcut_changed.connect(changed)
    return lambda: action_manager.events.shortcut_changed.disconnect(changed)


def _register(action: Action) -> None:
    if action.id in action_manager._actions:
        return

    def act(viewer: Any) -> None:
        widgets = _open.get(viewer)
        if widgets:
            widgets[-1].act(action.name)

    act.__name__ = f"prompt_{action.name}"
    act.__annotations__ = {}  # napari would look for the type where there is none
    act.__doc__ = action.text
    action_manager.register_action(action.id, act, f"Prompt: {action.text}", ViewerModel)
    taken = coerce_keybinding(action.key) in ViewerModel.class_keymap
    if action.id not in get_settings().shortcuts.shortcuts and not taken:
        action_manager.bind_shortcut(action.id, action.key)


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
    """Listens to a viewer's canvas while it is `on`; everything is as before once it is off."""

    def __init__(self, viewer: ViewerModel, hand: Hand) -> None:
        self._viewer, self._hand = viewer, hand
        self._zoomed_by_double_click = False

    @property
    def on(self) -> bool:
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
        if not self.on:
            return
        self._viewer.mouse_drag_callbacks.remove(self._on_press)
        if self._zoomed_by_double_click:
            self._viewer.mouse_double_click_callbacks.append(double_click_to_zoom)
        self._viewer.cursor.events.style.disconnect(self._on_cursor)
        if self._viewer.cursor.style == CROSS:
            self._viewer.cursor.style = STANDARD

    def _on_cursor(self, event: Any = None) -> None:
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
