"""The real window: what is clicked on the canvas is what is segmented, and dragging still moves the picture."""

from __future__ import annotations

import numpy as np
import pytest
from napari.components._viewer_mouse_bindings import double_click_to_zoom
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest

from napari_synthseg.widgets.prompt import PromptWidget
from napari_synthseg.widgets.prompt.model import section
from tests.widgets.prompt.conftest import blobs, settle
from tests.widgets.prompt.fakes import maker

LEFT, RIGHT = Qt.MouseButton.LeftButton, Qt.MouseButton.RightButton
NONE, SHIFT = Qt.KeyboardModifier.NoModifier, Qt.KeyboardModifier.ShiftModifier
CONTROL, ALT = Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.AltModifier


class Window:
    """A napari window with the widget in its dock, pointing."""

    def __init__(self, viewer, make) -> None:
        self.viewer, self.widget = viewer, PromptWidget(viewer, make)
        viewer.window.resize(1000, 700)
        self.dock = viewer.window.add_dock_widget(self.widget, name="Prompt")
        self.canvas = viewer.window._qt_viewer.canvas.native

    def start(self) -> None:
        QTest.mouseClick(self.widget.point, LEFT, pos=QPoint(12, 12))
        QTest.qWait(50)
        assert self.widget.prompting.on

    def drawn(self, layer) -> np.ndarray:
        """Where the two things of a layer are drawn: (row, column) on the canvas, the darker one first."""
        others = [other for other in self.viewer.layers if other is not layer and other.visible]
        for other in others:
            other.visible = False
        picture = self.viewer.screenshot(canvas_only=True, flash=False)[..., 0].astype(int)
        for other in others:
            other.visible = True
        places = []
        for low, high in ((90, 165), (220, 256)):
            drawn = np.argwhere((picture >= low) & (picture <= high))
            places.append(np.median(drawn, axis=0) / self.canvas.devicePixelRatioF())
        return np.array(places)

    def at(self, place) -> QPoint:
        return QPoint(round(place[1]), round(place[0]))

    def click(self, place, modifier=NONE, button=LEFT) -> None:
        QTest.mouseClick(self.canvas, button, modifier, self.at(place))
        settle(self.widget)

    def drag(self, first, last, modifier=NONE, button=LEFT) -> None:
        QTest.mousePress(self.canvas, button, modifier, self.at(first))
        for fraction in (0.3, 0.6, 1.0):
            there = np.asarray(first) + fraction * (np.asarray(last) - np.asarray(first))
            self._move(there, modifier, button)
            QTest.qWait(30)
        QTest.mouseRelease(self.canvas, button, modifier, self.at(last))
        settle(self.widget)

    def trace(self, places) -> None:
        """Draw along places with the button held."""
        QTest.mousePress(self.canvas, LEFT, NONE, self.at(places[0]))
        for first, last in zip(places, places[1:], strict=False):
            for fraction in np.linspace(0.1, 1, 10):
                self._move(first + fraction * (last - first), NONE, LEFT)
                QTest.qWait(10)
        QTest.mouseRelease(self.canvas, LEFT, NONE, self.at(places[-1]))
        QTest.qWait(50)
        settle(self.widget)

    def _move(self, place, modifier, button) -> None:
        """A move with the button held: `QTest.mouseMove` has no buttons."""
        from qtpy.QtCore import QEvent, QPointF
        from qtpy.QtGui import QMouseEvent
        from qtpy.QtWidgets import QApplication

        where = QPointF(self.at(place))
        there = QPointF(self.canvas.mapToGlobal(self.at(place)))
        event = QMouseEvent(QEvent.Type.MouseMove, where, there, Qt.MouseButton.NoButton, button, modifier)
        QApplication.sendEvent(self.canvas, event)

    def mask(self) -> np.ndarray:
        return self.widget.prompting.work.draft.voxels != 0


@pytest.fixture
def opened(window, qtbot):
    viewer = window(show=True)
    shown = Window(viewer, maker())
    yield shown
    shown.widget.close_down()


TURNED = np.array([[1, 0, 0], [0, 0.9, -np.sqrt(0.19)], [0, np.sqrt(0.19), 0.9]])
SCENES = {
    "plain": ({}, (0, 1, 2)),
    "zoomed in": ({}, (0, 1, 2)),
    "thick slices, seen from the side": ({"scale": (5.0, 1.0, 1.0), "translate": (-30.0, 8.0, 100.0)}, (1, 0, 2)),
    "mirrored, seen from the side": ({"scale": (2.0, -1.0, 1.5)}, (2, 0, 1)),
    "turned in the plane": ({"rotate": TURNED, "scale": (3.0, 1.0, 1.0)}, (0, 1, 2)),
    "turned out of the plane": ({"rotate": TURNED}, (1, 0, 2)),
    "axes exchanged": ({"scale": (1.0, 2.0, 1.0)}, (0, 2, 1)),
}


