"""A row of buttons that turn the viewer: axial, coronal, sagittal, 3D, and which side of the picture is the left."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary, WeakSet

from qtpy.compat import isalive
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QHBoxLayout, QPushButton, QWidget

from napari_synthseg.widgets._shared.choices import Choice
from napari_synthseg.widgets._shared.controls import combo, icon_on
from napari_synthseg.widgets._shared.face import Face
from napari_synthseg.widgets._shared.memory import recall, remember
from napari_synthseg.widgets.view import view
from napari_synthseg.widgets.view.commands import three_planes
from napari_synthseg.widgets.view.follow import edge_letters, upright

if TYPE_CHECKING:
    from napari.components import ViewerModel

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
    """Buttons for the views, which follow what the viewer shows, and the convention.

    Of several widgets on the screen only the first shows its bar.

    Args:
        viewer: the viewer that is turned.
        parent: the widget that has the bar.
    """

    def __init__(self, viewer: ViewerModel, parent: Face | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._letters = edge_letters(viewer)
        for keeper in (self._letters, upright(viewer)):
            keeper.hold()
            self.destroyed.connect(keeper.release)
        self.buttons = {name: self._button(name) for name in view.VIEWS}
        self.convention = combo(_CONVENTIONS, "Which side of the picture is the patient's left.")
        self.convention.setAccessibleName("View convention")
        self.convention.setMinimumWidth(60)
        self.convention.setCurrentIndex(self.convention.findData(view.convention_preferred()))
        self.letters = QPushButton("LR")
        self.letters.setFixedWidth(_WIDTH)
        self.letters.setCheckable(True)
        self.letters.setToolTip("Letters at the edges of the picture: left, right, anterior, posterior, superior, …")
        self.letters.setAccessibleName("Letters")
        self.letters.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        self.planes = QPushButton("⊞")
        self.planes.setFixedWidth(_WIDTH)
        self.planes.setToolTip("Three planes beside each other with a linked cursor; again: one.")
        self.planes.setAccessibleName("Three planes")
        self.planes.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.planes.clicked.connect(lambda: three_planes(viewer))
        for part in (*self.buttons.values(), self.planes, self.letters):
            layout.addWidget(part)
        layout.addWidget(self.convention, 1)
        self.convention.activated.connect(self._on_convention)
        self.letters.toggled.connect(self._on_letters)
        self.letters.setChecked(bool(recall(FACE).get("letters", True)))
        self._events = (
            viewer.dims.events.order,
            viewer.dims.events.ndisplay,
            viewer.dims.events.ndim,
            viewer.scene.camera.events.orientation,
        )
        for event in self._events:
            event.connect(self._follow)
        self._follow()
        self._face, self.number = parent, next(_numbers)
        _bars.setdefault(viewer, WeakSet()).add(self)
        if parent is not None:
            parent.surfaced.connect(lambda _: _show_one(viewer))

    @property
    def wanted(self) -> bool:
        """Whether the widget that has the bar is on the screen."""
        return isalive(self) and self._face is not None and isalive(self._face) and self._face.on_screen

    def _button(self, name: str) -> QPushButton:
        icon, text, tip = _BUTTONS[name]
        button = QPushButton()
        icon_on(button, icon)
        button.setFixedWidth(_WIDTH)
        button.setCheckable(True)
        button.setToolTip(tip)
        button.setAccessibleName(text)
        button.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        button.clicked.connect(lambda: self.show_view(name))
        return button

    def show_view(self, name: str) -> None:
        """Turn the viewer to one of `view.VIEWS`."""
        view.set_view(self._viewer, name, self.convention.currentData())
        self._follow()

    def _on_convention(self) -> None:
        name, _ = view.current_view(self._viewer)
        self.show_view(name or (view.THREE_D if self._viewer.dims.ndisplay == 3 else view.AXIAL))

    def _on_letters(self, shown: bool) -> None:
        self._letters.visible = shown
        remember(FACE, {"letters": shown})

    def _follow(self, event: object = None) -> None:
        """Press the button of what the viewer shows; none, if that is not a view of ours."""
        try:
            self._show_state()
        except RuntimeError:  # Qt has deleted the buttons; Python has not yet
            for signal in self._events:
                signal.disconnect(self._follow)

    def _show_state(self) -> None:
        shown, convention = view.current_view(self._viewer)
        solid = self._viewer.dims.ndim >= 3
        self.planes.setEnabled(solid and hasattr(self._viewer, "window"))
        for name, button in self.buttons.items():
            button.setEnabled(solid)
            button.setChecked(name == shown)
        if convention is not None:
            self.convention.setCurrentIndex(self.convention.findData(convention))


def _show_one(viewer: ViewerModel) -> None:
    """Show the bar of the widget that was opened first."""
    wanted = sorted((bar for bar in _bars.get(viewer, ()) if bar.wanted), key=lambda bar: bar.number)
    for bar in wanted:
        bar.setVisible(bar is wanted[0])
