"""Scans and flat pictures open the right way up, whatever the viewer was turned to before."""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtCore import Qt

from napari_synthseg.widgets._shared.face import Face
from napari_synthseg.widgets.view import view
from napari_synthseg.widgets.view.bar import NAPARI, Upright, ViewBar, view_axial
from tests.widgets.builders import scan_layer


@pytest.fixture
def bar(viewer, qtbot):
    """The bar of a widget that is open."""
    face = Face()
    qtbot.addWidget(face)
    return ViewBar(viewer, face)


def orientation(viewer) -> tuple[str, ...]:
    return tuple(str(one) for one in viewer.scene.camera.orientation)


def test_a_picture_after_a_head_has_the_camera_of_napari(viewer, bar, qtbot):
    viewer.add_layer(scan_layer("LIA"))
    qtbot.mouseClick(bar.buttons["axial"], Qt.MouseButton.LeftButton)
    assert orientation(viewer) == ("towards", "up", "right")
    viewer.layers.clear()
    viewer.add_image(np.zeros((4, 6)))
    assert orientation(viewer) == NAPARI


def test_a_view_chosen_without_a_widget_is_taken_back_too(viewer):
    viewer.add_layer(scan_layer("LIA"))
    view_axial(viewer)
    viewer.layers.clear()
    viewer.add_image(np.zeros((4, 6)))
    assert orientation(viewer) == NAPARI


def test_a_head_after_a_picture_has_the_camera_of_the_head_before(viewer, bar, qtbot):
    viewer.add_layer(scan_layer("LIA"))
    viewer.dims.ndisplay = 2
    bar.convention.setCurrentIndex(1)
    bar.convention.activated.emit(1)
    viewer.layers.clear()
    viewer.add_image(np.zeros((4, 6)))
    viewer.layers.clear()
    viewer.add_layer(scan_layer("LIA"))
    assert view.current_view(viewer)[0] == "axial"


def test_the_first_scan_opens_the_right_way_up_beside_a_widget(viewer, bar):
    viewer.add_layer(scan_layer("LIA"))
    assert view.current_view(viewer) == ("axial", "neurological")


def test_without_a_widget_scans_open_as_napari_opens_them(viewer):
    viewer.add_layer(scan_layer("LIA"))
    assert orientation(viewer) == NAPARI


def test_a_stack_of_no_known_axes_is_not_turned(viewer, bar):
    viewer.add_image(np.zeros((4, 5, 6)))
    assert orientation(viewer) == NAPARI


def test_labels_come_into_a_3d_view_before_the_mouse_moves(viewer, bar):
    viewer.add_layer(scan_layer("LIA"))
    viewer.mouse_over_canvas = True
    viewer.dims.ndisplay = 3
    labels = viewer.add_labels(np.ones((4, 5, 6), np.uint8), features={"index": [0, 1], "name": ["a", "b"]})
    assert viewer.layers.selection.active is labels  # napari's status line asks for the direction of the cursor
    (moved,) = [one for one in viewer.mouse_move_callbacks if getattr(one, "__self__", None) is Upright.of(viewer)]
    moved(viewer, None)
    assert viewer.mouse_over_canvas
    assert moved not in viewer.mouse_move_callbacks
