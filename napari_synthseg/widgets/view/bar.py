"""A row of buttons that turn the viewer: axial, coronal, sagittal, 3D, and which side of the picture is the left."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QHBoxLayout, QPushButton, QWidget

from napari_synthseg.widgets._shared.choices import Choice
from napari_synthseg.widgets._shared.controls import combo
from napari_synthseg.widgets._shared.icons import icon_on
from napari_synthseg.widgets._shared.memory import recall, remember
from napari_synthseg.widgets.view import view
from napari_synthseg.widgets.view.edge_letters import edge_letters

if TYPE_CHECKING:
    from napari.components import ViewerModel

FACE = "view"
_WIDTH = 28

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


class ViewBar(QWidget):
    """Buttons for the views, which follow what the viewer shows, and the convention.

    Args:
        viewer: the viewer that is turned.
        parent: of the widget.
    """

    def __init__(self, viewer: ViewerModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._letters = edge_letters(viewer)
        self._letters.hold()
        self.destroyed.connect(self._letters.release)
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
        for part in (*self.buttons.values(), self.letters):
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
        for name, button in self.buttons.items():
            button.setEnabled(solid)
            button.setChecked(name == shown)
        if convention is not None:
            self.convention.setCurrentIndex(self.convention.findData(convention))
