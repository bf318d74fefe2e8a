"""The volumes of a layer: what the table shows, and what clicks and keys in it do to the layer and the view."""

from __future__ import annotations

import numpy as np
import pytest
from napari.layers import Image, Labels
from qtpy.QtCore import QPoint, Qt
from qtpy.QtGui import QColor, QContextMenuEvent, QPalette
from qtpy.QtWidgets import QApplication, QPushButton

from napari_synthseg import anatomy
from napari_synthseg.inference.quality.rating import AMBER, GREEN, RED, QcRating
from napari_synthseg.widgets.layers import labels_layer as visibility
from napari_synthseg.widgets.layers.geometry import METADATA_KEY
from napari_synthseg.widgets.layers.labels_layer import VOLUME, labels_kwargs
from napari_synthseg.widgets.segment.queue import SegmentQueue
from napari_synthseg.widgets.volumes.panel import VolumesPanel
from napari_synthseg.widgets.volumes.table import LOW_QUALITY
from tests.widgets.builders import box_of, steps
from tests.widgets.segment.test_queue import finish, runs

LEFT = Qt.MouseButton.LeftButton
PLACES = {17: (2, 3, 1), 53: (2, 3, 8), 16: (7, 5, 5)}


def result(name: str = "result", volumes=None, **kept) -> Labels:
    """Three structures, single voxels of 2 mm but for the brain stem."""
    data = np.zeros((10, 10, 10), np.uint16)
    for value, place in PLACES.items():
        data[place] = value
    volumes = volumes or {17: 3912.3, 53: 4050.0, 16: 21_000.0}
    kept = {"intracranial_mm3": 1_432_100.0, "warnings": ("Too small.",)} | kept
    kwargs = labels_kwargs(volumes, volumes, {17: 0.91, 53: LOW_QUALITY - 0.2, 16: 0.8})
    return Labels(data, name=name, scale=(2, 2, 2), translate=(-9, -7, 5), metadata={METADATA_KEY: kept}, **kwargs)


@pytest.fixture
def panel(viewer, qtbot):
    panel = VolumesPanel(viewer)
    qtbot.addWidget(panel)
    return panel


@pytest.fixture
def shown(panel, viewer):
    """A panel on the screen, showing a layer of its viewer."""
    layer = viewer.add_layer(result())
    panel.show_layer(layer)
    panel.resize(300, 420)
    panel.show()
    return panel


def column(panel: VolumesPanel, number: int) -> list[str]:
    model = panel.table.model()
    return [model.index(row, number).data() for row in range(model.rowCount())]


def index_of(panel: VolumesPanel, name: str, side: str = "", column: int = 1):
    model = panel.table.model()
    for row in range(model.rowCount()):
        if model.index(row, 1).data() == name and (not side or model.index(row, 2).data() == side):
            return model.index(row, column)
    raise AssertionError(f"no row of {side} {name}")


def click(qtbot, panel, index, *, twice: bool = False, place: QPoint | None = None) -> None:
    where = place or panel.table.visualRect(index).center()
    qtbot.mouseClick(panel.table.viewport(), LEFT, pos=where)
    if twice:
        qtbot.mouseDClick(panel.table.viewport(), LEFT, pos=where)


def drawn(layer: Labels) -> set[int]:
    return {value for value in PLACES if layer.colormap.map(value)[3] > 0}


# What is shown


def test_it_is_hidden_until_there_is_something_to_show(panel):
    assert panel.isHidden()
    panel.show_layer(Labels(np.zeros((3, 3, 3), np.uint16)))
    assert panel.isHidden()


def test_the_table_has_colour_name_side_volume_and_quality(panel):
    panel.show_layer(result())
    assert column(panel, 1) == ["Brain-Stem", "Hippocampus", "Hippocampus"]
    assert column(panel, 2) == ["mid", "left", "right"]
    assert column(panel, 3) == ["21.00", "3.91", "4.05"]
    assert column(panel, 4) == ["0.80", "0.91", "! 0.40"]
    swatch = panel.table.model().index(1, 0).data(Qt.ItemDataRole.DecorationRole)
    assert swatch.getRgb()[:3] == anatomy.color(17)


def test_without_any_quality_there_is_no_column_for_it(panel):
    panel.show_layer(result())
    assert not panel.table.isColumnHidden(4)
    panel.show_layer(Labels(np.zeros((3, 3, 3), np.uint16), **labels_kwargs([17, 53], {17: 1.0, 53: 2.0})))
    assert panel.table.isColumnHidden(4)
    panel.sides.click()
    assert not panel.table.isColumnHidden(4)  # the asymmetry


@pytest.mark.parametrize(("typed", "names"), [("left hip", ["left"]), ("HIPPO", ["left", "right"]), ("16", ["mid"])])
def test_typing_filters_by_name_side_and_value(shown, qtbot, typed, names):
    qtbot.keyClicks(shown.filter, typed)
    assert column(shown, 2) == names


def test_left_and_right_side_by_side(shown, qtbot):
    qtbot.mouseClick(shown.sides, LEFT)
    assert [column(shown, number) for number in range(1, 5)] == [["Hippocampus"], ["3.91"], ["4.05"], ["-3.5"]]
    qtbot.mouseClick(shown.sides, LEFT)
    assert column(shown, 2) == ["mid", "left", "right"]


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
    layer.name = "still alive"


