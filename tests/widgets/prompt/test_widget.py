"""The widget's own parts: models to choose, keys, choices that are remembered, the manifest."""

from __future__ import annotations

import pytest

from napari_synthseg.widgets._shared import user
from napari_synthseg.widgets.prompt import PromptWidget
from napari_synthseg.widgets.prompt.pointing import KEYS
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


def test_tooltips_tell_the_keys_which_go_with_the_widget(viewer, widget):
    assert widget.accept.toolTip().endswith("Key: A.")
    assert {str(key) for key in viewer.keymap} >= {"A", "Q", "Ctrl+Z"}
    widget.close_down()
    assert not {str(key) for key in viewer.keymap} & {"A", "Q", "Ctrl+Z"}


@pytest.mark.parametrize("action", list(KEYS))
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
