"""The row of view buttons turns the viewer and follows it."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.compat import isalive
from qtpy.QtCore import Qt

from napari_synthseg.widgets.view import bar as view_bar
from napari_synthseg.widgets.view import view
from napari_synthseg.widgets.view.bar import EDGES, EdgeLetters, ViewBar
from tests.widgets.builders import scan_layer

LEFT = Qt.MouseButton.LeftButton


@pytest.fixture
def viewer():
    viewer = ViewerModel()
    viewer.add_layer(scan_layer("LIA"))
    return viewer


@pytest.fixture
def bar(viewer, qtbot):
    bar = ViewBar(viewer)
    qtbot.addWidget(bar)
    bar.show()
    return bar


def pressed(bar: ViewBar) -> list[str]:
    return [name for name, button in bar.buttons.items() if button.isChecked()]


def shown_letters(viewer) -> list[str]:
    overlays = [viewer.canvas.overlays[f"synthseg_{edge}"] for edge in EDGES]
    return [overlay.text for overlay in overlays if overlay.visible]


def test_nothing_turns_before_a_click(bar, viewer):
    assert tuple(map(str, viewer.scene.camera.orientation)) == ("towards", "down", "right")
    assert pressed(bar) == []


@pytest.mark.parametrize("name", view.VIEWS)
def test_a_click_turns_the_viewer(bar, viewer, qtbot, name):
    qtbot.mouseClick(bar.buttons[name], LEFT)
    assert view.current_view(viewer) == (name, "neurological")
    assert pressed(bar) == [name]


def test_the_convention_turns_what_is_shown(bar, viewer, qtbot):
    qtbot.mouseClick(bar.buttons["coronal"], LEFT)
    qtbot.keyClick(bar.convention, Qt.Key.Key_Down)
    assert view.current_view(viewer) == ("coronal", "radiological")


def test_the_buttons_follow_the_viewer(bar, viewer):
    view.set_view(viewer, "sagittal", "radiological")
    assert pressed(bar) == ["sagittal"]
    assert bar.convention.currentData() == "radiological"
    viewer.dims.order = (0, 2, 1)
    assert pressed(bar) == []


def test_the_convention_of_the_preferences_is_the_first_one(viewer, qtbot, monkeypatch):
    monkeypatch.setattr(view, "preference", lambda *args, **kwargs: "radiological")
    bar = ViewBar(viewer)
    qtbot.addWidget(bar)
    qtbot.mouseClick(bar.buttons["axial"], LEFT)
    assert view.current_view(viewer) == ("axial", "radiological")


def test_letters_can_be_switched_off_and_on(bar, viewer, qtbot):
    qtbot.mouseClick(bar.buttons["axial"], LEFT)
    assert shown_letters(viewer) == ["A", "P", "R", "L"]
    qtbot.mouseClick(bar.letters, LEFT)
    assert shown_letters(viewer) == []
    qtbot.mouseClick(bar.letters, LEFT)
    assert shown_letters(viewer) == ["A", "P", "R", "L"]


def test_a_flat_picture_has_no_letters(bar, viewer, qtbot):
    qtbot.mouseClick(bar.buttons["axial"], LEFT)
    viewer.layers[0].visible = False
    viewer.add_image(np.zeros((4, 4)), name="flat")
    assert shown_letters(viewer) == []
    viewer.layers.remove("flat")
    assert shown_letters(viewer) == ["A", "P", "R", "L"]


def test_the_choice_of_letters_is_remembered(viewer, qtbot, monkeypatch):
    kept = {}
    monkeypatch.setattr(view_bar, "recall", lambda face: kept)
    monkeypatch.setattr(view_bar, "remember", lambda face, choices: kept.update(choices))
    first, second = ViewBar(viewer), None
    qtbot.addWidget(first)
    first.letters.click()
    second = ViewBar(viewer)
    qtbot.addWidget(second)
    assert not second.letters.isChecked()


def test_letters_go_with_the_last_bar(viewer, qtbot):
    bars = [ViewBar(viewer), ViewBar(viewer)]
    assert shown_letters(viewer) == ["P", "A", "R", "L"]  # napari's own camera: the front of the head is below
    for bar in bars:
        bar.deleteLater()
    qtbot.waitUntil(lambda: shown_letters(viewer) == [])


def test_a_window_closes_with_its_letters_on(window, qtbot):
    viewer = window(show=True)
    viewer.add_layer(scan_layer())
    bar = ViewBar(viewer)
    viewer.window.add_dock_widget(bar)
    qtbot.waitUntil(bar.isVisible)
    assert len(shown_letters(viewer)) == 4
    with qtbot.captureExceptions() as caught:
        viewer.close()
        qtbot.waitUntil(lambda: not isalive(bar))
    assert caught == []


def test_there_are_no_letters_without_a_scan(bar, viewer):
    viewer.layers.clear()
    assert shown_letters(viewer) == []
    viewer.add_layer(scan_layer())
    assert len(shown_letters(viewer)) == 4


def test_buttons_wait_for_a_scan(qtbot):
    viewer = ViewerModel()
    bar = ViewBar(viewer)
    qtbot.addWidget(bar)
    assert not bar.buttons["axial"].isEnabled()
    viewer.add_layer(scan_layer())
    assert bar.buttons["axial"].isEnabled()


def test_the_viewer_outlives_no_letters(qtbot):
    from weakref import ref

    viewer = ViewerModel()
    EdgeLetters.of(viewer)
    alive = ref(viewer)
    del viewer
    gc.collect()
    assert alive() is None


def test_the_bar_stays_narrow(bar):
    assert bar.minimumSizeHint().width() <= 270
