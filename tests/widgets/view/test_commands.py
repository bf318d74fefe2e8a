"""The anatomical views as napari's commands and keys."""

from __future__ import annotations

import pytest
from napari.components import ViewerModel
from qtpy.QtCore import Qt

from napari_synthseg.widgets.view import bar, view
from tests.widgets.builders import scan_layer


@pytest.fixture
def viewer():
    model = ViewerModel()
    model.add_layer(scan_layer("LIA"))
    return model


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (bar.view_axial, view.AXIAL),
        (bar.view_coronal, view.CORONAL),
        (bar.view_sagittal, view.SAGITTAL),
        (bar.view_3d, view.THREE_D),
        (bar.view_whole, view.AXIAL),
    ],
)
def test_a_command_shows_its_view(viewer, command, name):
    command(viewer)
    assert view.current_view(viewer) == (name, view.NEUROLOGICAL)


def test_sides_are_swapped_and_stay_so_in_the_next_view(viewer):
    bar.view_coronal(viewer)
    bar.swap_sides(viewer)
    assert view.current_view(viewer) == (view.CORONAL, view.RADIOLOGICAL)
    bar.view_sagittal(viewer)
    assert view.current_view(viewer) == (view.SAGITTAL, view.RADIOLOGICAL)
    bar.swap_sides(viewer)
    assert view.current_view(viewer) == (view.SAGITTAL, view.NEUROLOGICAL)


def test_keys_do_not_take_what_is_bound_already(viewer):
    pressed = []
    viewer.bind_key("F7", lambda _: pressed.append("mine"))
    bar.bind_view_keys(viewer)
    bar.bind_view_keys(viewer)  # a second widget
    by_name = {str(key): bound for key, bound in viewer.keymap.items()}
    by_name["F7"](viewer)
    assert pressed == ["mine"]
    by_name["F8"](viewer)
    assert view.current_view(viewer)[0] == view.SAGITTAL


def test_a_key_pressed_on_the_canvas_turns_the_view(window, qtbot):
    viewer = window(show=True)
    viewer.add_layer(scan_layer("RAS"))
    bar.bind_view_keys(viewer)
    canvas = viewer.window._qt_viewer.canvas.native
    qtbot.keyClick(canvas, Qt.Key.Key_F7)
    assert view.current_view(viewer)[0] == view.CORONAL
    qtbot.keyClick(canvas, Qt.Key.Key_Control)  # napari looks at all that is bound, whatever the key


def test_napari_runs_the_commands_of_the_manifest(window):
    from napari._app_model import get_app_model

    viewer = window()
    viewer.add_layer(scan_layer("RAS"))
    app = get_app_model()
    app.commands.execute_command("napari-synthseg.view_coronal").result()
    assert view.current_view(viewer)[0] == view.CORONAL
    menu = {item.command.title for item in app.menus.get_menu("napari-synthseg/view")}
    assert any(title.startswith("Anatomical view: sagittal") for title in menu)
