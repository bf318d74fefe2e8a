"""The form of *Segment brain*: every option, several scans, series, and what is remembered."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from qtpy.QtCore import Qt

from napari_synthseg.inference.options import SegmentOptions
from napari_synthseg.widgets._shared import user
from napari_synthseg.widgets.segment import choices as segment_choices
from napari_synthseg.widgets.segment.choices import SegmentChoices
from tests.widgets.builders import scan_layer


@pytest.fixture
def open_choices(qtbot, viewer):
    def make() -> SegmentChoices:
        choices = SegmentChoices(viewer)
        qtbot.addWidget(choices)
        choices.show()
        return choices

    return make


def series(viewer, name="series", volumes=3):
    return viewer.add_image(np.zeros((volumes, 4, 5, 6)), name=name, units=("s", "mm", "mm", "mm"))


def test_every_option_is_in_the_form_and_its_defaults_are_the_pipelines(open_choices):
    choices = open_choices()
    assert {one.name for one in fields(SegmentOptions)} == set(choices.form.controls) | {"model", "weights"}
    assert SegmentOptions(**choices.options()) == SegmentOptions()


def test_every_control_has_a_tooltip(open_choices):
    choices = open_choices()
    assert all(control.toolTip() for control in choices.form.controls.values())


def test_what_is_clicked_and_typed_reaches_the_options(open_choices, qtbot):
    choices = open_choices()
    qtbot.keyClick(choices.form.advanced.button, Qt.Key.Key_Space)
    for name in ("ct", "posteriors", "flip"):
        choices.form.controls[name].setFocus()
        qtbot.keyClick(choices.form.controls[name], Qt.Key.Key_Space)
    qtbot.keyClick(choices.form.controls["grid"], Qt.Key.Key_Down)
    qtbot.keyClick(choices.form.controls["threads"], Qt.Key.Key_Up)
    qtbot.keyClick(choices.form.controls["block_mm"], Qt.Key.Key_Down)
    options = SegmentOptions(**choices.options())
    assert (options.ct, options.posteriors, options.flip) == (True, True, False)
    assert (options.grid, options.threads, options.block_mm) == ("1mm", 1, 120)


def test_several_selected_scans_are_taken_in_the_order_of_the_list(viewer, open_choices):
    choices = open_choices()
    a, b, c = (viewer.add_layer(scan_layer(name=name)) for name in "abc")
    viewer.layers.selection = {c, a}
    assert choices.layers() == [a, c]
    assert "2 selected scans" in choices.hint.text()
    viewer.layers.selection = {b}
    assert choices.layers() == [b]


def test_what_is_no_scan_is_left_out_of_several(viewer, open_choices):
    choices = open_choices()
    a, b = viewer.add_layer(scan_layer(name="a")), viewer.add_layer(scan_layer(name="b"))
    flat, labels = viewer.add_image(np.zeros((4, 5))), viewer.add_labels(np.zeros((4, 5, 6), int))
    viewer.layers.selection = {a, b, flat, labels}
    assert choices.layers() == [a, b]


def test_a_scan_picked_in_the_form_is_the_only_one(viewer, open_choices, qtbot):
    choices = open_choices()
    a, b = viewer.add_layer(scan_layer(name="a")), viewer.add_layer(scan_layer(name="b"))
    viewer.layers.selection = {a, b}
    choices.image.setFocus()
    qtbot.keyClick(choices.image, Qt.Key.Key_Down)
    assert choices.layers() == [choices.image.layer()]


def test_the_volume_of_a_series_is_the_one_shown_or_the_one_typed(viewer, open_choices, qtbot):
    choices = open_choices()
    index = choices.form.controls["index"]
    plain = viewer.add_layer(scan_layer())
    assert index.isHidden()
    assert choices.index_of(plain) is None
    layer = series(viewer)
    assert not index.isHidden()
    viewer.dims.set_current_step(0, 2)
    assert choices.index_of(layer) == 2
    qtbot.keyClick(index, Qt.Key.Key_Up)
    assert choices.index_of(layer) == 0
    for _ in range(9):
        qtbot.keyClick(index, Qt.Key.Key_Up)
    assert choices.index_of(layer) == 2


def test_choices_are_remembered_but_not_what_is_about_one_scan(open_choices, tmp_path, monkeypatch):
    monkeypatch.setattr(user, "_path", lambda: tmp_path / "choices.json")
    first = open_choices()
    first.form.set_values({"grid": "1mm", "device": "cpu", "ct": True, "fix_orientation": True, "block_mm": 96})
    first.replace.setChecked(False)
    first.form.advanced.set_unfolded(True)
    first.remember()
    again = open_choices()
    assert again.form.differences() == {"grid": "1mm", "device": "cpu", "block_mm": 96}
    assert not again.replace.isChecked()
    assert again.form.advanced.unfolded


def test_a_changed_preference_wins_over_what_is_remembered(open_choices, tmp_path, monkeypatch):
    monkeypatch.setattr(user, "_path", lambda: tmp_path / "choices.json")
    first = open_choices()
    first.form.set_values({"device": "cpu", "threads": 3})
    first.remember()
    monkeypatch.setattr(segment_choices, "preference", lambda name, default: 2 if name == "threads" else "auto")
    assert open_choices().form.differences() == {"device": "cpu", "threads": 2}


def test_a_broken_memory_is_ignored(open_choices, tmp_path, monkeypatch):
    monkeypatch.setattr(user, "_path", lambda: tmp_path / "choices.json")
    user.remember("segment", {"grid": 7, "block_mm": "wide", "model": ["x"], "weights": "/nowhere.h5", "threads": {}})
    assert SegmentOptions(**open_choices().options()) == SegmentOptions()
