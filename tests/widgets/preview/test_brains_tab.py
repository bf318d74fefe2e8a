"""The Brains tab: drawing, one prior at a time, steps, samples, copying, saving."""

from __future__ import annotations

import json
import shlex

import numpy as np
import pytest
from napari.layers import Labels
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QFileDialog

from napari_synthseg.cli import main
from napari_synthseg.generator.presets import preset, write_priors
from napari_synthseg.io import read_volume, write_labels
from tests.widgets.builders import click
from tests.widgets.preview.conftest import blocks, blocks_layer, record, settle


def change(qtbot, tab, name: str, *, high: float) -> None:
    tab.form.rows[name].control.high.setValue(high)
    settle(qtbot, tab)


def test_nothing_is_added_before_it_is_asked_for(viewer, open_widget, qtbot):
    tab = open_widget().brains
    tab.form.rows["bias_std"].control.high.setValue(1)
    qtbot.wait(300)
    assert len(viewer.layers) == 0


def test_draw_shows_a_scan_and_its_labels_where_the_map_lies(brains, viewer):
    assert [layer.name for layer in viewer.layers] == ["blocks", "Synthetic scan", "Synthetic labels"]
    source, scan = viewer.layers["blocks"], viewer.layers["Synthetic scan"]
    np.testing.assert_array_equal(scan.scale, source.scale)
    np.testing.assert_array_equal(scan.translate, source.translate)
    assert scan.data.shape == source.data.shape
    assert set(np.unique(viewer.layers["Synthetic labels"].data)) <= {0, 2, 3, 17, 41, 42, 53}


@pytest.mark.parametrize(("prior", "high", "fields"), [
    ("bias_std", 1.5, {"bias_std"}),
    ("velocity_std", 8, {"velocity_std"}),
    ("rotation_deg", 40, {"rotation_deg"}),
    ("mean", 250, {"means"}),
])  # fmt: skip
def test_a_changed_prior_changes_only_itself(brains, qtbot, prior, high, fields):
    before = record(brains)
    change(qtbot, brains, prior, high=high)
    after = record(brains)
    assert {name for name in after if after[name] != before[name]} == fields


def test_layers_and_camera_stay_when_something_changes(brains, viewer, qtbot):
    layers = list(viewer.layers)
    viewer.scene.camera.zoom, viewer.scene.camera.center = 7.0, (0.0, 3.0, 4.0)
    viewer.dims.set_point(0, 5.0)
    change(qtbot, brains, "bias_std", high=1.0)
    assert list(viewer.layers) == layers
    assert viewer.scene.camera.zoom == 7.0
    assert tuple(viewer.scene.camera.center) == (0.0, 3.0, 4.0)
    assert viewer.dims.point[0] == 5.0


def test_the_first_draw_is_looked_at_though_a_scan_lies_elsewhere(viewer, open_widget, qtbot):
    scan = viewer.add_image(np.full((20, 20, 20), 9.0), name="scan", translate=(300, -200, 150), units=("mm",) * 3)
    blocks = blocks_layer()
    viewer.add_layer(blocks)
    blocks.visible = False
    scan_middle = np.array([310.0, -190.0, 160.0])
    viewer.dims.set_point(range(3), scan_middle)
    tab = open_widget().brains
    tab.source.choose(blocks)
    click(qtbot, tab.draw)
    settle(qtbot, tab)
    low, high = tab.pair.image.extent.world
    np.testing.assert_allclose(viewer.dims.point, (low + high) / 2, atol=1.01)
    shown = list(viewer.dims.displayed)
    np.testing.assert_allclose(viewer.scene.camera.center[-2:], ((low + high) / 2)[shown], atol=1.01)
    filled = (high - low)[shown] * viewer.scene.camera.zoom / viewer.canvas.viewbox_size(viewer.layers)
    assert 0.8 < max(filled) <= 1
    assert tab.pair.image.visible and not scan.visible
    scan.visible = True  # by the user, who goes back to it
    viewer.dims.set_point(range(3), scan_middle)
    before, zoom = viewer.dims.point, viewer.scene.camera.zoom
    click(qtbot, tab.draw)
    settle(qtbot, tab)
    assert viewer.dims.point == before and viewer.scene.camera.zoom == zoom and scan.visible


def test_the_view_stays_where_the_map_is_seen_already(viewer, open_widget, qtbot):
    blocks = viewer.add_layer(blocks_layer())
    viewer.dims.set_point(range(3), (2.0, 3.0, -4.0))
    viewer.scene.camera.zoom = 50.0
    before = viewer.dims.point
    tab = open_widget().brains
    tab.source.choose(blocks)
    click(qtbot, tab.draw)
    settle(qtbot, tab)
    assert viewer.dims.point == before and viewer.scene.camera.zoom == 50.0 and blocks.visible


def test_a_quick_look_comes_first(brains, qtbot):
    sizes = []
    brains.redrawer.pictured.connect(lambda picture: sizes.append(picture.spacing[0]))
    change(qtbot, brains, "bias_std", high=1.0)
    assert sizes == [2.0, 1.0]


def test_without_full_size_the_quick_look_is_all(brains, qtbot):
    brains.full.setChecked(False)
    change(qtbot, brains, "bias_std", high=1.0)
    np.testing.assert_array_equal(brains.pair.image.scale, (2, 2, 2))
    assert brains.status.text().startswith("Quick look: 2 × 2 × 2 mm")


