"""The choosers of models and layers: cards, files, and a choice that stays."""

from __future__ import annotations

import json

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog, QWidget

from napari_synthseg.weights import catalogue
from napari_synthseg.widgets._shared import choices
from napari_synthseg.widgets._shared.choices import Choice
from napari_synthseg.widgets._shared.choosers import OPEN, LayerChooser, ModelCard, ModelChooser
from napari_synthseg.widgets._shared.controls import form_layout
from tests.keras_files import random_arrays, regressor_shapes, unet_shapes, write_keras

CARD = {
    "name": catalogue.DEFAULT,
    "network": "unet",
    "labels": [0, 2, 41],
    "description": "A whole brain.",
    "data": "20 label maps",
    "licence": "Apache-2.0",
    "scores": {"dice": 0.7525, "sd95_mm": 3.4157, "scans": 5, "missing": 0},
    "sha256": "0123456789abcdef" * 4,
}


def put(folder, name: str, **card) -> None:
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.safetensors").touch()
    (folder / f"{name}.json").write_text(json.dumps(CARD | {"name": name} | card))


@pytest.fixture
def chooser(qtbot, tmp_path, monkeypatch) -> ModelChooser:
    put(tmp_path / "known", catalogue.DEFAULT)
    put(tmp_path / "known", "another", description="Another brain.")
    put(tmp_path / "elsewhere", "mine", description="My brain.")
    (tmp_path / "elsewhere" / "lonely.safetensors").touch()
    arrays = random_arrays(unet_shapes("unet", 1, 33))
    write_keras(tmp_path / "elsewhere" / "synthseg_2.0.h5", arrays)
    monkeypatch.setattr(catalogue, "folders", lambda: [tmp_path / "known"])
    chooser = ModelChooser()
    qtbot.addWidget(chooser)
    qtbot.addWidget(chooser.card)
    chooser.show()
    return chooser


def open_file(chooser, monkeypatch, path) -> None:
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_, **__: (str(path), ""))
    chooser.box.setCurrentIndex(chooser.box.findText(OPEN))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("page.h5", "page.h5 is a web page"),
        ("lonely.safetensors", "needs its card lonely.json"),
        ("qc.h5", "qc.h5 (SynthSeg's quality regressor) segments no scan by itself"),
        ("", ""),  # the dialog was left
    ],
)
def test_a_file_that_cannot_be_used_is_refused_in_one_sentence(chooser, monkeypatch, tmp_path, name, words):
    (tmp_path / "elsewhere" / "page.h5").write_text("<html>not found</html>")
    write_keras(tmp_path / "elsewhere" / "qc.h5", random_arrays(regressor_shapes()))
    open_file(chooser, monkeypatch, tmp_path / "elsewhere" / name if name else "")
    assert words in chooser.problem.text() and bool(chooser.problem.text()) == bool(words)
    assert chooser.values() == {"model": catalogue.DEFAULT, "weights": None}
    assert chooser.box.currentText() == catalogue.DEFAULT


def test_a_long_card_is_not_cut_off_in_a_form(qtbot):
    holder, card = QWidget(), ModelCard()
    qtbot.addWidget(holder)
    form_layout(holder).addRow(card)
    card.show_card(CARD | {"description": "Many words on what it is. " * 20})
    card.show()
    holder.show()
    for width in (270, 400, 250):
        holder.resize(width, 900)
        qtbot.waitUntil(lambda: card.text.height() >= card.text.heightForWidth(card.text.width()))
    assert card.text.height() < 1.2 * card.text.heightForWidth(card.text.width())


def test_another_is_chosen_with_the_keyboard(chooser, qtbot):
    with qtbot.waitSignal(chooser.changed):
        qtbot.keyClick(chooser.box, Qt.Key.Key_Down)
    assert chooser.values() == {"model": "another", "weights": None}
    assert "Another brain." in chooser.card.text.text()


def test_the_card_opens_and_says_what_the_model_is(chooser, qtbot):
    qtbot.mouseClick(chooser.about, Qt.MouseButton.LeftButton)
    assert not chooser.card.isHidden()
    text = chooser.card.text.text()
    for part in ("A whole brain.", "20 label maps", "Dice 0.752, SD95 3.416 mm (5 scans)", "Apache-2.0", "01234567"):
        assert part in text
    assert f"SHA-256: {CARD['sha256']}" in chooser.card.text.toolTip()


