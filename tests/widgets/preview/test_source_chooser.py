"""Where a preview starts from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from napari.layers import Image, Labels
from napari.layers._source import Source
from qtpy.QtWidgets import QFileDialog

from napari_synthseg.widgets.preview.controls import BUNDLED, OPEN_FILE, OPEN_FOLDER, SourceChooser
from napari_synthseg.widgets.preview.layers import MARK
from tests.widgets.preview.conftest import blocks, blocks_layer


@pytest.fixture
def chooser(qtbot, viewer):
    made = SourceChooser(viewer, Labels, "A label map.", fixed=[BUNDLED], openers=[OPEN_FILE, OPEN_FOLDER])
    qtbot.addWidget(made)
    return made


def texts(chooser) -> list[str]:
    return [chooser.itemText(row) for row in range(chooser.count())]


def pick(chooser, text: str) -> None:
    chooser.setCurrentIndex(chooser.findText(text))


def test_the_bundled_map_is_the_first_choice(chooser):
    assert chooser.source().key == "bundled"
    assert texts(chooser) == ["Bundled label map", "File…", "Folder…"]


def test_labels_layers_are_offered_and_the_previews_own_are_not(chooser, viewer):
    viewer.add_layer(blocks_layer())
    viewer.add_layer(Labels(np.zeros((3, 3, 3), int), name="ours", metadata={MARK: "x"}))
    viewer.add_layer(Image(np.zeros((3, 3, 3)), name="image"))
    assert texts(chooser) == ["Bundled label map", "blocks", "File…", "Folder…"]
    assert chooser.chosen() == "bundled"


def test_a_layer_is_read_where_it_lies(chooser, viewer):
    viewer.add_layer(blocks_layer())
    pick(chooser, "blocks")
    volume = chooser.source().scan.read()
    np.testing.assert_array_equal(volume.data, blocks().data)
    np.testing.assert_allclose(volume.affine, blocks().affine)


def test_painting_on_the_chosen_layer_is_another_source(chooser, viewer, qtbot):
    layer = viewer.add_layer(blocks_layer())
    layer._source = Source(path="map.nii.gz")
    pick(chooser, "blocks")
    before = chooser.source().key
    assert chooser.source().path == Path("map.nii.gz")
    with qtbot.waitSignal(chooser.changed):
        layer.paint((5, 5, 5), 17)
    assert chooser.source().key != before
    assert chooser.source().path is None


def test_a_deleted_layer_is_no_choice_any_more(chooser, viewer, qtbot):
    layer = viewer.add_layer(blocks_layer())
    pick(chooser, "blocks")
    with qtbot.waitSignal(chooser.replaced), qtbot.assertNotEmitted(chooser.changed):
        viewer.layers.remove(layer)
    assert chooser.source().key == "bundled"


def test_a_file_is_chosen(chooser, monkeypatch, tmp_path):
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(tmp_path / "map.nii.gz"), ""))
    pick(chooser, "File…")
    assert chooser.currentText() == "map.nii.gz"
    assert chooser.source().path == tmp_path / "map.nii.gz"


def test_a_folder_is_chosen(chooser, monkeypatch, tmp_path):
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(tmp_path))
    pick(chooser, "Folder…")
    assert chooser.source().path == tmp_path


def test_another_volume_of_a_series_is_another_source(qtbot, viewer):
    made = SourceChooser(viewer, Image, "A scan.")
    qtbot.addWidget(made)
    layer = viewer.add_image(np.stack([np.full((4, 4, 4), number) for number in range(3)]), name="series")
    layer._source = Source(path="series.nii.gz")
    made.choose(layer)
    seen = {}
    for number in range(3):
        viewer.dims.set_current_step(0, number)
        source = made.source()
        seen[source.key] = int(source.scan.read().data.max())
        assert source.path is None  # the command line reads no series
    assert sorted(seen.values()) == [0, 1, 2]