def test_label_steps_show_labels_alone_and_the_last_one_both(brains, viewer, qtbot):
    scan, labels = viewer.layers["Synthetic scan"], viewer.layers["Synthetic labels"]
    brains.step.setCurrentIndex(0)
    settle(qtbot, brains)
    assert (scan.visible, labels.visible) == (False, True)
    np.testing.assert_array_equal(labels.data, viewer.layers["blocks"].data)
    brains.step.setCurrentIndex(5)
    settle(qtbot, brains)
    assert (scan.visible, labels.visible) == (True, False)
    brains.target.click()
    assert (scan.visible, labels.visible) == (True, True)


def test_a_deleted_layer_comes_back_only_when_asked(brains, viewer, qtbot):
    brains.form.rows["bias_std"].control.high.setValue(1.0)
    viewer.layers.remove("Synthetic scan")
    qtbot.wait(500)
    assert "Synthetic scan" not in viewer.layers
    click(qtbot, brains.draw)
    settle(qtbot, brains)
    assert "Synthetic scan" in viewer.layers


def test_a_map_that_cannot_be_used_is_one_sentence(viewer, open_widget, qtbot):
    viewer.add_layer(Labels(np.zeros((5, 5, 5), int), name="empty"))
    tab = open_widget().brains
    tab.source.choose(viewer.layers["empty"])
    click(qtbot, tab.draw)
    qtbot.waitUntil(lambda: "empty" in tab.status.text())
    assert not tab.redrawer.running


def test_class_priors_are_read_for_one_contrast(brains, qtbot, tmp_path, monkeypatch):
    priors = preset("synthseg-rc").with_values(class_means=((77.0, 0.0), None) * 24, class_stds=((3.0, 0.0), None) * 24)
    write_priors(tmp_path / "t1.json", "synthseg-rc", priors)
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *args: (str(tmp_path / "t1.json"), ""))
    assert brains.class_file.isHidden()
    brains.preset.setCurrentText("synthseg-rc")
    click(qtbot, brains.class_file)
    settle(qtbot, brains)
    assert {77.0} < set(record(brains)["means"])
    assert brains.class_file.text() == "t1.json"


def test_samples_are_shown_and_a_click_makes_one_current(brains, qtbot):
    brains.seed.setValue(40)
    brains.sheet.set_unfolded(True)
    brains.samples.count.setValue(3)
    settle(qtbot, brains)
    click(qtbot, brains.samples.draw)
    qtbot.waitUntil(lambda: brains.samples.table.model().rowCount() == 3)
    table = brains.samples.table
    assert [table.model().index(row, 0).data() for row in range(3)] == ["40", "41", "42"]
    cell = table.visualRect(table.model().index(2, 0)).center()
    qtbot.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=cell)
    settle(qtbot, brains)
    assert brains.seed.value() == record(brains)["seed"] == 42
    assert brains.samples.sheet.currentRow() == 2
    qtbot.keyClick(table, Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier)
    head, row = (line.split("\t") for line in QApplication.clipboard().text().splitlines())
    assert dict(zip(head, row, strict=True))["Seed"] == "42"
    qtbot.keyClick(table, Qt.Key.Key_Up)
    settle(qtbot, brains)
    assert record(brains)["seed"] == 41
    brains.form.rows["bias_std"].control.high.setValue(0.9)
    assert brains.samples.table.model().rowCount() == 0  # they are of other priors


def test_saved_files_are_those_of_the_copied_command(brains, qtbot, tmp_path, monkeypatch):
    write_labels(tmp_path / "map.nii.gz", blocks())
    brains.source.choose(tmp_path / "map.nii.gz")
    brains.form.rows["bias_std"].control.high.setValue(1.25)
    settle(qtbot, brains)
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *args: str(tmp_path / "saved"))
    click(qtbot, brains.save)
    qtbot.waitUntil(lambda: "Saved" in brains.status.text())
    brains.copy_recipe(python=False)
    words = shlex.split(QApplication.clipboard().text())
    words[words.index("-o") + 1] = str(tmp_path / "command")
    assert main(words[1:]) == 0
    names = sorted(path.name for path in (tmp_path / "command").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "saved").iterdir())
    for name in (name for name in names if name.endswith(".nii.gz")):
        one, other = (read_volume(tmp_path / folder / name) for folder in ("command", "saved"))
        np.testing.assert_array_equal(one.data, other.data)
    one, other = (json.loads(next((tmp_path / f).glob("*.json")).read_text())["steps"] for f in ("command", "saved"))
    assert one["bias"] == other["bias"] and one["bias"]["bias_std"] == record(brains)["bias_std"]
    brains.form.rows["bias_std"].control.high.setValue(0.75)
    settle(qtbot, brains)
    click(qtbot, brains.save)
    qtbot.waitUntil(lambda: "Saved" in brains.status.text())
    assert len(list((tmp_path / "saved").iterdir())) == 2 * len(names)  # the first one was not replaced


def test_python_is_copied(brains):
    brains.copy_recipe(python=True)
    assert "run(synthesize_files(Path('blocks.nii.gz'), Path('synthetic'), options))" in QApplication.clipboard().text()
