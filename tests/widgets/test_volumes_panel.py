"""The volumes of a layer in a table and in a CSV file."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from napari.layers import Labels
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QFileDialog

from napari_synthseg import anatomy
from napari_synthseg.widgets.geometry import METADATA_KEY
from napari_synthseg.widgets.labels_layer import labels_kwargs
from napari_synthseg.widgets.volumes_panel import VolumesPanel


@pytest.fixture
def panel(qtbot):
    panel = VolumesPanel()
    qtbot.addWidget(panel)
    return panel


def result(name: str = "result", **kept) -> Labels:
    volumes = {17: 3912.3, 53: 4050.0, 16: 21_000.0}
    kept = {"intracranial_mm3": 1_432_100.0, "warnings": ("Too small.",)} | kept
    kwargs = labels_kwargs(volumes, volumes)
    return Labels(np.zeros((3, 3, 3), np.uint16), name=name, metadata={METADATA_KEY: kept}, **kwargs)


def column(panel: VolumesPanel, number: int) -> list[str]:
    model = panel.table.model()
    return [model.index(row, number).data() for row in range(model.rowCount())]


def test_it_is_hidden_until_there_is_something_to_show(panel):
    assert panel.isHidden()
    panel.show_layer(Labels(np.zeros((3, 3, 3), np.uint16)))
    assert panel.isHidden()


def test_the_table_has_colour_name_side_and_volume(panel):
    panel.show_layer(result())
    assert column(panel, 1) == ["Brain-Stem", "Hippocampus", "Hippocampus"]
    assert column(panel, 2) == ["mid", "left", "right"]
    assert column(panel, 3) == ["21.00", "3.91", "4.05"]
    swatch = panel.table.model().index(1, 0).data(Qt.ItemDataRole.DecorationRole)
    assert swatch.getRgb()[:3] == anatomy.color(17)


def test_a_click_on_a_header_sorts(panel, qtbot):
    panel.show_layer(result())
    panel.resize(320, 300)
    panel.show()
    header = panel.table.horizontalHeader()
    where = QPoint(header.sectionViewportPosition(3) + header.sectionSize(3) // 2, 5)
    qtbot.mouseClick(header.viewport(), Qt.MouseButton.LeftButton, pos=where)
    assert column(panel, 3) in (["3.91", "4.05", "21.00"], ["21.00", "4.05", "3.91"])


def test_warnings_and_intracranial_volume_are_shown(panel):
    panel.show_layer(result())
    assert panel.warnings.text() == "Too small."
    assert not panel.warnings.isHidden()
    assert "1,432 mL" in panel.intracranial.text()


def test_a_removed_layer_is_forgotten(panel):
    layer = result()
    panel.show_layer(layer)
    panel.forget(result("another"))
    assert not panel.isHidden()
    panel.forget(layer)
    assert panel.isHidden()
    assert panel.layer is None


def test_export_writes_cubic_millimetres(panel, qtbot, tmp_path, monkeypatch):
    panel.show_layer(result())
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *args: (str(tmp_path / "volumes"), ""))
    qtbot.mouseClick(panel.export, Qt.MouseButton.LeftButton)
    with open(tmp_path / "volumes.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == ["Intracranial", "Brain-Stem", "Left-Hippocampus", "Right-Hippocampus"]
    assert rows[0]["volume_mm3"] == "1432100.000"
    assert rows[2] == {"index": "17", "name": "Left-Hippocampus", "side": "left", "volume_mm3": "3912.000"}


def test_a_cancelled_export_writes_nothing(panel, qtbot, tmp_path, monkeypatch):
    panel.show_layer(result())
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *args: ("", ""))
    qtbot.mouseClick(panel.export, Qt.MouseButton.LeftButton)
    assert list(tmp_path.iterdir()) == []
