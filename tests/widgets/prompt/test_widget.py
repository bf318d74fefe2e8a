"""The widget's own parts: models to choose, keys that can be changed, choices that are remembered, the manifest."""

from __future__ import annotations

import pytest
from napari.components import ViewerModel
from napari.utils.action_manager import action_manager

from napari_synthseg.widgets._shared import user
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
    first.close()
    second = PromptWidget(viewer, maker())
    qtbot.addWidget(second)
    assert second.options.asking.controls["window"].currentIndex() == 1 and second.prompting.window == "layer"
    assert second.objects.keep_others
    assert second.options.follow.values()["most_slices"] == 7
    second.close()


def test_tooltips_tell_the_keys_which_can_be_changed(viewer, widget, qtbot):
    action = next(action for action in ACTIONS if action.name == "accept")
    before = action_manager.unbind_shortcut(action.id)  # none if an earlier test had the settings reset
    try:
        for key, other in (("A", "N"), ("N", "A")):
            action_manager.unbind_shortcut(action.id)
            action_manager.bind_shortcut(action.id, key)
            newer = PromptWidget(viewer, maker())
            qtbot.addWidget(newer)
            assert newer.accept.toolTip().endswith(f"Key: {key}.")
            bound = {str(key) for key in ViewerModel.class_keymap}
            assert key in bound and other not in bound
            newer.close()
    finally:
        action_manager.unbind_shortcut(action.id)
        for key in before or ():
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


def test_encodings_are_kept_on_disk_on_request(viewer, widget, make):
    viewer.add_image(blobs((20, 24)))
    widget.point.click()
    for keep in (False, True):
        widget.options.asking.controls["keep"].setChecked(keep)
        widget.prompting.click((6.0, 5.0), outside=False)
        settle(widget)
    assert make.log.made == [("mobilesam", "auto"), ("mobilesam", "auto", True)]
