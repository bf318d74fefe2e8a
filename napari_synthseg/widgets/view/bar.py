"""Buttons, menu commands and keys for the view: axial, coronal, sagittal, 3D, three planes, letters, convention."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary, WeakSet

from qtpy.compat import isalive
from qtpy.QtWidgets import QPushButton, QWidget

from napari_synthseg.widgets._shared.choices import Choice
from napari_synthseg.widgets._shared.controls import button, combo, listen, row
from napari_synthseg.widgets._shared.face import Face
from napari_synthseg.widgets._shared.memory import recall, remember
from napari_synthseg.widgets.view.follow import EdgeLetters, Upright
from napari_synthseg.widgets.view.planes import three_planes
from napari_synthseg.widgets.view.view import (
    AXIAL,
    CONVENTIONS,
    CORONAL,
    NEUROLOGICAL,
    RADIOLOGICAL,
    SAGITTAL,
    THREE_D,
    VIEWS,
    anatomical_view,
    convention_preferred,
    current_view,
    set_view,
)

if TYPE_CHECKING:
    import napari
    from napari.components import ViewerModel


FACE = "view"
_WIDTH = 26

_BUTTONS = {
    AXIAL: ("axial", "Axial", "Axial slices: the front of the head up."),
    CORONAL: ("coronal", "Coronal", "Coronal slices: the top of the head up."),
    SAGITTAL: ("sagittal", "Sagittal", "Sagittal slices: the top of the head up."),
    THREE_D: ("three_d", "3D", "The head in 3D, not mirrored: from behind (neurological) or face to face."),
}
_CONVENTIONS = [
    Choice(NEUROLOGICAL, "Neurological", "The patient's left is on the left of the picture."),
    Choice(RADIOLOGICAL, "Radiological", "The patient's left is on the right of the picture."),
]


_numbers = count()
_bars: WeakKeyDictionary[ViewerModel, WeakSet[ViewBar]] = WeakKeyDictionary()


class ViewBar(QWidget):
    """Buttons that turn the viewer and follow it; of several widgets on the screen only the first shows its bar."""

    def __init__(self, viewer: ViewerModel, parent: Face | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._letters = EdgeLetters.of(viewer)
        for keeper in (self._letters, Upright.of(viewer)):
            keeper.hold()
            self.destroyed.connect(keeper.release)
        self.buttons = {name: self._view_button(name) for name in VIEWS}
        self.convention = combo(_CONVENTIONS, "Which side of the picture is the patient's left.")
        self.convention.setAccessibleName("View convention")
        self.convention.setMinimumWidth(60)
        self.convention.setCurrentIndex(self.convention.findData(convention_preferred()))
        letters = "Letters at the edges of the picture: left, right, anterior, posterior, superior, …"
        planes = "Three planes with a linked cursor, oblique scans resliced; press again for one plane."
        self.letters = button("LR", letters, name="Letters", width=_WIDTH)
        self.letters.setCheckable(True)
        self.planes = button("⊞", planes, lambda: three_planes(viewer), name="Three planes", width=_WIDTH)
        parts = (*self.buttons.values(), self.planes, self.letters, (self.convention, 1))
        row(*parts, parent=self, spacing=2)
        self.convention.activated.connect(self._on_convention)
        self.letters.toggled.connect(self._on_letters)
        self.letters.setChecked(bool(recall(FACE).get("letters", True)))
        dims, camera = viewer.dims.events, viewer.scene.camera.events
        listen(self, ViewBar._follow, dims.order, dims.ndisplay, dims.ndim, camera.orientation)
        self._follow()
        self._face, self.number = parent, next(_numbers)
        _bars.setdefault(viewer, WeakSet()).add(self)
        if parent is not None:
            parent.surfaced.connect(lambda _: _show_one(viewer))

    @property
    def wanted(self) -> bool:
        """Whether the widget of the bar is on the screen."""
        return isalive(self) and self._face is not None and isalive(self._face) and self._face.on_screen

    def _view_button(self, name: str) -> QPushButton:
        icon, text, tip = _BUTTONS[name]
        made = button("", tip, lambda: self.show_view(name), name=text, icon=icon, width=_WIDTH)
        made.setCheckable(True)
        return made

    def show_view(self, name: str) -> None:
        """Turn the viewer to one of `VIEWS`."""
        set_view(self._viewer, name, self.convention.currentData())
        self._follow()

    def _on_convention(self) -> None:
        name, _ = current_view(self._viewer)
        self.show_view(name or (THREE_D if self._viewer.dims.ndisplay == 3 else AXIAL))

    def _on_letters(self, shown: bool) -> None:
        self._letters.visible = shown
        remember(FACE, {"letters": shown})

    def _follow(self, event: object = None) -> None:
        """Press the button of the current view, if there is one."""
        shown, convention = current_view(self._viewer)
        solid = self._viewer.dims.ndim >= 3
        self.planes.setEnabled(solid and hasattr(self._viewer, "window"))
        for name, one in self.buttons.items():
            one.setEnabled(solid)
            one.setChecked(name == shown)
        if convention is not None:
            self.convention.setCurrentIndex(self.convention.findData(convention))


def _show_one(viewer: ViewerModel) -> None:
    """Show the bar of the widget that was opened first."""
    wanted = sorted((bar for bar in _bars.get(viewer, ()) if bar.wanted), key=lambda bar: bar.number)
    for bar in wanted:
        bar.setVisible(bar is wanted[0])


def view_axial(viewer: napari.viewer.Viewer) -> None:
    """Show axial slices, the front of the head up."""
    _show(AXIAL, viewer)


def view_coronal(viewer: napari.viewer.Viewer) -> None:
    """Show coronal slices, the top of the head up."""
    _show(CORONAL, viewer)


def view_sagittal(viewer: napari.viewer.Viewer) -> None:
    """Show sagittal slices, the top of the head up."""
    _show(SAGITTAL, viewer)


def view_3d(viewer: napari.viewer.Viewer) -> None:
    """Show the head in 3D, from a little above."""
    _show(THREE_D, viewer)


def view_whole(viewer: napari.viewer.Viewer) -> None:
    """Show axial slices through the middle of the scene, fitted to the canvas."""
    Upright.of(viewer)
    anatomical_view(viewer, current_view(viewer)[1])


def swap_sides(viewer: napari.viewer.Viewer) -> None:
    """Switch between neurological and radiological convention."""
    Upright.of(viewer)
    name, convention = current_view(viewer)
    now = convention or convention_preferred()
    set_view(viewer, name or AXIAL, CONVENTIONS[1 - CONVENTIONS.index(now)])


KEYS: dict[str, Callable[[napari.viewer.Viewer], None]] = {
    "F6": view_axial,
    "F7": view_coronal,
    "F8": view_sagittal,
    "F9": view_3d,
    "Shift-F6": swap_sides,
}
"""Keys of the viewer while a widget of the plugin is open; napari 0.9 has no keys for plugins."""


def bind_view_keys(viewer: napari.viewer.Viewer) -> None:
    """Bind `KEYS` in a viewer, except those that are bound already."""
    for key, command in KEYS.items():
        with suppress(ValueError):  # is bound
            viewer.bind_key(key, command)  # a function: napari reads its name at every key


def _show(name: str, viewer: napari.viewer.Viewer) -> None:
    Upright.of(viewer)
    set_view(viewer, name, current_view(viewer)[1])
