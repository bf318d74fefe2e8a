"""The robust switch: enabled while there are robust weights, and clear about which of them it means."""

from __future__ import annotations

import pytest
from napari.components import ViewerModel
from qtpy.QtCore import Qt

from napari_synthseg.inference.options import SegmentOptions
from napari_synthseg.weights import catalogue
from napari_synthseg.widgets.segment.choices import SegmentChoices
from tests.keras_files import random_arrays, robust_shapes, write_keras
from tests.widgets._shared.test_model_chooser import put
from tests.widgets.builders import scan_layer

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
