"""Buttons, menu commands and keys for the view: axial, coronal, sagittal, 3D, three planes, letters, convention.

Two followers keep a viewer as the bar shows it: letters at the edges of the canvas, and a camera that stays upright.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakSet

import numpy as np
from napari.components.overlays import TextOverlay
from psygnal import EmitLoopError
from qtpy.compat import isalive
from qtpy.QtWidgets import QPushButton, QWidget

from napari_synthseg.widgets._shared.choices import Choice
from napari_synthseg.widgets._shared.controls import button, combo, listen, row
from napari_synthseg.widgets._shared.face import Face
from napari_synthseg.widgets._shared.user import recall, remember
from napari_synthseg.widgets.layers.geometry import AXIS_LABELS
from napari_synthseg.widgets.view import view
from napari_synthseg.widgets.view.planes import three_planes

if TYPE_CHECKING:
    import napari
    from napari.components import ViewerModel
    from napari.layers import Layer


FACE = "view"
_WIDTH = 26

_BUTTONS = {
    view.AXIAL: ("axial", "Axial", "Axial slices: the front of the head up."),
    view.CORONAL: ("coronal", "Coronal", "Coronal slices: the top of the head up."),
    view.SAGITTAL: ("sagittal", "Sagittal", "Sagittal slices: the top of the head up."),
    view.THREE_D: ("three_d", "3D", "The head in 3D, not mirrored: from behind (neurological) or face to face."),
}
_CONVENTIONS = [
    Choice(view.NEUROLOGICAL, "Neurological", "The patient's left is on the left of the picture."),
    Choice(view.RADIOLOGICAL, "Radiological", "The patient's left is on the right of the picture."),
]


_numbers = count()
_bars: WeakKeyDictionary[ViewerModel, WeakSet[ViewBar]] = WeakKeyDictionary()


class ViewBar(QWidget):
    """Buttons that turn the viewer and follow it; of several widgets on the screen only the first shows its bar."""

    def __init__(self, viewer: ViewerModel, parent: Face | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        bind_view_keys(viewer)
        self._letters = EdgeLetters.of(viewer)
        for keeper in (self._letters, Upright.of(viewer)):
            keeper.hold()
            self.destroyed.connect(keeper.release)
        self.buttons = {name: self._view_button(name) for name in view.VIEWS}
        self.convention = combo(_CONVENTIONS, "Which side of the picture is the patient's left.")
        self.convention.setAccessibleName("View convention")
        self.convention.setMinimumWidth(60)
        self.convention.setCurrentIndex(self.convention.findData(view.convention_preferred()))
        letters = "Letters at the edges of the picture: left, right, anterior, posterior, superior, …"
        planes = "Three planes with a linked cursor, oblique scans resliced; press again for one plane."
        self.letters = button("LR", letters, name="Letters", width=_WIDTH, checkable=True)
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
        return isalive(self) and self._face is not None and isalive(self._face) and self._face.on_screen

    def _view_button(self, name: str) -> QPushButton:
        icon, text, tip = _BUTTONS[name]
        return button("", tip, lambda: self.show_view(name), name=text, icon=icon, width=_WIDTH, checkable=True)

    def show_view(self, name: str) -> None:
        view.set_view(self._viewer, name, self.convention.currentData())
        self._follow()

    def _on_convention(self) -> None:
        name, _ = view.current_view(self._viewer)
        self.show_view(name or (view.THREE_D if self._viewer.dims.ndisplay == 3 else view.AXIAL))

    def _on_letters(self, shown: bool) -> None:
        self._letters.show(shown)
        remember(FACE, {"letters": shown})

    def _follow(self, event: object = None) -> None:
        shown, convention = view.current_view(self._viewer)
        solid = self._viewer.dims.ndim >= 3
        self.planes.setEnabled(solid and hasattr(self._viewer, "window"))
        for name, one in self.buttons.items():
            one.setEnabled(solid)
            one.setChecked(name == shown)
        if convention is not None:
            self.convention.setCurrentIndex(self.convention.findData(convention))


def _show_one(viewer: ViewerModel) -> None:
    wanted = sorted((bar for bar in _bars.get(viewer, ()) if bar.wanted), key=lambda bar: bar.number)
    for bar in wanted:
        bar.setVisible(bar is wanted[0])


def _command(name: str) -> Callable[[napari.viewer.Viewer], None]:
    """Return the command that shows a view; napari reads its name and docstring."""

    def show(viewer: napari.viewer.Viewer) -> None:
        Upright.of(viewer)
        view.set_view(viewer, name, view.current_view(viewer)[1])

    show.__name__, show.__doc__ = f"view_{name}", _BUTTONS[name][2]
    return show


view_axial, view_coronal, view_sagittal, view_3d = map(_command, view.VIEWS)


def view_whole(viewer: napari.viewer.Viewer) -> None:
    """Show axial slices through the middle of the scene, fitted to the canvas."""
    Upright.of(viewer)
    view.anatomical_view(viewer, view.current_view(viewer)[1])


def swap_sides(viewer: napari.viewer.Viewer) -> None:
    """Switch between neurological and radiological convention."""
    Upright.of(viewer)
    name, convention = view.current_view(viewer)
    now = convention or view.convention_preferred()
    view.set_view(viewer, name or view.AXIAL, view.CONVENTIONS[1 - view.CONVENTIONS.index(now)])


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


# Followers

EDGES = {"top_center": (0, 1), "bottom_center": (0, -1), "middle_right": (1, 1), "middle_left": (1, -1)}
LETTERS = (("I", "S"), ("P", "A"), ("L", "R"))  # at the ends of each of the last three axes
_SLANTED = 0.5  # least cosine between an edge and an axis that it names, in 3D
_KEY = "synthseg_{}"


def letters(viewer: ViewerModel) -> dict[str, str]:
    """Return the letters at each edge of the canvas; empty if the axes of a layer may not be anatomical."""
    if not _is_anatomical(viewer):
        return dict.fromkeys(EDGES, "")
    directions = view.screen_directions(viewer)
    return {edge: _letters(viewer, sign * directions[which]) for edge, (which, sign) in EDGES.items()}


class EdgeLetters(view.ViewerFollower):
    """Four text overlays of a viewer that name its sides."""

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__(viewer)
        self._overlays, self.visible = {}, False
        for edge in EDGES:
            overlay = TextOverlay(position=edge, font_size=12, visible=False)
            viewer.canvas.overlays[_KEY.format(edge)] = self._overlays[edge] = overlay
        for signal in (
            viewer.dims.events.order,
            viewer.dims.events.ndisplay,
            viewer.dims.events.ndim,
            viewer.scene.camera.events.angles,
            viewer.scene.camera.events.orientation,
            viewer.layers.events.inserted,
            viewer.layers.events.removed,
        ):
            signal.connect(self.update)

    def show(self, shown: bool) -> None:
        self.visible = shown
        self.update()

    def release(self) -> None:
        """Forget a widget; without any the letters are hidden."""
        super().release()
        if self._widgets <= 0:
            with suppress(RuntimeError, EmitLoopError):  # a closing window deletes the canvas first
                self.show(False)

    def update(self, event: object = None) -> None:
        viewer = self._viewer()
        texts = letters(viewer) if self.visible and viewer is not None else dict.fromkeys(EDGES, "")
        for edge, overlay in self._overlays.items():
            overlay.text = texts[edge]
            overlay.visible = bool(texts[edge])


def _letters(viewer: ViewerModel, direction: np.ndarray) -> str:
    first = viewer.dims.ndim - 3
    parts = sorted(zip(viewer.dims.displayed, direction, strict=True), key=lambda part: -abs(part[1]))
    there = [LETTERS[axis - first][int(along > 0)] for axis, along in parts if axis >= first and abs(along) >= _SLANTED]
    return "".join(there)


def _is_anatomical(viewer: ViewerModel) -> bool:
    if any(layer.ndim == 2 and layer.visible and hasattr(layer, "contrast_limits_range") for layer in viewer.layers):
        return False  # a 2D picture
    solid = [layer for layer in viewer.layers if layer.ndim >= 3 and hasattr(layer, "contrast_limits_range")]
    solid += [layer for layer in viewer.layers if layer.ndim >= 3 and hasattr(layer, "selected_label")]
    return bool(solid) and all(tuple(layer.axis_labels[-3:]) == AXIS_LABELS for layer in solid)


NAPARI = ("towards", "down", "right")
"""napari's own orientation: rows run down, columns to the right."""


