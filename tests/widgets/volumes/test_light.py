"""The traffic light: of a scan and of its structures, where expected Dice is calibrated and where it is not."""

from __future__ import annotations

import pytest
from napari.components import ViewerModel
from qtpy.QtCore import Qt
from qtpy.QtGui import QColor, QPalette
from qtpy.QtWidgets import QApplication

from napari_synthseg.inference.quality.rating import AMBER, GREEN, RED, QcRating
from napari_synthseg.widgets.segment.queue import SegmentQueue
from napari_synthseg.widgets.volumes.panel import VolumesPanel
from tests.widgets.builders import steps
from tests.widgets.segment.test_queue import finish, runs
from tests.widgets.volumes.test_panel import column, index_of, result


@pytest.fixture
def panel(qtbot):
    panel = VolumesPanel(ViewerModel())
    qtbot.addWidget(panel)
    return panel


def test_every_structure_has_a_sign_its_figure_and_a_colour(panel):
    panel.show_layer(result(verdict=QcRating(0.8, True)))
    assert column(panel, 4) == ["● 0.80", "● 0.91", "■ 0.40"]
    good, low = index_of(panel, "Hippocampus", "left", 4), index_of(panel, "Hippocampus", "right", 4)
    shades = {one.data(Qt.ItemDataRole.ForegroundRole).name() for one in (good, low)}
    assert len(shades) == 2
    assert low.data(Qt.ItemDataRole.FontRole).bold() and good.data(Qt.ItemDataRole.FontRole) is None
    assert "likely failed; look at it" in low.data(Qt.ItemDataRole.ToolTipRole)
    assert good.data(Qt.ItemDataRole.ToolTipRole).endswith("Expected Dice 0.91: good")


@pytest.mark.parametrize(("mean", "light"), [(0.8, GREEN), (0.7, AMBER), (0.5, RED)])
def test_the_scan_has_a_light_with_a_word(panel, mean, light):
    panel.show_layer(result(verdict=QcRating(mean, True)))
    assert not panel.light.isHidden()
    text = panel.light.text()
    assert light.sign in text and light.word in text and f"{mean:.2f}" in text


def test_a_failed_scan_is_red_from_its_own_threshold_on(panel):
    panel.show_layer(result(verdict=QcRating(0.62, True, failed_below=0.64)))
    assert RED.word in panel.light.text()


def test_colours_follow_the_ground(panel):
    panel.show_layer(result(verdict=QcRating(0.5, True)))
    for ground, shade in (("white", RED.on_light), ("black", RED.on_dark)):
        palette = panel.light.palette()
        palette.setColor(QPalette.ColorRole.Base, QColor(ground))
        panel.light.setPalette(palette)
        assert shade in panel.light.text()


def test_what_is_not_calibrated_has_no_light(panel):
    panel.show_layer(result(verdict=QcRating(0.5, False)))
    assert "not calibrated" in panel.light.text()
    assert column(panel, 4) == ["0.80", "0.91", "! 0.40"]
    for kept in ({}, {"verdict": QcRating(float("nan"), False, warned=True)}):  # of a label map, which is no scan
        panel.show_layer(result(**kept))
        assert panel.light.isHidden()


def test_copied_rows_have_no_signs(panel):
    panel.show_layer(result(verdict=QcRating(0.8, True)))
    panel.table.copy()
    lines = QApplication.clipboard().text().splitlines()
    assert [line.split("\t")[-1] for line in lines[1:]] == ["0.80", "0.91", "0.40"]


def test_a_queue_knows_which_of_its_scans_have_failed(qtbot):
    inner = steps(1)

    def fake(volume, **options):
        found = yield from inner(volume, **options)
        found.qc_rating = QcRating(0.3 if options["model"] == "bad" else 0.8, True)
        return found

    queue = SegmentQueue(fake)
    queue.add(runs("good", "bad"))
    finish(qtbot, queue)
    assert [run.poor for run in queue.runs] == [False, True]
