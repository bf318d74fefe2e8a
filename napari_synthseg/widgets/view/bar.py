"""Buttons and menu commands for the view (planes, 3D, convention), and a camera that stays upright."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakSet

from qtpy.compat import isalive
from qtpy.QtWidgets import QWidget

from napari_synthseg.widgets._shared.choices import Choice
from napari_synthseg.widgets._shared.controls import button, combo, listen, row
from napari_synthseg.widgets._shared.face import Face
from napari_synthseg.widgets.layers.geometry import AXIS_LABELS
from napari_synthseg.widgets.view import view
from napari_synthseg.widgets.view.planes import three_planes

if TYPE_CHECKING:
    import napari
    from napari.components import ViewerModel
    from napari.layers import Layer


_WIDTH = 26

_BUTTONS = {
    view.AXIAL: ("A", "Axial", "Axial slices: the front of the head up."),
    view.CORONAL: ("C", "Coronal", "Coronal slices: the top of the head up."),
    view.SAGITTAL: ("S", "Sagittal", "Sagittal slices: the top of the head up."),
    view.THREE_D: ("3D", "3D", "The head in 3D, not mirrored: from behind (neurological) or face to face."),
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
        upright = Upright.of(viewer)
        upright.hold()
        self.destroyed.connect(upright.release)
        self.buttons = {
            name: button(text, tip, partial(self.show_view, name), name=spoken, width=_WIDTH, checkable=True)
            for name, (text, spoken, tip) in _BUTTONS.items()
        }
        self.convention = combo(_CONVENTIONS, "Which side of the picture is the patient's left.")
        self.convention.setAccessibleName("View convention")
        self.convention.setMinimumWidth(60)
        self.convention.setCurrentIndex(self.convention.findData(view.convention_preferred()))
        planes = "Three planes with a linked cursor, oblique scans resliced; press again for one plane."
        self.planes = button("⊞", planes, lambda: three_planes(viewer), name="Three planes", width=_WIDTH)
        row(*self.buttons.values(), self.planes, (self.convention, 1), parent=self, spacing=2)
        self.convention.activated.connect(self._on_convention)
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

    def show_view(self, name: str) -> None:
        view.set_view(self._viewer, name, self.convention.currentData())
        self._follow()

    def _on_convention(self) -> None:
        name, _ = view.current_view(self._viewer)
        self.show_view(name or (view.THREE_D if self._viewer.dims.ndisplay == 3 else view.AXIAL))

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
        """Take the cursor off the canvas until it moves: without a direction in 3D napari 0.9 cannot add Labels."""
        viewer = self._viewer()
        if viewer is not None and viewer.dims.ndisplay == 3 and viewer.mouse_over_canvas:
            viewer.mouse_over_canvas = False
            viewer.mouse_move_callbacks.append(self._on_moved)

    def _on_moved(self, viewer: ViewerModel, event: Any) -> None:
        viewer.mouse_move_callbacks.remove(self._on_moved)
        viewer.mouse_over_canvas = True

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
        viewer.canvas.overlays.axes.visible = False

    def _turn_back(self, viewer: ViewerModel) -> None:
        turned, self._turned = self._turned, None
        if turned is not None:
            viewer.scene.camera.orientation = turned[1]
            viewer.canvas.overlays.axes.visible = turned[1] != NAPARI
            if len(turned[0]) == viewer.dims.ndim:
                viewer.dims.order = turned[0]


def _is_picture(layer: Layer) -> bool:
    return layer.ndim == 2 and hasattr(layer, "contrast_limits_range")