class Upright(view.ViewerFollower):
    """Gives 2D pictures napari's own orientation, and the first scan an anatomical one while a widget is open."""

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__(viewer)
        self._turned: tuple[tuple[int, ...], tuple[str, ...]] | None = None  # order and orientation of scans
        viewer.dims.events.ndim.connect(self._on_ndim)
        viewer.dims.events.ndisplay.connect(self._on_ndisplay)
        viewer.layers.events.inserted.connect(self._on_inserted, position="last")
        viewer.layers.events.removed.connect(self._on_removed, position="last")

    def _on_ndim(self, event: Any) -> None:
        viewer = self._viewer()
        if viewer is not None and viewer.dims.ndim < 3:
            self._lay_flat(viewer)

    def _on_ndisplay(self, event: Any) -> None:
        """Give the cursor a direction before the mouse moves: without one napari 0.9 cannot add Labels in 3D."""
        viewer = self._viewer()
        if viewer is not None and viewer.dims.ndisplay == 3 and viewer.cursor._view_direction is None:
            camera, dims = viewer.scene.camera, viewer.dims
            viewer.cursor._view_direction = camera.calculate_nd_view_direction(dims.ndim, dims.displayed)

    def _on_inserted(self, event: Any) -> None:
        viewer, layer = self._viewer(), event.value
        if viewer is None:
            return
        solid = [one for one in viewer.layers if one.ndim >= 3 and one is not layer]
        if layer.ndim >= 3 and not solid:
            self._turn_back(viewer)
            untouched = tuple(viewer.dims.order) == tuple(range(viewer.dims.ndim)) and viewer.dims.ndisplay == 2
            if self._widgets > 0 and untouched and tuple(layer.axis_labels[-3:]) == AXIS_LABELS:
                view.anatomical_view(viewer)
        elif _is_picture(layer) and not any(one.visible for one in solid):
            self._lay_flat(viewer)

    def _on_removed(self, event: Any) -> None:
        viewer = self._viewer()
        if viewer is not None and viewer.dims.ndim >= 3 and not any(map(_is_picture, viewer.layers)):
            self._turn_back(viewer)

    def _lay_flat(self, viewer: ViewerModel) -> None:
        camera, order = viewer.scene.camera, tuple(range(viewer.dims.ndim))
        if self._turned is None:
            self._turned = tuple(viewer.dims.order), tuple(str(one) for one in camera.orientation)
        viewer.dims.order, camera.orientation = order, NAPARI

    def _turn_back(self, viewer: ViewerModel) -> None:
        turned, self._turned = self._turned, None
        if turned is not None:
            viewer.scene.camera.orientation = turned[1]
            if len(turned[0]) == viewer.dims.ndim:
                viewer.dims.order = turned[0]


def _is_picture(layer: Layer) -> bool:
    return layer.ndim == 2 and hasattr(layer, "contrast_limits_range")
