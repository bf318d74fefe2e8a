"""The form of *Segment brain*: every option, several scans, series, what is remembered, the robust switch."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtCore import Qt

from napari_synthseg.inference.options import SegmentOptions
from napari_synthseg.weights import catalogue
from napari_synthseg.widgets._shared import user
from napari_synthseg.widgets.segment import choices as segment_choices
from napari_synthseg.widgets.segment.choices import SegmentChoices
from tests.keras_files import random_arrays, robust_shapes, write_keras
from tests.widgets._shared.test_choosers import put
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
    monkeypatch.setattr(segment_choices, "preference", lambda name, default: 2 if name == "threads" else default)
    first.remember()
    again = open_choices()
    assert again.form.differences() == {"grid": "1mm", "threads": 2, "block_mm": 96}


def test_a_broken_memory_is_ignored(open_choices, tmp_path, monkeypatch):
    monkeypatch.setattr(user, "_path", lambda: tmp_path / "choices.json")
    user.remember("segment", {"grid": 7, "block_mm": "wide", "model": ["x"], "weights": "/nowhere.h5", "threads": {}})
    assert SegmentOptions(**open_choices().options()) == SegmentOptions()


OURS, THEIRS = catalogue.ROBUST


@pytest.fixture
def known(tmp_path, monkeypatch):
    put(tmp_path / "known", catalogue.DEFAULT, network="locate-refine")
    monkeypatch.setattr(catalogue, "folders", lambda: [tmp_path / "known"])
    return tmp_path / "known"


@pytest.fixture
def choices(qtbot, known) -> SegmentChoices:
    viewer = ViewerModel()
    viewer.add_layer(scan_layer())
    made = SegmentChoices(viewer)
    qtbot.addWidget(made)
    made.show()
    return made


def put_theirs(known) -> None:
    write_keras(known / f"{THEIRS}.h5", random_arrays(robust_shapes()))


def switch(choices, qtbot) -> None:
    choices.form.controls["robust"].setFocus()
    qtbot.keyClick(choices.form.controls["robust"], Qt.Key.Key_Space)


def chosen(choices) -> tuple[str, bool]:
    options = SegmentOptions(**choices.options())
    return options.model, options.robust


def test_it_is_disabled_while_there_are_no_robust_weights(choices, known, qtbot):
    control = choices.form.controls["robust"]
    assert not control.isEnabled() and THEIRS in control.toolTip()
    choices.form.set_values({"robust": True, "tissues": True})  # remembered from when there were some
    options = SegmentOptions(**choices.options())
    assert (options.robust, options.tissues) == (False, False)
    put(known, OURS, network="robust")
    choices.model.refresh()
    assert control.isEnabled() and THEIRS not in control.toolTip()


def test_our_own_network_goes_before_the_official_one_and_both_are_named(choices, known, qtbot):
    put_theirs(known)
    choices.model.refresh()
    switch(choices, qtbot)
    assert chosen(choices) == (THEIRS, True)
    assert choices.hint.text() == f"Robust: {THEIRS} segments, not {catalogue.DEFAULT}."
    put(known, OURS, network="robust")
    choices.model.refresh()
    assert chosen(choices) == (OURS, True) == (catalogue.find_robust().stem, True)
    assert f"{THEIRS} can be chosen as the model instead" in choices.hint.text()
    choices.model.set_values({"model": THEIRS})
    assert chosen(choices) == (THEIRS, True) and choices.hint.text() == ""


def test_a_robust_file_that_is_opened_is_what_the_switch_means(choices, tmp_path, qtbot):
    put(tmp_path / "mine", "clinic", network="robust")
    choices.model.open(tmp_path / "mine" / "clinic.safetensors")
    choices.model.set_values({"model": catalogue.DEFAULT})
    switch(choices, qtbot)
    options = SegmentOptions(**choices.options())
    assert options.weights == tmp_path / "mine" / "clinic.safetensors" and options.robust


def test_tissue_maps_are_to_be_had_of_robust_networks_only(choices, known, qtbot):
    put(known, OURS, network="robust")
    choices.model.refresh()
    tissues = choices.form.controls["tissues"]
    assert not tissues.isEnabled()
    choices.form.set_values({"tissues": True})
    assert not SegmentOptions(**choices.options()).tissues
    switch(choices, qtbot)
    assert tissues.isEnabled() and SegmentOptions(**choices.options()).tissues
    switch(choices, qtbot)
    choices.model.set_values({"model": OURS})
    assert tissues.isEnabled() and SegmentOptions(**choices.options()).tissues