@pytest.mark.parametrize("name", ["mine.safetensors", "synthseg_2.0.h5"])
def test_a_weights_file_is_opened_and_stays_listed(chooser, monkeypatch, tmp_path, name):
    path = tmp_path / "elsewhere" / name
    open_file(chooser, monkeypatch, path)
    assert chooser.values()["weights"] == path
    chooser.refresh()
    assert chooser.values()["weights"] == path
    assert chooser.box.currentText() == path.stem


def test_choices_are_taken_up_again(chooser, tmp_path):
    chooser.set_values({"model": "another"})
    assert chooser.values()["model"] == "another"
    chooser.set_values({"model": "no longer there"})
    assert chooser.values()["model"] == "another"
    chooser.set_values({"weights": str(tmp_path / "gone.safetensors")})
    assert chooser.values() == {"model": "another", "weights": None}
    assert chooser.problem.isHidden()


def test_new_weights_are_listed_and_the_choice_stays(chooser, tmp_path):
    chooser.set_values({"model": "another"})
    put(tmp_path / "known", "a new one")
    chooser.refresh()
    assert "a new one" in [chooser.box.itemText(row) for row in range(chooser.box.count())]
    assert chooser.values()["model"] == "another"


def test_the_folder_of_the_preferences_is_searched(tmp_path, monkeypatch):
    put(tmp_path / "own", "from my folder")
    monkeypatch.setattr(choices, "preference", lambda name, default, **_: tmp_path / "own" if name == "weights" else "")
    try:
        assert "from my folder" in [card["name"] for card in choices.model_cards()]
        assert catalogue.find("from my folder").parent == tmp_path / "own"
        put(tmp_path / "first", "from my folder")
        monkeypatch.setenv("NAPARI_SYNTHSEG_WEIGHTS", str(tmp_path / "first"))
        assert catalogue.find("from my folder").parent == tmp_path / "first"
    finally:
        catalogue.use_folder(None)


def test_without_weights_the_default_is_offered_and_said_to_be_missing(qtbot, monkeypatch):
    monkeypatch.setattr(catalogue, "folders", lambda: [])
    chooser = ModelChooser()
    qtbot.addWidget(chooser)
    assert chooser.values() == {"model": catalogue.DEFAULT, "weights": None}
    assert "not found" in chooser.box.currentText()


@pytest.fixture
def layer_chooser(qtbot, viewer):
    layer_chooser = LayerChooser(viewer, Image)
    qtbot.addWidget(layer_chooser)
    return layer_chooser


def add(viewer: ViewerModel, name: str) -> Image:
    return viewer.add_image(np.zeros((3, 3, 3)), name=name)


def texts(layer_chooser: LayerChooser) -> list[str]:
    return [layer_chooser.itemText(row) for row in range(layer_chooser.count())]


def test_a_new_image_is_chosen_and_other_layers_are_not_listed(viewer, layer_chooser):
    add(viewer, "a")
    b = add(viewer, "b")
    viewer.add_labels(np.zeros((3, 3, 3), int))
    assert texts(layer_chooser) == ["b", "a"]
    assert layer_chooser.layer() is b


def test_the_choice_stays_when_other_layers_come_go_and_change_places(viewer, layer_chooser):
    a, b, c = add(viewer, "a"), add(viewer, "b"), add(viewer, "c")
    layer_chooser.set_layer(a)
    viewer.layers.selection.clear()
    viewer.layers.remove(b)
    viewer.layers.move(0, 2)
    assert layer_chooser.layer() is a
    viewer.layers.remove(a)
    assert layer_chooser.layer() is c


def test_the_selected_layer_becomes_the_choice(viewer, layer_chooser):
    a, _ = add(viewer, "a"), add(viewer, "b")
    viewer.layers.selection.active = a
    assert layer_chooser.layer() is a


def test_a_chooser_that_does_not_follow_keeps_its_choice(viewer, qtbot):
    a, b = add(viewer, "a"), add(viewer, "b")
    layer_chooser = LayerChooser(viewer, Image, fixed=[Choice(None, "New")], follows=lambda layer: layer is a)
    qtbot.addWidget(layer_chooser)
    assert layer_chooser.layer() is None  # though b is selected
    viewer.layers.selection.active = a
    assert layer_chooser.layer() is a
    viewer.layers.selection.active = b
    assert layer_chooser.layer() is a


def test_renamed_layers_are_listed_by_their_new_names(viewer, layer_chooser, qtbot):
    a = add(viewer, "a")
    with qtbot.waitSignal(layer_chooser.changed):
        a.name = "T1"
    assert texts(layer_chooser) == ["T1"]
    assert layer_chooser.layer() is a