@pytest.mark.parametrize("scene", SCENES)
def test_what_is_clicked_is_what_is_segmented(opened, scene):
    """An image as in a scene, with a click on each of its two things that its slice shows."""
    geometry, order = SCENES[scene]
    viewer, data = opened.viewer, blobs((16, 20, 24))
    data[2:14, 4:12, 3:9], data[2:14, 6:16, 13:20] = 1, 2
    layer = viewer.add_image(data, contrast_limits=(0, 2), interpolation2d="nearest", **geometry)
    viewer.dims.order = order
    viewer.dims.set_point(order[0], layer.data_to_world((7.0, 9.0, 6.0 if order[0] == 2 else 9.0))[order[0]])
    viewer.fit_to_view()
    if scene == "zoomed in":
        viewer.scene.camera.zoom *= 3
        viewer.scene.camera.center = (0, 9, 10)
    opened.start()
    drawn, clicked = np.asarray(layer._slice.image.raw), 0
    for value, place in zip((1, 2), opened.drawn(layer), strict=True):
        if not (drawn == value).any():
            continue
        opened.click(place)
        at = section(opened.widget.prompting.work.draft.prompted()[0])
        np.testing.assert_array_equal(opened.mask()[at], data[at] == value, err_msg=scene)
        assert opened.mask().sum() == (data[at] == value).sum() > 0
        opened.click(place, CONTROL)
        assert not opened.mask().any()
        opened.widget.discard.click()
        clicked += 1
    assert clicked


def flat(opened):
    layer = opened.viewer.add_image(blobs((20, 24)), contrast_limits=(0, 2), interpolation2d="nearest")
    opened.viewer.fit_to_view()
    opened.start()
    return layer, opened.drawn(layer)


def test_ctrl_and_alt_mean_outside_and_quick_clicks_do_not_zoom(opened):
    _, places = flat(opened)
    zoom = opened.viewer.scene.camera.zoom
    opened.click(places[0])
    opened.click(places[1])
    opened.click(places[1], ALT)
    np.testing.assert_array_equal(opened.mask(), blobs((20, 24)) == 1)
    opened.click(places[0], CONTROL)
    assert not opened.mask().any()
    QTest.mouseDClick(opened.canvas, LEFT, NONE, opened.at(places[0]))
    settle(opened.widget)
    assert opened.viewer.scene.camera.zoom == zoom
    opened.widget.point.click()
    assert double_click_to_zoom in opened.viewer.mouse_double_click_callbacks


def test_a_drag_moves_the_picture_and_with_shift_draws_a_box(opened):
    _, places = flat(opened)
    center, zoom = opened.viewer.scene.camera.center, opened.viewer.scene.camera.zoom
    reach = 6 * zoom
    opened.drag(places[1] - reach, places[1] + reach, SHIFT)
    assert opened.mask().any() and not (opened.mask() & (blobs((20, 24)) == 1)).any()
    assert opened.viewer.scene.camera.center == center and opened.viewer.scene.camera.zoom == zoom
    assert len(opened.widget.prompting.work.box.data) == 1
    before = len(opened.widget.prompting.work.draft.steps)
    opened.drag(places[0], places[0] + 60)
    assert opened.viewer.scene.camera.center != center
    assert len(opened.widget.prompting.work.draft.steps) == before
    opened.widget.discard.click()
    opened.click(places[0] + 60)  # where it is now
    np.testing.assert_array_equal(opened.mask(), blobs((20, 24)) == 1)


def test_a_tool_in_hand_keeps_the_mouse(opened):
    _, places = flat(opened)
    labels = opened.viewer.add_labels(np.zeros((20, 24), int), name="drawing")
    labels.mode = "paint"
    opened.click(places[0])
    assert labels.data.any() and not opened.widget.prompting.begun
    assert "drawing" in opened.widget.status.text() and "pan/zoom" in opened.widget.status.text()


def test_keys_on_the_canvas(opened):
    _, places = flat(opened)
    press = lambda key, modifier=NONE: (QTest.keyClick(opened.canvas, key, modifier), settle(opened.widget))  # noqa: E731
    opened.click(places[0])
    press(Qt.Key.Key_T)
    assert opened.widget.outside.isChecked()
    opened.click(places[0])
    assert not opened.mask().any()
    press(Qt.Key.Key_Z, CONTROL)
    assert opened.mask().any()
    press(Qt.Key.Key_Z, CONTROL | SHIFT)
    assert not opened.mask().any()
    press(Qt.Key.Key_Z, CONTROL)
    press(Qt.Key.Key_A)
    assert opened.viewer.layers[-1].data.any() and not opened.widget.prompting.begun
    press(Qt.Key.Key_Q)
    assert not opened.widget.prompting.on
    opened.widget.close_down()
    press(Qt.Key.Key_Q)  # nobody is there any more


def test_tools_are_drawn_with_the_mouse(opened):
    """Through the thing, or around it, with the button held; the drawing becomes the object and goes."""
    layer, places = flat(opened)
    pixels = opened.viewer.scene.camera.zoom
    for tool, corners in (
        ("scribble", [(-2, -1), (2, 1)]),
        ("lasso", [(-6, -4), (-6, 4), (6, 4), (6, -4), (-6, -4)]),
    ):
        QTest.mouseClick(getattr(opened.widget, tool), LEFT, pos=QPoint(12, 12))
        opened.trace([places[0] + pixels * np.array(corner) for corner in corners])
        np.testing.assert_array_equal(opened.mask(), blobs((20, 24)) == 1, err_msg=tool)
        assert len(opened.widget.drawing.layer.data) == 0
        opened.widget.discard.click()
