"""Keys of the *Prompt* widget: actions of napari, so that *Preferences > Shortcuts* lists them and binds others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from napari.components import ViewerModel
from napari.settings import get_settings
from napari.utils.action_manager import action_manager
from napari.utils.interactions import Shortcut
from napari.utils.key_bindings import coerce_keybinding

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
        """The name that napari knows it by."""
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
    """The widget is closed; without any the keys do nothing."""
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
