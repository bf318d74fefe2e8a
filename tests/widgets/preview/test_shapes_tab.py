"""The Shapes tab: scenes, their targets and points, samples, copying and saving."""

from __future__ import annotations

import shlex

import numpy as np
import pytest
from qtpy.QtWidgets import QApplication, QFileDialog

from napari_synthseg.cli import main
from napari_synthseg.generator.presets import shape_preset
from tests.widgets.builders import click
from tests.widgets.preview.conftest import blocks_layer, record, settle

NAMES = ["Synthetic scene", "Synthetic objects", "Synthetic prompts"]


@pytest.fixture
def shapes(qtbot, open_widget):
    """The third tab after the first draw of a small scene."""
    widget = open_widget()
    widget.tabs.setCurrentIndex(2)
    widget.tabs.setCurrentIndex(2)
    tab = widget.shapes
    tab.output.set_values({"side": 128})
    tab.form.set_values({"acquired_px": (96.0, 128.0)})
    click(qtbot, tab.draw)
    tab.seed.setValue(3)
    settle(qtbot, tab)
    return tab


def test_draw_shows_a_scene_its_objects_and_the_points(shapes, viewer):
    assert [layer.name for layer in viewer.layers] == NAMES
    scene, objects, points = viewer.layers
    assert scene.data.shape == objects.data.shape and max(scene.data.shape) == 128
    assert record(shapes)["seed"] == 3
    inside = [bool(objects.data[tuple(at)] == objects.selected_label) for at in points.data.astype(int)]
    assert inside == [word == "inside" for word in points.features["point"]]
    assert inside[0]
    assert len(set(zip(map(str, points.symbol), inside, strict=True))) == len(set(inside))


def test_the_target_alone_all_objects_or_none(shapes, viewer):
    _, objects, points = viewer.layers
    assert (objects.visible, objects.show_selected_label, points.visible) == (True, True, True)
    shapes.target.click()
    assert (objects.visible, objects.show_selected_label) == (True, False)
    shapes.prompts.click()
    assert (objects.visible, points.visible) == (True, False)
    shapes.target.click()
    assert (objects.visible, points.visible) == (False, False)


def test_another_target_of_the_same_scene(shapes, viewer, qtbot):
    image, targets = viewer.layers[0].data, {viewer.layers[1].selected_label}
    for _ in range(6):
        click(qtbot, shapes.another)
        settle(qtbot, shapes)
        targets.add(viewer.layers[1].selected_label)
    assert len(targets) > 1
    np.testing.assert_array_equal(viewer.layers[0].data, image)


def test_a_preset_is_taken(shapes, qtbot):
    shapes.preset.setCurrentText("ultrasound")
    settle(qtbot, shapes)
    assert record(shapes)["look"] == "ultrasound"
    assert shapes.facts.text().startswith("Ultrasound, ")
    assert "looks like: ultrasound" in shapes.facts.toolTip()


def test_priors_that_do_not_go_together_are_one_sentence(shapes, qtbot):
    shapes.form.set_values({"ct": 1.0})
    qtbot.wait(300)
    assert "must not exceed 1 together" in shapes.status.text()


def test_an_open_scan_makes_room(viewer, open_widget, qtbot):
    viewer.add_layer(blocks_layer())
    viewer.dims.ndisplay, viewer.dims.order = 3, (2, 0, 1)
    widget = open_widget()
    widget.tabs.setCurrentIndex(2)
    tab = widget.shapes
    tab.output.set_values({"side": 128})
    click(qtbot, tab.draw)
    settle(qtbot, tab)
    assert [layer.visible for layer in viewer.layers] == [False, True, True, True]
    assert (viewer.dims.ndisplay, viewer.dims.order) == (2, (0, 1, 2))
    assert viewer.scene.camera.orientation[1:] == ("down", "right")
    assert {str(unit) for layer in viewer.layers for unit in layer.units} == {"millimeter"}
    viewer.layers["blocks"].visible = True
    click(qtbot, tab.draw)
    settle(qtbot, tab)
    assert viewer.layers["blocks"].visible


def test_saved_files_are_those_of_the_copied_command(shapes, qtbot, tmp_path, monkeypatch):
    shapes.preset.setCurrentText("mr")
    shapes.form.set_values({"objects": (3.0, 4.0)})
    shapes.output.set_values({"bits": 16})
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *args: str(tmp_path / "saved"))
    for count in (1, 2):
        click(qtbot, shapes.save)
        # Not by the status line: a drawing that comes later has its say there too.
        qtbot.waitUntil(lambda: len([*(tmp_path / "saved").glob("*.png")]) == 2 * count)  # noqa: B023
        qtbot.waitUntil(shapes.save.isEnabled)
    shapes.copy_recipe(python=False)
    words = shlex.split(QApplication.clipboard().text())
    words[words.index("-o") + 1] = str(tmp_path / "command")
    assert main(words[1:]) == 0
    made = {path.name: path.read_bytes() for path in (tmp_path / "command").iterdir()}
    assert sorted(made) == ["mr_0003_image.png", "mr_0003_objects.png", "mr_0003_record.json"]
    assert made == {name: (tmp_path / "saved" / name).read_bytes() for name in made}
    shapes.copy_recipe(python=True)
    assert "SynthesizeShapesOptions(preset='mr', prior=('objects=3,4',)" in QApplication.clipboard().text()


def test_choices_are_remembered(open_widget, monkeypatch):
    kept: dict = {}
    monkeypatch.setattr("napari_synthseg.widgets.preview.page.remember", lambda face, new: kept.update(new))
    widget = open_widget()
    widget.tabs.setCurrentIndex(2)
    tab = widget.shapes
    tab.preset.setCurrentText("ct")
    tab.prompts.setChecked(False)
    tab.output.set_values({"bits": 16})
    tab.remember_choices()
    for module in ("page", "tabs"):
        monkeypatch.setattr(f"napari_synthseg.widgets.preview.{module}.recall", lambda face: kept)
    widget = open_widget()
    widget.tabs.setCurrentIndex(2)
    again = widget.shapes
    assert again.form.priors() == shape_preset("ct")
    assert again.output.values()["bits"] == 16 and not again.prompts.isChecked()