# What a click does


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_click_centres_the_view(shown, viewer, qtbot, side):
    viewer.scene.camera.zoom = 7.0
    click(qtbot, shown, index_of(shown, "Hippocampus", side))
    value = 17 if side == "left" else 53
    assert viewer.dims.current_step == PLACES[value]
    world = viewer.layers[0].data_to_world(PLACES[value])
    np.testing.assert_allclose(viewer.scene.camera.center[-2:], world[-2:])
    assert viewer.scene.camera.zoom == 7.0
    assert viewer.layers[0].selected_label == value


def test_a_click_centres_the_view_in_3d_and_beside_a_series(shown, viewer, qtbot):
    viewer.add_layer(Image(np.zeros((4, 10, 10, 10))))
    viewer.dims.ndisplay = 3
    click(qtbot, shown, index_of(shown, "Brain-Stem"))
    np.testing.assert_allclose(viewer.scene.camera.center, viewer.layers[0].data_to_world(PLACES[16]))


def test_a_structure_without_voxels_is_said_to_be_empty(shown, viewer, qtbot):
    before = viewer.dims.point
    viewer.layers[0].data[PLACES[16]] = 0
    click(qtbot, shown, index_of(shown, "Brain-Stem"))
    assert "No voxel" in shown.note.text()
    assert viewer.dims.point == before


def test_a_cell_of_a_pair_is_its_side(shown, viewer, qtbot):
    qtbot.mouseClick(shown.sides, LEFT)
    click(qtbot, shown, index_of(shown, "Hippocampus", column=3))
    assert viewer.dims.current_step == PLACES[53]


def test_a_double_click_shows_only_one_and_again_all(shown, viewer, qtbot):
    layer = viewer.layers[0]
    index = index_of(shown, "Hippocampus", "left")
    click(qtbot, shown, index, twice=True)
    assert drawn(layer) == {17}
    assert layer.colormap.map(9999)[3] == 0  # what has no row is hidden too
    click(qtbot, shown, index, twice=True)
    assert drawn(layer) == set(PLACES)
    assert layer.colormap.map(9999)[3] == 1


def test_a_check_box_hides_and_shows_and_does_not_move_the_view(shown, viewer, qtbot):
    layer, before = viewer.layers[0], viewer.dims.point
    index = index_of(shown, "Hippocampus", "left", 0)
    click(qtbot, shown, index, place=box_of(shown.table, index))
    assert drawn(layer) == {53, 16}
    assert viewer.dims.point == before
    click(qtbot, shown, index, place=box_of(shown.table, index))
    assert drawn(layer) == set(PLACES)


def test_space_and_return_do_it_from_the_keyboard(shown, viewer, qtbot):
    layer = viewer.layers[0]
    click(qtbot, shown, index_of(shown, "Hippocampus", "right"))
    qtbot.keyClick(shown.table, Qt.Key.Key_Space)
    assert drawn(layer) == {17, 16}
    qtbot.keyClick(shown.table, Qt.Key.Key_Return)
    assert drawn(layer) == {53}


@pytest.mark.parametrize("keyed", [True, False])
def test_the_menu_opens_on_the_row_that_is_meant(shown, qtbot, keyed):
    index = index_of(shown, "Hippocampus", "left")
    if keyed:
        click(qtbot, shown, index)
    reason = QContextMenuEvent.Reason.Keyboard if keyed else QContextMenuEvent.Reason.Mouse
    place = QPoint(1, 1) if keyed else shown.table.visualRect(index).center()
    event = QContextMenuEvent(reason, place, shown.table.viewport().mapToGlobal(place))
    QApplication.sendEvent(shown.table.viewport(), event)
    menu = QApplication.activePopupWidget()
    action = next(action for action in menu.actions() if "Probability" in action.text())
    with qtbot.waitSignal(shown.probability_requested) as asked:
        action.trigger()
    menu.close()
    assert asked.args == [17]


# Edited labels


def count_again(panel: VolumesPanel) -> None:
    next(one for one in panel.recount.findChildren(QPushButton) if one.text() == "Count again").click()


def test_edited_structures_are_counted_again(shown, viewer, qtbot):
    layer = viewer.layers[0]
    assert shown.recount.isHidden()
    layer.fill((2, 3, 1), 99)  # the left hippocampus becomes a lesion
    assert shown.recount.isVisible()
    count_again(shown)
    layer.fill((2, 3, 1), 16)  # before the thread's answer is heard
    qtbot.waitUntil(lambda: not shown.recount._job.running)
    assert shown.recount.isVisible()
    count_again(shown)
    qtbot.waitUntil(lambda: not shown.recount._job.running)
    volumes = dict(zip(layer.features["index"], layer.features[VOLUME], strict=True))
    assert (volumes[17], volumes[53]) == (0, 0.008)
    assert volumes[16] == pytest.approx(np.count_nonzero(layer.data == 16) * 0.008)
    assert shown.table.columns[3].header == "mL (voxels)"
    assert column(shown, 4)[:2] == ["0.80", "0.91"]


def test_the_panel_stays_narrow(shown):
    assert shown.minimumSizeHint().width() <= 270


def test_a_structure_without_a_row_is_hidden_and_shown_with_the_others():
    layer = result()
    visibility.show_only(layer, [17], PLACES)
    layer.data[9, 9, 9] = 2  # painted since: the colormap has it, the table not yet
    assert visibility.visible_among(layer, [17, 53, 2, 4_000]) == {17}
    visibility.show_all(layer, PLACES)
    assert visibility.visible_among(layer, [17, 53, 2, 4_000]) == {17, 53, 2, 4_000}
    assert not visibility.is_visible(layer, 0)


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
