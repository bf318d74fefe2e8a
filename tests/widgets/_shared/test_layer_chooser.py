"""The layer chooser follows the layer list and keeps its choice."""

from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image

from napari_synthseg.widgets._shared.choices import Choice
from napari_synthseg.widgets._shared.choosers import LayerChooser


@pytest.fixture
def chooser(qtbot, viewer):
    chooser = LayerChooser(viewer, Image)
    qtbot.addWidget(chooser)
    return chooser


def add(viewer: ViewerModel, name: str) -> Image:
    return viewer.add_image(np.zeros((3, 3, 3)), name=name)


def texts(chooser: LayerChooser) -> list[str]:
    return [chooser.itemText(row) for row in range(chooser.count())]


def test_nothing_to_choose(chooser):
    assert chooser.layer() is None
    assert texts(chooser) == []


def test_a_new_image_is_chosen_and_other_layers_are_not_listed(viewer, chooser):
    add(viewer, "a")
    b = add(viewer, "b")
    viewer.add_labels(np.zeros((3, 3, 3), int))
    assert texts(chooser) == ["b", "a"]
    assert chooser.layer() is b


def test_the_choice_stays_when_other_layers_come_go_and_change_places(viewer, chooser):
    a, b, c = add(viewer, "a"), add(viewer, "b"), add(viewer, "c")
    chooser.set_layer(a)
    viewer.layers.selection.clear()
    viewer.layers.remove(b)
    viewer.layers.move(0, 2)
    assert chooser.layer() is a
    viewer.layers.remove(a)
    assert chooser.layer() is c


def test_the_selected_layer_becomes_the_choice(viewer, chooser):
    a, _ = add(viewer, "a"), add(viewer, "b")
    viewer.layers.selection.active = a
    assert chooser.layer() is a


def test_a_chooser_that_does_not_follow_keeps_its_choice(viewer, qtbot):
    a, b = add(viewer, "a"), add(viewer, "b")
    chooser = LayerChooser(viewer, Image, fixed=[Choice(None, "New")], follows=lambda layer: layer is a)
    qtbot.addWidget(chooser)
    assert chooser.layer() is None  # though b is selected
    viewer.layers.selection.active = a
    assert chooser.layer() is a
    viewer.layers.selection.active = b
    assert chooser.layer() is a


def test_renamed_layers_are_listed_by_their_new_names(viewer, chooser, qtbot):
    a = add(viewer, "a")
    with qtbot.waitSignal(chooser.changed):
        a.name = "T1"
    assert texts(chooser) == ["T1"]
    assert chooser.layer() is a
