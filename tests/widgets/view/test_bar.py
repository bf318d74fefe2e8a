"""The row of view buttons, and the views as napari's commands and keys."""

from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtCore import Qt

from napari_synthseg.widgets.view import bar as view_bar
from napari_synthseg.widgets.view import view
from napari_synthseg.widgets.view.bar import ViewBar
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


def test_a_view_names_the_axes_and_a_flat_picture_has_none(bar, viewer, qtbot):
    axes = viewer.canvas.overlays.axes
    assert not axes.visible
    qtbot.mouseClick(bar.buttons["axial"], LEFT)
    assert axes.visible
    assert viewer.dims.axis_labels == ("S", "A", "R")
    axes.visible = False  # by napari's menu
    qtbot.mouseClick(bar.buttons["coronal"], LEFT)
    assert not axes.visible
    axes.visible = True
    viewer.layers[0].visible = False
    viewer.add_image(np.zeros((4, 4)), name="flat")
    assert not axes.visible
    viewer.layers.remove("flat")
    assert axes.visible


def test_the_bar_stays_narrow(bar):
    assert bar.minimumSizeHint().width() <= 270


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (view_bar.view_axial, view.AXIAL),
        (view_bar.view_coronal, view.CORONAL),
        (view_bar.view_sagittal, view.SAGITTAL),
        (view_bar.view_3d, view.THREE_D),
    ],
)
def test_a_command_shows_its_view(viewer, command, name):
    command(viewer)
    assert view.current_view(viewer) == (name, view.NEUROLOGICAL)


def test_napari_runs_the_commands_of_the_manifest(window):
    from napari._app_model import get_app_model

    viewer = window()
    viewer.add_layer(scan_layer("RAS"))
    app = get_app_model()
    app.commands.execute_command("napari-synthseg.view_coronal").result()
    assert view.current_view(viewer)[0] == view.CORONAL
    menu = {item.command.title for item in app.menus.get_menu("napari-synthseg/view")}
    assert any(title.startswith("Anatomical view: sagittal") for title in menu)
