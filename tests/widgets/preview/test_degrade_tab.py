"""The Degrade tab: a real scan, before and after."""

from __future__ import annotations

import shlex

import numpy as np
import pytest
from qtpy.QtWidgets import QApplication, QFileDialog

from napari_synthseg.io import read_volume
from tests.widgets.builders import click, scan_layer
from tests.widgets.preview.conftest import settle


@pytest.fixture
def degrade(qtbot, viewer, open_widget):
    """The second tab after the first draw on an oblique scan."""
    viewer.add_layer(scan_layer("oblique"))
    widget = open_widget()
    widget.tabs.setCurrentIndex(1)
    tab = widget.degrade
    click(qtbot, tab.draw)
    settle(qtbot, tab)
    return tab


def test_without_a_scan_it_says_what_to_do(open_widget):
    widget = open_widget()
    widget.tabs.setCurrentIndex(1)
    tab = widget.degrade
    assert "Open a scan" in tab.status.text()
    assert not tab.draw.isEnabled()


def test_draw_puts_a_degraded_scan_onto_the_scan(degrade, viewer):
    scan, worse = viewer.layers["scan"], viewer.layers["Degraded scan"]
    assert worse.data.shape == scan.data.shape
    np.testing.assert_allclose(worse.scale, scan.scale)
    np.testing.assert_allclose(worse.translate, scan.translate)
    assert not np.array_equal(worse.data, scan.data)


def test_labels_move_along(degrade, viewer, qtbot):
    layer = viewer.layers["scan"]
    values = np.zeros(layer.data.shape, int)
    values[1:-1, 1:-1, 1:-1] = 17
    labels = viewer.add_labels(values, name="truth", scale=layer.scale, translate=layer.translate,
                               units=layer.units, metadata=layer.metadata)  # fmt: skip
    degrade.labels.choose(labels)
    settle(qtbot, degrade)
    assert set(np.unique(viewer.layers["Degraded labels"].data)) <= {0, 17}


def test_the_scan_deleted_while_it_draws(degrade, viewer, qtbot):
    degrade.form.rows["noise_std"].control.high.setValue(80)
    viewer.layers.remove("scan")
    settle(qtbot, degrade)
    assert not degrade.draw.isEnabled()
    assert "Open a scan" in degrade.status.text()


def test_the_command_line_is_copied(degrade):
    degrade.form.rows["noise_std"].control.high.setValue(80)
    degrade.copy_recipe(python=False)
    words = shlex.split(QApplication.clipboard().text())
    assert words[:3] == ["napari-synthseg", "degrade", "scan.nii.gz"]
    assert "noise_std=0,80" in words


def test_samples_are_degraded_versions_of_the_scan(degrade, qtbot):
    degrade.seed.setValue(3)
    settle(qtbot, degrade)
    degrade.sheet.set_unfolded(True)
    degrade.samples.count.setValue(2)
    click(qtbot, degrade.samples.draw)
    table = degrade.samples.table
    qtbot.waitUntil(lambda: table.model().rowCount() == 2 and not degrade._sampling.running)
    assert [table.model().index(row, 0).data() for row in range(2)] == ["3", "4"]
    one, other = (degrade.samples._samples[seed] for seed in (3, 4))
    assert one.picture.dtype == np.uint8 and one.summary != other.summary


def test_it_is_saved(degrade, qtbot, tmp_path, monkeypatch):
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *args: str(tmp_path))
    click(qtbot, degrade.save)
    qtbot.waitUntil(lambda: "Saved" in degrade.status.text())
    stem = f"scan_{degrade.seed.value():04d}"
    saved = read_volume(tmp_path / f"{stem}_image.nii.gz")
    assert saved.shape == tuple(reversed(degrade.pair.image.data.shape))
    assert (tmp_path / f"{stem}_record.json").is_file()
