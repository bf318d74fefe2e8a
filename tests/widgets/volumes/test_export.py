"""Volumes as CSV, labels as a file with its table."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog

from napari_synthseg.cli import main
from napari_synthseg.io import read_volume, stem
from napari_synthseg.jobs import Progress
from napari_synthseg.widgets._shared import user
from napari_synthseg.widgets.layers.labels_layer import labels_kwargs
from napari_synthseg.widgets.volumes import actions as volumes_export
from napari_synthseg.widgets.volumes.panel import VolumesPanel
from tests.evaluation.studies.tables import STRUCTURES, VOLUMES, cohort, write, write_cohort
from tests.widgets.builders import scan_layer
from tests.widgets.volumes.test_panel import result

LEFT = Qt.MouseButton.LeftButton


@pytest.fixture
def export(qtbot):
    panel = VolumesPanel(ViewerModel())
    qtbot.addWidget(panel)
    panel.show_layer(result())
    panel.show()
    yield panel.export


def choosing(monkeypatch, path) -> None:
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *args: (str(path), ""))


def test_the_csv_is_that_of_the_command_line_which_studies_take(export, qtbot, tmp_path, monkeypatch):
    choosing(monkeypatch, tmp_path / "volumes")
    qtbot.mouseClick(export.csv, LEFT)
    with open(tmp_path / "volumes.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert list(row) == ["scan", "intracranial", "Brain-Stem", "Left-Hippocampus", "Right-Hippocampus"]
    assert (row["intracranial"], row["Left-Hippocampus"]) == ("1432100.000", "3912.000") and row["scan"]


def test_a_study_takes_tables_saved_here_beside_those_of_the_command_line(export, qtbot, tmp_path, monkeypatch):
    rows, people = cohort(16)
    table, participants = write_cohort(tmp_path, rows, people)
    saved = [write(tmp_path / "of_the_command_line.csv", VOLUMES, rows[:8])]
    for scan, total, *volumes in rows[8:]:
        name = stem(scan)
        saved.append(tmp_path / f"{name}.csv")
        choosing(monkeypatch, saved[-1])
        values = dict(zip((17, 53, 16), map(float, volumes), strict=True))
        export.parent().show_layer(result(name, values, intracranial_mm3=float(total)))
        qtbot.mouseClick(export.csv, LEFT)
    found = []
    for number, tables in enumerate(([table], saved)):
        words = ["study", *tables, "--participants", participants, "--group", "diagnosis", "--covariates", "icv"]
        assert main([str(word) for word in (*words, "--resamples", 100, "--json", tmp_path / f"{number}.json")]) == 0
        found.append(json.loads((tmp_path / f"{number}.json").read_text())["structures"])
    assert found[0].keys() == found[1].keys() == set(STRUCTURES)
    for name, one in found[0].items():
        assert found[1][name]["cohens_d"] == pytest.approx(one["cohens_d"], abs=1e-3)
        assert found[1][name]["difference"] == pytest.approx(one["difference"], rel=1e-3)


def test_a_csv_the_dialog_could_not_ask_about_is_not_replaced(export, qtbot, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(user, "complain", lambda error, doing: said.append(str(error)))
    (tmp_path / "v1.2.csv").write_text("mine")
    choosing(monkeypatch, tmp_path / "v1.2")
    qtbot.mouseClick(export.csv, LEFT)
    assert "exists" in said[0]
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("v1.2.csv", "mine")]


def test_labels_are_saved_as_they_are(qtbot, tmp_path, monkeypatch):
    scan = scan_layer("oblique LIA")
    viewer = ViewerModel()
    data = np.zeros(scan.data.shape, np.uint16)
    data[1:3, 1:3, 1:3] = 17
    volumes = {17: 3912.3}
    layer = viewer.add_labels(
        data,
        scale=scan.scale,
        translate=scan.translate,
        units=scan.units,
        axis_labels=scan.axis_labels,
        metadata=scan.metadata,
        **labels_kwargs(volumes, volumes, {17: 0.5}),
    )
    panel = VolumesPanel(viewer)
    qtbot.addWidget(panel)
    panel.show_layer(layer)
    panel.show()
    choosing(monkeypatch, tmp_path / "seg")
    qtbot.mouseClick(panel.export.labels, LEFT)
    qtbot.waitUntil(panel.export.labels.isEnabled)
    saved = read_volume(tmp_path / "seg.nii.gz")
    np.testing.assert_allclose(saved.affine, scan.metadata["napari_synthseg"]["affine"], atol=1e-6)
    assert np.count_nonzero(saved.data == 17) == 8
    header, row = (tmp_path / "seg.tsv").read_text().splitlines()
    assert header.split("\t") == ["index", "name", "color", "volume_mm3", "quality"]
    assert row.split("\t")[:2] + row.split("\t")[3:] == ["17", "Left-Hippocampus", "3912.0", "0.500"]


def test_the_scan_is_saved_as_it_lies(qtbot, tmp_path, monkeypatch):
    viewer = ViewerModel()
    scan = viewer.add_layer(scan_layer("oblique LIA"))
    panel = VolumesPanel(viewer)
    qtbot.addWidget(panel)
    geometry = {"scale": scan.scale, "translate": scan.translate}
    labels = viewer.add_labels(np.ones(scan.data.shape, np.uint16), **geometry, **labels_kwargs([1], {1: 2.0}))
    panel.show_layer(labels)
    panel.show()
    choosing(monkeypatch, tmp_path / "scan.nii.gz")
    qtbot.mouseClick(panel.export.scan, LEFT)
    qtbot.waitUntil(panel.export.scan.isEnabled)
    saved = read_volume(tmp_path / "scan.nii.gz")
    np.testing.assert_allclose(saved.affine, scan.metadata["napari_synthseg"]["affine"], atol=1e-5)


def test_labels_without_their_scan_say_so(export, qtbot, monkeypatch):
    said = []
    monkeypatch.setattr(volumes_export, "complain", lambda error, doing: said.append(str(error)))
    qtbot.mouseClick(export.scan, LEFT)
    assert "not open" in said[0]


def test_what_is_painted_while_labels_are_saved_is_not_in_the_file(export, qtbot, tmp_path, monkeypatch):
    given = []

    def note(path, data, meta, kind):
        given.append(data)
        yield Progress("Writing")
        return [path]

    monkeypatch.setattr(volumes_export, "_save", note)
    choosing(monkeypatch, tmp_path / "a.nii.gz")
    qtbot.mouseClick(export.labels, LEFT)
    qtbot.waitUntil(lambda: bool(given))
    assert not np.shares_memory(given[0], export.layer.data)
    qtbot.waitUntil(export.labels.isEnabled)


def test_a_place_that_cannot_be_written_is_said_in_one_sentence(export, qtbot, tmp_path, monkeypatch):
    said = []
    for module in (user, volumes_export):
        monkeypatch.setattr(module, "complain", lambda error, doing: said.append(str(error)))
    (tmp_path / "file").write_text("")
    for button, name in ((export.csv, "a.csv"), (export.labels, "a.nii.gz")):
        choosing(monkeypatch, tmp_path / "file" / name)
        qtbot.mouseClick(button, LEFT)
        qtbot.waitUntil(button.isEnabled)
    qtbot.waitUntil(lambda: len(said) == 2)
    assert all("another" in sentence and "\n" not in sentence for sentence in said)
