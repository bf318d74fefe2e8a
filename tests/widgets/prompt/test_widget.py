"""The widget's own parts: models to choose, keys that can be changed, choices that are remembered, the manifest."""

from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.utils.action_manager import action_manager
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QFileDialog

from napari_synthseg.weights import sam
from napari_synthseg.widgets._shared import user
from napari_synthseg.widgets._shared.choosers import OPEN, PROMPTABLE, ModelChooser
from napari_synthseg.widgets.prompt import PromptWidget
from napari_synthseg.widgets.prompt.pointing import ACTIONS
from tests.widgets.prompt.conftest import blobs, settle
from tests.widgets.prompt.fakes import maker


def test_the_face_follows_what_can_be_done(viewer, widget):
    assert not widget.point.isEnabled() and not widget.accept.isEnabled() and not widget.undo.isEnabled()
    viewer.add_image(blobs((20, 24)))
    assert widget.point.isEnabled() and "Start prompting" in widget.point.text().replace("&", "")
    widget.point.click()
    assert "click on the image" in widget.point.text()
    assert "Click to add, Ctrl-click to remove" in widget.status.text()
    widget.prompting.click((6.0, 5.0), outside=False)
    settle(widget)
    for button in (widget.accept, widget.undo, widget.discard, widget.follow):
        assert button.isEnabled()
    viewer.layers.clear()
    assert not widget.accept.isEnabled() and not widget.undo.isEnabled()


def test_layers_of_ours_are_not_offered(viewer, widget):
    viewer.add_image(blobs((20, 24)))
    widget.point.click()
    widget.prompting.click((6.0, 5.0), outside=False)
    settle(widget)
    assert [widget.into.itemText(row) for row in range(widget.into.count())] == ["New layer"]
    assert widget.image.count() == 1


def test_other_weights_are_opened_by_their_file(qtbot, tmp_path, monkeypatch):
    chooser = ModelChooser(PROMPTABLE)
    qtbot.addWidget(chooser)
    assert chooser.value() == "mobilesam" and chooser.problem.isHidden()
    path = tmp_path / "mine.safetensors"
    path.touch()
    monkeypatch.setattr(QFileDialog, "getOpenFileName", staticmethod(lambda *_, **__: (str(path), "")))
    with qtbot.waitSignal(chooser.changed):
        chooser.box.setCurrentIndex(chooser.box.findText(OPEN))
    assert chooser.value() == str(path) and chooser.box.currentText() == "mine.safetensors"
    chooser.refresh()
    assert chooser.value() == str(path)
    monkeypatch.setattr(QFileDialog, "getOpenFileName", staticmethod(lambda *_, **__: ("", "")))
    chooser.box.setCurrentIndex(chooser.box.findText(OPEN))
    assert chooser.value() == str(path)  # nothing was chosen


def test_weights_that_arrive_are_offered(qtbot, monkeypatch):
    monkeypatch.setattr("napari_synthseg.weights.sam.available", lambda: [])
    chooser = ModelChooser(PROMPTABLE)
    qtbot.addWidget(chooser)
    assert chooser.value() == "" and "No promptable weights" in chooser.problem.text()
    cards = [{"name": sam.DEFAULT, "path": "a"}, {"name": "mobilesam", "path": "b"}]
    monkeypatch.setattr("napari_synthseg.weights.sam.available", lambda: cards)
    chooser.refresh()
    assert chooser.value() == sam.DEFAULT and chooser.problem.isHidden()


def test_another_model_or_device_is_loaded_for_the_next_click(viewer, widget, make, tmp_path):
    viewer.add_image(blobs((20, 24)))
    widget.point.click()
    widget.prompting.click((6.0, 5.0), outside=False)
    settle(widget)
    path = tmp_path / "mine.pt"
    path.touch()
    widget.model.set_value(str(path))
    widget.options.asking.controls["device"].setCurrentIndex(1)
    widget.prompting.click((6.0, 5.0), outside=False)
    settle(widget)
    assert make.log.made[0] == ("mobilesam", "auto") and make.log.made[-1] == (str(path), "cpu")
    assert make.log.closed >= 1


def test_choices_are_remembered(viewer, qtbot, tmp_path, monkeypatch):
    monkeypatch.setattr(user, "_path", lambda: tmp_path / "choices.json")
    first = PromptWidget(viewer, maker())
    qtbot.addWidget(first)
    first.options.asking.controls["window"].setCurrentIndex(1)
    first.options.asking.controls["keep_others"].setChecked(True)
    first.options.follow.set_values({"most_slices": 7})
    first.keys.set_unfolded(False)
    first.close()
    second = PromptWidget(viewer, maker())
    qtbot.addWidget(second)
    assert second.options.asking.controls["window"].currentIndex() == 1 and second.prompting.window == "layer"
    assert second.objects.keep_others
    assert second.options.follow.values()["most_slices"] == 7
    assert not second.keys.unfolded
    second.close()


def test_keys_are_listed_and_can_be_changed(viewer, widget):
    assert {name: label.text() for name, label in widget.keys.labels.items()}["accept"] == "A"
    action = next(action for action in ACTIONS if action.name == "accept")
    before = action_manager.unbind_shortcut(action.id)
    try:
        assert widget.keys.labels["accept"].text() == "-"
        action_manager.bind_shortcut(action.id, "N")
        assert widget.keys.labels["accept"].text() == "N"
        bound = {str(key) for key in ViewerModel.class_keymap}
        assert "N" in bound and "A" not in bound
    finally:
        action_manager.unbind_shortcut(action.id)
        for key in before:
            action_manager.bind_shortcut(action.id, key)


def test_of_two_widgets_the_newer_gets_the_keys(viewer, widget, qtbot):
    newer = PromptWidget(viewer, maker())
    qtbot.addWidget(newer)
    command = action_manager._actions["napari-synthseg:prompt_polarity"].command
    command(viewer)
    assert newer.outside.isChecked() and widget.inside.isChecked()
    newer.close()
    command(viewer)
    assert widget.outside.isChecked()


@pytest.mark.parametrize("action", [action.name for action in ACTIONS])
def test_every_key_does_something_sensible_with_nothing_open(viewer, widget, action):
    widget.act(action)
    settle(widget)
    assert len(viewer.layers) == 0


def test_the_plugins_menu_opens_it(window, monkeypatch):
    viewer = window(show=True)
    viewer.add_image(np.zeros((20, 24), np.uint8))
    _, widget = viewer.window.add_plugin_dock_widget("napari-synthseg", "Prompt")
    assert isinstance(widget, PromptWidget)
    QTest.mouseClick(widget.keys.button, Qt.MouseButton.LeftButton)
    QTest.qWait(100)
    widget.close_down()
    settle(widget)


def test_encodings_are_kept_on_disk_on_request(viewer, widget, make):
    viewer.add_image(blobs((20, 24)))
    widget.point.click()
    for keep in (False, True):
        widget.options.asking.controls["keep"].setChecked(keep)
        widget.prompting.click((6.0, 5.0), outside=False)
        settle(widget)
    assert make.log.made == [("mobilesam", "auto"), ("mobilesam", "auto", True)]
